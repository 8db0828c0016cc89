"""The events that an order, a reservation and a payment have published, by their stored state, each with its date.

The date is that of the fact: of the shipment, the refund, or the entry of the history. Where a record has no date of
its own, it is an earlier one: the log may have removed the messages from before some time, and a date that is too late
would make such a message a lost one. It is None if there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache

from oms.domain.events import Event, InventoryReserved, OrderRefundRequested, OrderShipped, PartEvent
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, OrderState, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, Payment
from oms.domain.refund import WHOLE
from oms.domain.reservation import RESERVATION_TABLE, Reservation, ReservationState
from oms.domain.state_machine import HistoryEntry, events_by_state

Dated = tuple[str, str, datetime | None]
"""Topic, part (empty for an event about the whole order), and date."""

_OF_PAYMENT = events_by_state(PAYMENT_TABLE)
_OF_RESERVATION = events_by_state(RESERVATION_TABLE) | {ReservationState.COMMITTED: InventoryReserved}
_ENDS_WITHOUT_STOCK = (ReservationState.REJECTED, ReservationState.RELEASED)


def decided(
    order: Order | None, history: Iterable[HistoryEntry], reservation: Reservation | None, payment: Payment | None
) -> Iterator[Dated]:
    """Yield all events that the records of one order say were published."""
    if order is not None:
        yield from _of_history(history)
        yield from ((event.topic, event.part, at) for event, at in parts_of_order(order, history))
    if reservation is not None and reservation.state in _OF_RESERVATION:
        yield _OF_RESERVATION[reservation.state].topic, "", reservation_date(reservation, order)
    if payment is not None:
        if payment.state in _OF_PAYMENT:
            yield _OF_PAYMENT[payment.state].topic, "", payment_date(payment, order)
        yield from ((event.topic, event.part, at) for event, at in parts_of_payment(payment, order))


def parts_of_order(order: Order, history: Iterable[HistoryEntry]) -> Iterator[tuple[PartEvent, datetime | None]]:
    """Yield the events about the shipments, refunds and instructions of an order."""
    if not (order.fulfilment.shipments or order.fulfilment.refunds or order.fulfilment.refusals):
        return
    dates: dict[tuple[type[Event], str], datetime] = {}
    dates.update({(OrderShipped, one.id): one.at for one in order.fulfilment.shipments})
    dates.update({(OrderRefundRequested, one.id): one.at for one in order.fulfilment.refunds})
    instructed = min((entry.at for entry in history if entry.trigger == OrderTrigger.INSTRUCT.value), default=None)
    for event in order.part_events():
        yield event, dates.get((type(event), event.part), instructed)


def parts_of_payment(payment: Payment, order: Order | None) -> Iterator[tuple[Event, datetime | None]]:
    """Yield the events about the refunds of a payment, each with the date on which the refund was requested."""
    for event in payment.part_events() if payment.refunds else ():
        refund_id = event.part.partition("/")[0]
        refund = order.fulfilment.refund(refund_id) if order is not None and refund_id != WHOLE else None
        yield event, refund.at if refund is not None else _created_at(order)


def reservation_date(reservation: Reservation, order: Order | None) -> datetime | None:
    """Return the date of the event of a reservation's state. Units that were held may have been restocked later."""
    if reservation.state in _ENDS_WITHOUT_STOCK or order is None:
        return reservation.updated_at
    return order.created_at


def payment_date(payment: Payment, order: Order | None) -> datetime | None:
    """Return the date of the event of a payment's state. A payment with refunds has changed later."""
    if payment.refunds and order is not None:
        return order.created_at
    return payment.updated_at


def _created_at(order: Order | None) -> datetime | None:
    return order.created_at if order is not None else None


def _of_history(history: Iterable[HistoryEntry]) -> Iterator[Dated]:
    for entry in history:
        for topic in _topics(entry.before, entry.trigger):
            yield topic, "", entry.at


@cache
def _topics(before: str, trigger: str) -> tuple[str, ...]:
    """Return the topics of the events about the whole order that a trigger publishes in a state."""
    cell = ORDER_TABLE[OrderState(before)][OrderTrigger(trigger)]
    return tuple(kind.topic for kind in cell.publishes if not issubclass(kind, PartEvent))
