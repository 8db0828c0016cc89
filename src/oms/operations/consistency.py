"""Checks whether the files of an embedded system are from the same moment, and lists missing records if they aren't.

The files of a running system always agree in this sense, even after a crash: a store commits before its messages are
published, and handles a message before its group commits the offset. Files that were copied at different moments don't.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain

import attrs

from oms.application.orders import inbox_id
from oms.application.routing import ROUTING
from oms.domain.events import (
    Event,
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderCancelled,
    OrderCancelling,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderRejected,
    OrderShipped,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
)
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, OrderState
from oms.domain.payment import PAYMENT_TABLE, Payment
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.state_machine import HistoryEntry, events_by_state
from oms.domain.terms import Terms
from oms.domain.values import OrderId
from oms.operations.decided_events import parts_of_order, parts_of_payment, payment_date, reservation_date
from oms.operations.log_snapshot import as_record, read_message
from oms.operations.merging import Grouped, keys_of
from oms.operations.system_records import Records, published_by_order
from oms.ports.broker import TopicPartition
from oms.ports.evidence import Evidence
from oms.ports.messages import Codec, Record, is_copies_topic

CAUSAL: Sequence[type[Event]] = (
    OrderCreated,
    InventoryReserved,
    InventoryRejected,
    PaymentSucceeded,
    PaymentFailed,
    OrderConfirmed,
    OrderShipped,
    OrderRefundRequested,
    OrderCompleted,
    OrderCancelling,
    PaymentVoided,
    PaymentRefundFailed,
    OrderPaymentInstructed,
    PaymentRefundPaid,
    PaymentRefunded,
    OrderCancelled,
    OrderRejected,
    InventoryReleased,
)
"""Events in an order in which none comes before its cause."""

_ORDER = events_by_state(ORDER_TABLE)
_PAYMENT = events_by_state(PAYMENT_TABLE)
_HOLDS = (ReservationState.HELD, ReservationState.COMMITTED)


@attrs.frozen
class Findings:
    """The disagreements between the records of a system."""

    unpublished: Mapping[str, Sequence[Event]]
    """By service: events that its records say were published, and that are neither in the log nor in its outbox."""

    unhandled: int
    """Messages that a group has moved past and that aren't in its inbox."""

    payments: Sequence[Payment]
    reservations: Sequence[Reservation]
    """Payments and reservations of orders that neither the order service nor the log knows."""

    @property
    def lines(self) -> Sequence[str]:
        """One line for each kind of disagreement; none if the files agree."""
        events = [event for some in self.unpublished.values() for event in some]
        found = (
            (len(events), f"messages were published and aren't in the log, such as {_named(events)}"),
            (self.unhandled, "messages of the log were handled, and a service doesn't know them"),
            (len(self.payments), "payments are of orders that aren't there"),
            (len(self.reservations), "reservations are of orders that aren't there"),
        )
        return [f"{count} {text}" for count, text in found if count]


def look(evidence: Evidence, codec: Codec, since: datetime) -> Findings:
    """Compare the records of all services with the log, which may no longer have orders from before `since`."""
    records = Records.read(evidence)
    assert evidence.log is not None  # noqa: S101 - a directory has one
    waiting = [as_record(message) for message in records.outbox]
    published = published_by_order(chain(evidence.log.all_records(), waiting), codec, records.orders)
    unpublished = {
        name: [event for event in events if (event.topic, event.part) not in published.get(event.order_id, ())]
        for name, events in _owed(evidence, records, since).items()
    }
    known = records.orders.keys() | {order_id for order_id, sent in published.items() if not _BEGINS.isdisjoint(sent)}
    return Findings(
        {name: events for name, events in unpublished.items() if events},
        _unhandled(evidence, records, codec),
        [one for order_id, one in records.payments.items() if order_id not in known],
        [one for order_id, one in records.reservations.items() if order_id not in known and one.state in _HOLDS],
    )


def _named(events: Sequence[Event]) -> str:
    return f"{events[0].topic} of {events[0].order_id}" if events else ""


_BEGINS = frozenset({(OrderCreated.topic, ""), (InventoryReserved.topic, "")})
"""The messages that make an order known."""


def _owed(evidence: Evidence, records: Records, since: datetime) -> Mapping[str, list[Event]]:
    """Return the events that each service has published since `since`, according to its own records."""
    owed: defaultdict[str, list[Event]] = defaultdict(list)
    history: Grouped[HistoryEntry] = Grouped(evidence.order.all_history())
    for order_id in keys_of((history,)):
        entries, order = history.take(order_id), records.orders.get(OrderId(order_id))
        if order is not None:
            owed["order"] += _since(since, _of_order(order, entries))
    for order_id, reservation in records.reservations.items():
        order = records.orders.get(order_id)
        if not _is_before(since, reservation_date(reservation, order)):
            owed["inventory"] += _of_reservation(
                reservation, _terms(order, records.payments.get(order_id), reservation)
            )
    for order_id, payment in records.payments.items():
        owed["payment"] += _since(since, _of_payment(payment, records.orders.get(order_id)))
    return owed


Dated = tuple[Event, datetime | None]


def _since(since: datetime, some: Iterable[Dated]) -> Iterator[Event]:
    return (event for event, at in some if not _is_before(since, at))


def _is_before(since: datetime, at: datetime | None) -> bool:
    return at is not None and at < since


def _of_order(order: Order, entries: Sequence[HistoryEntry]) -> Iterator[Dated]:
    for entry in entries:
        kind = _ORDER.get(OrderState(entry.after))
        if kind is not None and entry.before != entry.after:
            yield order.event(kind), entry.at
    yield from parts_of_order(order, entries)


def _of_payment(payment: Payment, order: Order | None) -> Iterator[Dated]:
    kind = _PAYMENT.get(payment.state)
    if kind is not None and not (kind is PaymentVoided and payment.total is None):
        yield payment.event(kind), payment_date(payment, order)
    yield from parts_of_payment(payment, order)


def _terms(order: Order | None, payment: Payment | None, reservation: Reservation) -> Terms | None:
    """Return the terms of a reservation's order from another service's records; None if no service knows them."""
    if order is not None and order.terms is not None:
        return order.terms
    if payment is not None and payment.user_id is not None and payment.total is not None:
        return Terms(payment.user_id, payment.total, reservation.items, payment.metadata)
    return None


def _of_reservation(reservation: Reservation, terms: Terms | None) -> Iterator[Event]:
    order_id = reservation.order_id
    if reservation.state in _HOLDS and terms is not None:
        yield InventoryReserved(order_id, terms)
    elif reservation.state is ReservationState.REJECTED:
        yield InventoryRejected(order_id, Reason.OUT_OF_STOCK, ())
    elif reservation.state is ReservationState.RELEASED:
        yield InventoryReleased(order_id, reservation.items)


def _unhandled(evidence: Evidence, records: Records, codec: Codec) -> int:
    assert evidence.log is not None  # noqa: S101 - as above
    passed = {one.group: evidence.log.offsets(one.group) or {} for one in ROUTING.values()}
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for one in ROUTING.values():
        for topic in one.topics:
            readers[topic].append(one.group)
    missing = 0
    for record in evidence.log.all_records():
        groups = [
            group
            for group in readers[record.topic]
            if record.offset < passed[group].get(TopicPartition(record.topic, record.partition), 0)
        ]
        if groups and not is_copies_topic(record.topic):
            names = _names(record, codec)
            missing += sum(names is not None and names.isdisjoint(records.done.get(group, ())) for group in groups)
    return missing


def _names(record: Record, codec: Codec) -> frozenset[str] | None:
    """Return the ids under which an inbox may have a record; None for a record that services skip."""
    place = codec.name(record)
    message = read_message(record, codec)
    if message is None:
        return frozenset({place})
    return None if message.event is None else frozenset({place, message.id, inbox_id(message)})
