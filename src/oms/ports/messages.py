"""Messages and records, and the port of the codec that converts between events and bytes."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import NewType, Protocol

import attrs

from oms.domain.events import Event
from oms.domain.values import OrderId
from oms.ports.errors import Permanent
from oms.ports.limits import MAX_KEY_BYTES, MAX_MESSAGE_BYTES

MessageId = NewType("MessageId", str)
"""uuid5(order id, topic), or uuid5(order id, topic/part): every copy has the same id, even without its headers."""

Headers = tuple[tuple[str, bytes], ...]


COPIES = ".dlq"
"""Suffix of the topics that hold copies of dead letters. A copy isn't an event, so no service handles it."""

COPY_PREFIX = "oms_dead_letter_"
"""Prefix of those headers of a copy that describe the dead letter."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def valid_trace(text: str | None) -> str | None:
    """Return the text if it is a valid W3C `traceparent`, else None. A wrong one from another system isn't an error."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def copies_topic(service: str) -> str:
    """Return the topic for copies of the dead letters of a service, or of a step by its group, such as `order.dlq`.

    Characters of a group's name that Kafka refuses in the name of a topic become `_`.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", service) + COPIES


def is_copies_topic(topic: str) -> bool:
    """Return whether a topic holds copies of dead letters."""
    return topic.endswith(COPIES)


class Undecodable(Permanent):
    """The bytes aren't a valid message of their topic; the text says why."""


class TooLarge(Undecodable):
    """The message exceeds the size limits. Its dead letter holds its sizes and digest instead of its content."""


class Unread(Undecodable):
    """Processes died each time they read the message. Its dead letter holds only its topic, partition and offset."""


@attrs.frozen
class Cause:
    """The cause of a message: the id of the message whose handling published it, and its W3C trace."""

    message_id: MessageId | None = None
    traceparent: str | None = None


@attrs.frozen
class CustomEvent:
    """An event of a user's own topic. `body` is the complete JSON object, including `orderId`."""

    topic: str
    order_id: OrderId
    body: Mapping[str, object]

    @property
    def part(self) -> str:
        """Empty: an order has at most one message on a user's own topic."""
        return ""


AnyEvent = Event | CustomEvent


@attrs.frozen
class Outgoing:
    """A message to publish: exactly the bytes that the log will hold."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


@attrs.frozen
class Oversized:
    """The sizes in bytes and the digest of a message that exceeds the limits, in place of its content.

    `message_bytes` is the size of key, value and headers together. `value_sha256` is the SHA-256 of the value in
    hexadecimal digits.
    """

    message_bytes: int
    value_bytes: int
    value_sha256: str

    def headers(self) -> Headers:
        """Return sizes and digest as headers of the message's dead letter."""
        return (
            ("oms_message_bytes", str(self.message_bytes).encode()),
            ("oms_value_bytes", str(self.value_bytes).encode()),
            ("oms_value_sha256", self.value_sha256.encode()),
        )


@attrs.frozen
class Record:
    """A message in the log. Topic, partition and offset identify it permanently.

    If the message exceeds the limits, the record has no key, value and headers; `oversized` describes it.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    oversized: Oversized | None = None


def within_limits(record: Record) -> Record:
    """Return the record, or its description if it exceeds `MAX_MESSAGE_BYTES` or `MAX_KEY_BYTES`.

    Producers of other systems may write such a message. Every log applies this to each record that `poll` returns, so
    that no store, dead-letter copy or response ever holds the content.
    """
    key, value = record.key or b"", record.value or b""
    size = len(value) + size_of(record.headers)
    if size <= MAX_MESSAGE_BYTES and len(key) <= MAX_KEY_BYTES:
        return record
    oversized = Oversized(size + len(key), len(value), sha256(value).hexdigest())
    return Record(record.topic, record.partition, record.offset, None, None, (), oversized)


def too_large(message: Outgoing) -> Permanent | None:
    """Return the error with which every log refuses a message that exceeds the limits; None if it fits."""
    size = len(message.value) + size_of(message.headers)
    if size > MAX_MESSAGE_BYTES:
        return Permanent(f"{message.topic}: a message of {size} bytes is too large")
    if message.key is not None and len(message.key) > MAX_KEY_BYTES:
        return Permanent(f"{message.topic}: a key of {len(message.key)} bytes is too large")
    return None


def size_of(headers: Headers) -> int:
    """Return the size of all names and values, in bytes; a character of a name counts as one byte."""
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size


@attrs.frozen
class Message:
    """A decoded record. `event` is None if the consumer has to skip it.

    It skips messages of the Spring system that name no order, and copies of dead letters.
    """

    id: MessageId
    event: AnyEvent | None
    cause: Cause
    record: Record


class Codec(Protocol):
    """The wire contract: JSON in camelCase, CloudEvents headers in binary mode."""

    @abstractmethod
    def encode(self, event: AnyEvent, cause: Cause, at: datetime) -> Outgoing:
        """Return the message of an event, which happened at `at`. Equal events give equal values.

        Only the headers for time and cause differ.
        """

    @abstractmethod
    def decode(self, record: Record) -> Message:
        """Return the decoded record; raises `Undecodable` if the bytes aren't a valid message of their topic."""

    def order_of(self, record: Record) -> OrderId | None:  # noqa: ARG002 - a codec may know no more than `decode`
        """Return the order id in a record that can't be decoded, for its dead letter; None if it can't be read."""
        return None

    @abstractmethod
    def name(self, record: Record) -> MessageId:
        """Return an id for a record that can't be decoded, derived from its topic, partition and offset."""
