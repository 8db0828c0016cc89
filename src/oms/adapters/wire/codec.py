"""The codec: encodes events as messages, decodes records, and refuses bytes that aren't a message of their topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NoReturn

import attrs
import msgspec

from oms.adapters.wire.fields import write_json
from oms.adapters.wire.headers import SCHEMA, from_oms, header_writer, read_cause, read_subject, unknown_schema
from oms.adapters.wire.names import event_id, position_id
from oms.adapters.wire.payloads import Agreed, Payload, Probe
from oms.adapters.wire.shape import Shape
from oms.adapters.wire.shapes import SHAPES, spring_created
from oms.domain.errors import InvalidValue
from oms.domain.events import EVENTS, Event, OrderCreated
from oms.domain.money import Currency
from oms.domain.values import OrderId, checked_id
from oms.ports.errors import Permanent
from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.ports.messages import (
    AnyEvent,
    Cause,
    Codec,
    CustomEvent,
    Headers,
    Message,
    MessageId,
    Outgoing,
    Oversized,
    Record,
    TooLarge,
    Undecodable,
    is_copies_topic,
)

MAX_DETAIL_CHARS = 300

# msgspec raises these for bytes that aren't JSON or UTF-8, have wrong types, or are nested a thousand levels deep.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@attrs.frozen
class _Topic:
    """How the events of one of oms's own topics are read and written."""

    kind: type[Event]
    shape: Shape
    read: Callable[[bytes], Payload]
    headers: Callable[[MessageId, str, Cause, datetime], Headers]


def _topic(kind: type[Event]) -> _Topic:
    shape = SHAPES[kind]
    service = kind.topic.partition(".")[0]
    read = msgspec.json.Decoder(shape.payload).decode
    return _Topic(kind, shape, read, header_writer(kind.topic, f"/oms/{service}"))


_TOPICS: Mapping[str, _Topic] = {kind.topic: _topic(kind) for kind in EVENTS}
_read_object = msgspec.json.Decoder(dict[str, object]).decode
_read_probe = msgspec.json.Decoder(Probe).decode


class JsonCodec(Codec):
    """JSON in camelCase; amounts are numbers in major units of `currency`.

    A user's own topic has JSON objects with an `orderId`, and at most one distinct message for each order, like oms's
    own topics: a second message with another body would have the same id, and counts as a copy.

    `spring` reads `order.created` as the Spring system does (`shapes.spring_created`).
    """

    def __init__(self, currency: Currency, *, spring: bool = False) -> None:
        self._currency, self._spring = currency, spring

    def encode(self, event: AnyEvent, cause: Cause, at: datetime) -> Outgoing:
        """The message of an event; `Permanent` for a custom event that can't be encoded."""
        if isinstance(event, CustomEvent):
            return _encode_custom(event, cause, at)
        topic = _TOPICS[event.topic]
        order = event.order_id
        headers = topic.headers(event_id(event), order, cause, at)
        return Outgoing(event.topic, order.encode(), _write(topic.shape.to_wire(event), event.topic), headers)

    def decode(self, record: Record) -> Message:
        if is_copies_topic(record.topic):
            return Message(position_id(record), None, read_cause(record.headers), record)
        if record.oversized is not None:
            raise _too_large(record.topic, record.oversized)
        value = record.value
        if not value:
            raise Undecodable(f"{record.topic}: the message has no value")
        if len(value) > MAX_MESSAGE_BYTES:
            raise Undecodable(f"{record.topic}: the value has more than {MAX_MESSAGE_BYTES} bytes")
        if (version := unknown_schema(record.headers)) is not None:
            known = f"this version of oms reads {SCHEMA.decode()!r} alone"
            _refuse(record, f"the header oms_schema is {version.decode(errors='replace')!r}; {known}")
        topic = _TOPICS.get(record.topic)
        try:
            event = self._read_event(topic, value) if topic else _read_custom(record.topic, value)
        except InvalidValue as invalid:
            _refuse(record, invalid.detail)
        except _NO_JSON as error:
            if topic and _is_legacy(topic.kind, record.headers, value):
                return Message(position_id(record), None, read_cause(record.headers), record)
            _refuse(record, _reason(error))
        return Message(event_id(event), event, read_cause(record.headers), record)

    def name(self, record: Record) -> MessageId:
        """An id from the position in the log, because a malformed copy must not have the id of the message."""
        return position_id(record)

    def order_of(self, record: Record) -> OrderId | None:
        """The `orderId` of the value, else the header `ce_subject`."""
        for text in (_order_id_in(record.value or b""), read_subject(record.headers)):
            try:
                return OrderId(checked_id(text, name="orderId"))
            except InvalidValue:
                continue
        return None

    def _read_event(self, topic: _Topic, value: bytes) -> Event:
        payload = topic.read(value)
        order = OrderId(checked_id(payload.order_id, name="orderId"))
        if self._spring and isinstance(payload, Agreed) and topic.kind is OrderCreated:
            return spring_created(order, payload, self._currency)
        return topic.shape.to_event(topic.kind, order, payload, self._currency)


def _too_large(topic: str, found: Oversized) -> TooLarge:
    return TooLarge(
        f"{topic}: the message has {found.message_bytes} bytes, its value {found.value_bytes}"
        f" (SHA-256 {found.value_sha256}); the limit is {MAX_MESSAGE_BYTES}"
    )


def _encode_custom(event: CustomEvent, cause: Cause, at: datetime) -> Outgoing:
    if event.topic in _TOPICS:
        raise Permanent(f"{event.topic} is a topic of oms itself: a custom event needs another one")
    if event.body.get("orderId") != event.order_id:
        raise Permanent(f"{event.topic}: the body's orderId must be the event's order id")
    order = event.order_id
    headers = header_writer(event.topic, "/oms")(event_id(event), order, cause, at)
    return Outgoing(event.topic, order.encode(), _write(dict(event.body), event.topic), headers)


def _write(payload: object, topic: str) -> bytes:
    try:
        return write_json(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Permanent(f"{topic}: the event can't be written as JSON: {_printable(str(error))}") from None


def _read_custom(topic: str, value: bytes) -> CustomEvent:
    body = _read_object(value)
    return CustomEvent(topic, OrderId(checked_id(body.get("orderId"), name="orderId")), body)


def _is_legacy(kind: type[Event], headers: Headers, value: bytes) -> bool:
    """Whether this is a message of the Spring system without an order id: a JSON object, or plain text.

    Its `order.created` has the id, and messages of oms have headers: neither is ever legacy.
    """
    if kind is OrderCreated or from_oms(headers):
        return False
    try:
        order = _read_probe(value).order_id
    except _NO_JSON:
        return _is_plain_text(value)
    return order is msgspec.UNSET or bytes(order) == b"null"


def _order_id_in(value: bytes) -> object:
    if len(value) > MAX_MESSAGE_BYTES:
        return None
    try:
        return _read_object(value).get("orderId")
    except _NO_JSON:
        return None


def _is_plain_text(value: bytes) -> bool:
    try:
        text = value.decode().strip()
    except UnicodeDecodeError:
        return False
    return not text.startswith(("{", "[")) and text.replace("\n", " ").isprintable()


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    return "the text is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _refuse(record: Record, detail: str) -> NoReturn:
    raise Undecodable(f"{record.topic}: {_printable(detail)}") from None


def _printable(detail: str) -> str:
    """Shorten a text and replace control characters: it is stored and shown, and may quote a foreign message."""
    return "".join(char if char.isprintable() else "?" for char in detail[:MAX_DETAIL_CHARS])
