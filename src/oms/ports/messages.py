"""Messages as the core sees them, and the codec that turns bytes into them and back."""

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
"""uuid5(order id, topic): every copy of a message has the same id, with or without its headers."""

Headers = tuple[tuple[str, bytes], ...]


COPIES = ".dlq"
"""Suffix of the topics that hold copies of dead letters. A copy isn't an event: no handler of a service gets one."""

COPY_PREFIX = "oms_dead_letter_"
"""Prefix of the headers of a copy that describe the dead letter."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def valid_trace(text: str | None) -> str | None:
    """A W3C `traceparent` as it stands; None for what isn't one: a hint from outside is never an error."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None


def copies_topic(service: str) -> str:
    """Where a service, or a step by its group, sends the copies of its dead letters: `order.dlq`.

    A group may have any name, a topic may not: what Kafka refuses becomes `_`.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", service) + COPIES


def is_copies_topic(topic: str) -> bool:
    """Whether a topic holds copies of dead letters."""
    return topic.endswith(COPIES)


class Undecodable(Permanent):
    """The bytes are not a message of their topic; the text says why."""


class TooLarge(Undecodable):
    """The message exceeds the limits of every log. Its dead letter describes it and doesn't hold its content."""


class Unread(Undecodable):
    """Processes died each time they read the message. Its dead letter names its place alone."""


@attrs.frozen
class Cause:
    """What led to a message: the id of the message that was handled, and the W3C trace it belongs to."""

    message_id: MessageId | None = None
    traceparent: str | None = None


@attrs.frozen
class CustomEvent:
    """An event of a user's own topic: `body` is the JSON object, `orderId` included."""

    topic: str
    order_id: OrderId
    body: Mapping[str, object]


AnyEvent = Event | CustomEvent


@attrs.frozen
class Outgoing:
    """A message to be sent: exactly the bytes that the log will hold."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


@attrs.frozen
class Oversized:
    """Sizes in bytes and digest of a message that exceeds the limits, in place of its content.

    `message_bytes` counts key, value and headers. `value_sha256` is the value's SHA-256 in hexadecimal digits.
    """

    message_bytes: int
    value_bytes: int
    value_sha256: str

    def headers(self) -> Headers:
        """These facts as headers of the message's dead letter."""
        return (
            ("oms_message_bytes", str(self.message_bytes).encode()),
            ("oms_value_bytes", str(self.value_bytes).encode()),
            ("oms_value_sha256", self.value_sha256.encode()),
        )


@attrs.frozen
class Record:
    """A message in the log. (topic, partition, offset) names it for ever.

    A log gives out a message that exceeds the limits without key, value and headers; `oversized` describes it.
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

    Producers of other systems may write such a message. Every log applies this to each record that it gives out, so
    that no store, copy or answer ever holds the content.
    """
    key, value = record.key or b"", record.value or b""
    size = len(value) + size_of(record.headers)
    if size <= MAX_MESSAGE_BYTES and len(key) <= MAX_KEY_BYTES:
        return record
    oversized = Oversized(size + len(key), len(value), sha256(value).hexdigest())
    return Record(record.topic, record.partition, record.offset, None, None, (), oversized)


def too_large(message: Outgoing) -> Permanent | None:
    """The error with which every log refuses a message that exceeds the limits; None if it fits."""
    size = len(message.value) + size_of(message.headers)
    if size > MAX_MESSAGE_BYTES:
        return Permanent(f"{message.topic}: a message of {size} bytes is too large")
    if message.key is not None and len(message.key) > MAX_KEY_BYTES:
        return Permanent(f"{message.topic}: a key of {len(message.key)} bytes is too large")
    return None


def size_of(headers: Headers) -> int:
    """The bytes of all names and values; a name counts its characters."""
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size


@attrs.frozen
class Message:
    """A decoded record. `event` is None for what is to be skipped.

    That is a message of the system replaced that names no order, and the copy of a dead letter.
    """

    id: MessageId
    event: AnyEvent | None
    cause: Cause
    record: Record


class Codec(Protocol):
    """The wire contract: JSON in camelCase, CloudEvents headers in binary mode."""

    @abstractmethod
    def encode(self, event: AnyEvent, cause: Cause, at: datetime) -> Outgoing:
        """The message of an event; equal events have equal values, only `ce_time` and the cause differ."""

    @abstractmethod
    def decode(self, record: Record) -> Message:
        """The event in a record; raises `Undecodable` for bytes that are no message of this topic."""

    def order_of(self, record: Record) -> OrderId | None:  # noqa: ARG002 - a codec may know no more than `decode`
        """The order that a record names, where that can be read although it can't be decoded; for its dead letter."""
        return None

    @abstractmethod
    def name(self, record: Record) -> MessageId:
        """The id of a record that can't be decoded: by its place in the log."""
