"""Maps events to payloads and back: one pair of functions for each payload, one entry for each event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from oms.adapters.wire import payloads as wire
from oms.adapters.wire.fields import read_amount, read_items, read_released, write_amount
from oms.adapters.wire.lines import read_detailed, write_charges, write_lines
from oms.domain import events
from oms.domain.errors import InvalidValue
from oms.domain.events import Event
from oms.domain.money import Currency, Money
from oms.domain.terms import Terms
from oms.domain.values import Items, Metadata, OrderId, Sku, UserId, checked_id, checked_metadata

# Sorts the keys of items and metadata, so that equal events have equal bytes.
write_json = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode


@attrs.frozen
class Shape:
    """How the events of a topic are mapped. `to_event` gets a checked order id."""

    payload: type[wire.Payload]
    to_wire: Callable[[Any], wire.Payload]
    to_event: Callable[[type[Any], OrderId, Any, Currency], Event]


def _user(payload: wire.Agreed | wire.Paid | wire.Cancelling | wire.Ended) -> UserId:
    return UserId(checked_id(payload.user_id, name="userId"))


def _write_items(items: Items) -> Raw:
    # `copy` of a proxy takes a seventh of the time of `dict(proxy)`.
    return Raw(write_json(items.copy() if isinstance(items, MappingProxyType) else dict(items)))


def _write_metadata(metadata: Metadata) -> dict[str, str] | None:
    return dict(metadata) or None


def _agreed_to_wire(event: events.OrderCreated | events.InventoryReserved | events.OrderConfirmed) -> wire.Agreed:
    terms = event.terms
    return wire.Agreed(
        event.order_id,
        terms.user_id,
        write_amount(terms.total),
        _write_items(terms.items),
        write_lines(terms.lines),
        write_charges(terms.charges),
        _write_metadata(terms.metadata),
    )


def _agreed_to_event(
    kind: type[events.OrderCreated], order: OrderId, payload: wire.Agreed, currency: Currency
) -> Event:
    total = read_amount(payload.total_amount, currency, "totalAmount")
    return kind(order, _terms(payload, total, read_items(payload.items)))


def _terms(payload: wire.Agreed, total: Money, items: Items) -> Terms:
    if payload.lines or payload.charges:
        return read_detailed(payload, total, items)
    return Terms(_user(payload), total, items, checked_metadata(payload.metadata))


def spring_created(order: OrderId, payload: wire.Agreed, currency: Currency) -> events.OrderCreated:
    """An `order.created` of the Spring system: rounds the total to the currency and skips items of quantity 0.

    The Spring system sends no lines or charges, so those of a message are read exactly.
    """
    total = read_amount(payload.total_amount, currency, "totalAmount", rounded=True)
    items = read_items(payload.items, without_zero=True)
    return events.OrderCreated(order, _terms(payload, total, items))


def _rejected_to_wire(event: events.InventoryRejected) -> wire.Rejected:
    lines = [wire.ShortLine(line.sku, line.requested, line.available) for line in event.shortages]
    return wire.Rejected(event.order_id, event.reason, lines)


def _rejected_to_event(
    kind: type[events.InventoryRejected], order: OrderId, payload: wire.Rejected, _: Currency
) -> Event:
    lines = (
        events.Shortage(Sku(checked_id(line.product_id, name="shortages: productId")), line.requested, line.available)
        for line in payload.shortages
    )
    return kind(order, payload.reason, tuple(lines))


def _released_to_wire(event: events.InventoryReleased) -> wire.Released:
    return wire.Released(event.order_id, _write_items(event.items))


def _released_to_event(
    kind: type[events.InventoryReleased], order: OrderId, payload: wire.Released, _: Currency
) -> Event:
    return kind(order, read_released(payload.items))


def _paid_to_wire(
    event: events.PaymentSucceeded | events.PaymentFailed | events.PaymentVoided | events.PaymentRefunded,
) -> wire.Paid:
    return wire.Paid(event.order_id, event.user_id, write_amount(event.amount), event.payment_id, event.reason)


def _paid_to_event(
    kind: type[events.PaymentSucceeded], order: OrderId, payload: wire.Paid, currency: Currency
) -> Event:
    # The only check: the money has moved, so an unusual payment id must not stop the message.
    if payload.payment_id and "\x00" in payload.payment_id:
        raise InvalidValue("invalid_id", "paymentId can't hold the character U+0000")
    amount = read_amount(payload.amount, currency, "amount")
    return kind(order, _user(payload), amount, payload.payment_id, payload.reason)


def _cancelling_to_wire(event: events.OrderCancelling) -> wire.Cancelling:
    return wire.Cancelling(event.order_id, event.user_id, write_amount(event.total), event.reason)


def _cancelling_to_event(
    kind: type[events.OrderCancelling], order: OrderId, payload: wire.Cancelling, currency: Currency
) -> Event:
    total = read_amount(payload.total_amount, currency, "totalAmount")
    return kind(order, _user(payload), total, payload.reason)


def _ended_to_wire(event: events.OrderCancelled | events.OrderRejected) -> wire.Ended:
    metadata = _write_metadata(event.metadata)
    return wire.Ended(event.order_id, event.user_id, write_amount(event.total), event.reason, metadata)


def _ended_to_event(
    kind: type[events.OrderCancelled], order: OrderId, payload: wire.Ended, currency: Currency
) -> Event:
    total = read_amount(payload.total_amount, currency, "totalAmount")
    return kind(order, _user(payload), total, payload.reason, checked_metadata(payload.metadata))


_AGREED = Shape(wire.Agreed, _agreed_to_wire, _agreed_to_event)
_PAID = Shape(wire.Paid, _paid_to_wire, _paid_to_event)
_ENDED = Shape(wire.Ended, _ended_to_wire, _ended_to_event)

SHAPES: Mapping[type[Event], Shape] = {
    events.OrderCreated: _AGREED,
    events.InventoryReserved: _AGREED,
    events.InventoryRejected: Shape(wire.Rejected, _rejected_to_wire, _rejected_to_event),
    events.InventoryReleased: Shape(wire.Released, _released_to_wire, _released_to_event),
    events.PaymentSucceeded: _PAID,
    events.PaymentFailed: _PAID,
    events.PaymentVoided: _PAID,
    events.PaymentRefunded: _PAID,
    events.OrderConfirmed: _AGREED,
    events.OrderCancelling: Shape(wire.Cancelling, _cancelling_to_wire, _cancelling_to_event),
    events.OrderCancelled: _ENDED,
    events.OrderRejected: _ENDED,
}
