"""Makes the records of a system agree again whose files were copied at different moments.

Nothing is written past the services. First each service publishes once more what its record says it published and the
log lacks. Then each handles, in the order of time, every message of the log that its record lacks; the inbox drops the
others. What a service decided by a command, a deadline or the order of arrival isn't in what it consumes, so it decides
again as its own messages in the log tell. At last an order whose stock was given to others meanwhile is cancelled, and
so are payments and reservations of orders that no record knows any more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import attrs

from oms.application import inventory, payments
from oms.application.orders import OrderWork
from oms.domain.errors import Conflict
from oms.domain.events import (
    InventoryRejected,
    InventoryReleased,
    InventoryReserved,
    OrderCancelling,
    OrderConfirmed,
    OrderCreated,
    Reason,
)
from oms.domain.order import Order, OrderState
from oms.domain.payment import Payment, PaymentState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.values import OrderId, Terms
from oms.engine.assembly import ServiceAssembly
from oms.engine.consumer import Consumer
from oms.engine.dependencies import ServiceDependencies
from oms.engine.service import Handler, Service
from oms.operations.consistency import CAUSAL, Findings
from oms.operations.full_record import Records
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.evidence import BookEntry, BookKind
from oms.ports.messages import AnyEvent, Codec, Record, Undecodable

_GOES_ON = (OrderState.CREATED, OrderState.RESERVED, OrderState.CONFIRMED)
_GOES_BACK = (PaymentState.VOIDING, PaymentState.VOIDED, PaymentState.REFUNDING, PaymentState.REFUNDED)

InOrder = Callable[[Mapping[TopicPartition, int]], Iterator[Record]]
"""Every record of the log from these offsets on (0 where none is given), in the order in which they were written."""


@attrs.frozen
class Repair:
    """A repair of one system, whose `parts` no thread drives."""

    parts: Mapping[str, ServiceAssembly[Any]]
    in_order: InOrder
    partitions: int
    shared: ServiceDependencies
    wait: Callable[[float], None]

    def publish(self, findings: Findings) -> int:
        """Have the services publish what the log lacks, causes before their effects."""
        count = 0
        for kind in CAUSAL:
            for name, events in findings.unpublished.items():
                some = [event for event in events if isinstance(event, kind)]
                if some:
                    with self.parts[name].units.open() as unit:
                        for event in some:
                            unit.work.changes.publish(event)
                    count += len(some)
            self._relay()
        return count

    def replay(self) -> int:
        """Have every service handle what its record lacks, until the log grows no more."""
        seen: dict[TopicPartition, int] = {}
        stored: Any = self.parts["payment"].service.store
        handled, told = 0, Told.read(self.in_order({}), self.shared.codec, stored.all_payments())
        while True:
            fresh = {name: self._replay(part, seen, told) for name, part in self.parts.items()}
            ends = {at: end for _, found in fresh.values() for at, end in found.items()}
            handled += sum(count for count, _ in fresh.values())
            self._relay()
            if not ends:
                return handled
            seen |= ends

    def cancel(self, records: Records, book: Iterable[BookEntry]) -> Sequence[str]:
        """Cancel the orders that can't be fulfilled: their stock is with others, or their money goes back already."""
        net: Counter[str] = Counter()
        captured: set[str] = set()
        for entry in book:
            net[entry.key] += {BookKind.CAPTURE: entry.amount, BookKind.REFUND: -entry.amount}.get(entry.kind, 0)
            if entry.kind is BookKind.CAPTURE:
                captured.add(entry.key)
        lost = [
            order_id
            for order_id, order in records.orders.items()
            if order.state in _GOES_ON
            and (
                _has_no_stock(order, records.reservations.get(order_id))
                or ((payment := records.payments.get(order_id)) is not None and payment.state in _GOES_BACK)
                or ((key := Payment(order_id=order_id).key) in captured and net[key] == 0)
            )
        ]
        if lost:
            with self.parts["order"].units.open() as unit:
                unit.work.lock(lost)
                for order_id in lost:
                    unit.work.save(unit.work[order_id].cancel(Reason.OPERATOR, at=unit.work.now))
            self._relay()
        return lost

    def undo(self, some: Sequence[Payment], held: Sequence[Reservation]) -> Sequence[str]:
        """Void or refund payments, and release stock, of orders that no record knows."""
        for payment in some:
            if payment.user_id is not None and payment.total is not None:
                event = OrderCancelling(payment.order_id, payment.user_id, payment.total, Reason.OPERATOR)
                self._apply("payment", payments.cancelling, event)
        for reservation in held:
            released = InventoryReleased(reservation.order_id, reservation.items)
            self._apply("inventory", lambda event, work: inventory.release(event.order_id, work), released)
        self._relay()
        return sorted({*(one.order_id for one in some), *(one.order_id for one in held)})

    def _apply(self, service: str, handler: Callable[[Any, Any], None], event: AnyEvent) -> None:
        with self.parts[service].units.open() as unit:
            unit.work.load([event])
            handler(event, unit.work)

    def _replay(
        self, part: ServiceAssembly[Any], seen: Mapping[TopicPartition, int], told: Told
    ) -> tuple[int, Mapping[TopicPartition, int]]:
        routes = told.routes(part.service)
        service = attrs.evolve(part.service, routes=routes)
        # A note that a batch began would have the consumer halve and reorder it, as if its process had died of it.
        places = [TopicPartition(topic, number) for topic in routes for number in range(self.partitions)]
        service.store.clear_attempts(service.group, places)
        log = Replay(self.in_order(seen), routes)
        consumer = Consumer(
            attrs.evolve(part.units, service=service), log, self.shared, self.shared.health.of(service.name)
        )
        handled = 0
        while not log.ended or consumer.next_due() is not None:
            done = consumer.run_once()
            handled += done
            if done == 0 and log.ended and consumer.next_due() is not None:
                self.wait(0.05)
        consumer.stop()
        return handled, log.ends

    def _relay(self) -> None:
        for part in self.parts.values():
            while part.relay.run_once():
                pass


def _has_no_stock(order: Order, reservation: Reservation | None) -> bool:
    if reservation is None:
        return False
    rejected = reservation.state is ReservationState.REJECTED and order.state is not OrderState.CREATED
    return rejected or reservation.state is ReservationState.RELEASED


class Replay(Subscription):
    """Every record of some topics, in the order of time; nothing is committed."""

    def __init__(self, records: Iterator[Record], topics: Collection[str]) -> None:
        self._records, self._topics = records, topics
        self.ends: dict[TopicPartition, int] = {}
        self.ended = False

    def poll(self, max_records: int) -> Sequence[Record]:
        """The next records."""
        polled: list[Record] = []
        while len(polled) < max_records and not self.ended:
            record = next(self._records, None)
            if record is None:
                self.ended = True
                break
            self.ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
            if record.topic in self._topics:
                polled.append(record)
        return polled

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Nothing: the group goes on where it was, and its inbox knows what it handled here."""

    def lost(self) -> Collection[TopicPartition]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing is held."""


@attrs.frozen
class Told:
    """What the services have said of decisions that a replay alone might not repeat."""

    cancelling: Mapping[OrderId, OrderCancelling]
    confirmed: Collection[OrderId]
    rejected: Mapping[OrderId, InventoryRejected]
    never_held: Collection[OrderId]
    """Orders whose cancellation overtook their creation on its way to the inventory service."""

    @classmethod
    def read(cls, records: Iterable[Record], codec: Codec, some: Iterable[Payment]) -> Told:
        """From the whole log, and from payments: one that goes back was told that its order is being cancelled."""
        by_kind: defaultdict[type, dict[OrderId, Any]] = defaultdict(dict)
        for record in records:
            with suppress(Undecodable):
                event = codec.decode(record).event
                if event is not None:
                    by_kind[type(event)].setdefault(event.order_id, event)
        cancelling = by_kind[OrderCancelling]
        for payment in some:
            if payment.state in _GOES_BACK and payment.user_id is not None and payment.total is not None:
                event = OrderCancelling(payment.order_id, payment.user_id, payment.total, Reason.OPERATOR)
                cancelling.setdefault(payment.order_id, event)
        released = {order_id for order_id, event in by_kind[InventoryReleased].items() if not event.items}
        return cls(
            cancelling,
            by_kind[OrderConfirmed].keys(),
            by_kind[InventoryRejected],
            released - by_kind[InventoryReserved].keys() - by_kind[InventoryRejected].keys(),
        )

    def routes(self, service: Service[Any]) -> Mapping[str, Handler[Any]]:
        """The service's own handlers, which here decide as was told."""
        routes: dict[str, Handler[Any]] = dict(service.routes)
        if service.name == "order":
            for topic in routes.keys() - {OrderCreated.topic, InventoryReserved.topic}:
                routes[topic] = self._cancelling_first(routes[topic])
            routes[OrderCancelling.topic] = lambda event, work: cancel_again(cast("OrderCancelling", event), work)
        if service.name == "inventory":
            routes[OrderCreated.topic] = self._held_as_told(routes[OrderCreated.topic])
        if service.name == "payment":
            routes[OrderCancelling.topic] = void_again
        return routes

    def _cancelling_first(self, handler: Handler[Any]) -> Handler[Any]:
        """An order that was never confirmed began to be cancelled before the news that would have settled it."""

        def handle(event: AnyEvent, work: Any) -> None:
            cancelling = self.cancelling.get(event.order_id)
            if cancelling is not None and event.order_id not in self.confirmed:
                cancel_again(cancelling, work)
            handler(event, work)

        return handle

    def _held_as_told(self, handler: Handler[Any]) -> Handler[Any]:
        def handle(event: AnyEvent, work: Any) -> None:
            rejected, reservation = self.rejected.get(event.order_id), work[event.order_id]
            if reservation.state is ReservationState.ABSENT and rejected is not None:
                work.save(reservation.reject(rejected.shortages, at=work.now))
            elif reservation.state is ReservationState.ABSENT and event.order_id in self.never_held:
                inventory.release(event.order_id, work)
            else:
                handler(event, work)

        return handle


def void_again(event: AnyEvent, work: Any) -> None:
    """Cancel a payment; one that this record doesn't know may have been charged, so the gateway is asked to void it."""
    cancelling, payment = cast("OrderCancelling", event), work[event.order_id]
    if payment.state is PaymentState.ABSENT:
        work.save(payment.start(Terms(cancelling.user_id, cancelling.total, {}), at=work.now))
    payments.cancelling(cancelling, work)


def cancel_again(event: OrderCancelling, work: OrderWork) -> None:
    """Begin to cancel an order, for the reason that the order service had."""
    order = work[event.order_id]
    if order.terms is None or (order.state.resting and order.state is not OrderState.CONFIRMED):
        return
    late = event.reason is Reason.DEADLINE
    with suppress(Conflict):  # it has been settled otherwise
        work.save(order.deadline(at=work.now) if late else order.cancel(event.reason, at=work.now))
