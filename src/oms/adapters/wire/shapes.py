"""Maps events to payloads and back: one pair of functions for each payload, one entry for each event."""

from __future__ import annotations

from collections.abc import Mapping

from oms.adapters.wire import payloads as wire
from oms.adapters.wire.fields import (
    read_amount,
    read_items,
    read_metadata,
    read_released,
    write_amount,
    write_items,
    write_metadata,
)
from oms.adapters.wire.lines import read_detailed, write_charges, write_lines
from oms.adapters.wire.part_shapes import PART_SHAPES
from oms.adapters.wire.shape import Shape
from oms.domain import events
from oms.domain.errors import InvalidValue
from oms.domain.events import Event
from oms.domain.money import Currency, Money
from oms.domain.terms import Terms
from oms.domain.values import Items, OrderId, Sku, UserId, checked_id


def _user(payload: wire.Agreed | wire.Paid | wire.Cancelling | wire.Ended) -> UserId:
    return UserId(checked_id(payload.user_id, name="userId"))


def _agreed_to_wire(event: events.OrderCreated | events.InventoryReserved | events.OrderConfirmed) -> wire.Agreed:
    terms = event.terms
    return wire.Agreed(
        event.order_id,
        terms.user_id,
        write_amount(terms.total),
        write_items(terms.items),
        write_lines(terms.lines) if terms.lines else None,
        write_charges(terms.charges) if terms.charges else None,
        write_metadata(terms.metadata),
    )


def _agreed_to_event(
    kind: type[events.OrderCreated], order: OrderId, payload: wire.Agreed, currency: Currency
) -> Event:
    total = read_amount(payload.total_amount, currency, "totalAmount")
    return kind(order, _terms(payload, total, read_items(payload.items)))


def _terms(payload: wire.Agreed, total: Money, items: Items) -> Terms:
    if payload.lines or payload.charges:
        return read_detailed(payload, total, items)
    return Terms(_user(payload), total, items, read_metadata(payload.metadata))


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
    return wire.Released(event.order_id, write_items(event.items))


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
    metadata = write_metadata(event.metadata)
    return wire.Ended(event.order_id, event.user_id, write_amount(event.total), event.reason, metadata)


def _ended_to_event(
    kind: type[events.OrderCancelled], order: OrderId, payload: wire.Ended, currency: Currency
) -> Event:
    total = read_amount(payload.total_amount, currency, "totalAmount")
    return kind(order, _user(payload), total, payload.reason, read_metadata(payload.metadata))


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
    **PART_SHAPES,
}
