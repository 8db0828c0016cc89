"""Makes the files of an embedded system agree again after they were copied at different moments.

All changes go through the services. First, each service publishes again the events that its records have and the log
lacks. Then each service handles, in the order of time, every message of the log that its records lack; the inbox drops
the others (`replay.py`). Last, orders whose stock went to other orders meanwhile are cancelled, and so are payments and
reservations of orders that no record knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from oms.application import inventory, payments
from oms.domain.events import (
    InventoryReleased,
    OrderCancelling,
    Reason,
)
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.payment import Payment
from oms.domain.refund import WHOLE
from oms.domain.reservation import Reservation, ReservationState
from oms.engine.assembly import ServiceAssembly
from oms.engine.consumer import Consumer
from oms.engine.dependencies import ServiceDependencies
from oms.operations.consistency import CAUSAL, Findings
from oms.operations.replay import MONEY_GOES_BACK, PastDecisions, Replay
from oms.operations.system_records import Records
from oms.ports.broker import TopicPartition
from oms.ports.evidence import BookEntry, BookKind
from oms.ports.messages import AnyEvent, Record

_SHIPS = (OrderState.FULFILLING, OrderState.COMPLETED)
_GOES_ON = (OrderState.CREATED, OrderState.RESERVED, OrderState.CONFIRMED)

InOrder = Callable[[Mapping[TopicPartition, int]], Iterator[Record]]
"""Returns every record of the log from these offsets on (0 if none is given), in the order of writing."""


@attrs.frozen
class Repair:
    """A repair of one system. No thread runs its `services` meanwhile."""

    services: Mapping[str, ServiceAssembly[Any]]
    in_order: InOrder
    partitions: int
    shared: ServiceDependencies
    wait: Callable[[float], None]

    def publish(self, findings: Findings) -> int:
        """Publish the events that the log lacks, each by its service, causes before effects; returns their number."""
        count = 0
        for kind in CAUSAL:
            for name, events in findings.unpublished.items():
                some = [event for event in events if isinstance(event, kind)]
                if some:
                    with self.services[name].units.open() as unit:
                        for event in some:
                            unit.work.changes.publish(event)
                    count += len(some)
            self._relay()
        return count

    def replay(self) -> int:
        """Have each service handle the messages that it lacks until the log has no new ones; returns their number."""
        seen: dict[TopicPartition, int] = {}
        stored: Any = self.services["payment"].service.store
        handled, decisions = 0, PastDecisions.read(self.in_order({}), self.shared.codec, stored.all_payments())
        while True:
            fresh = {name: self._replay(assembly, seen, decisions) for name, assembly in self.services.items()}
            ends = {at: end for _, found in fresh.values() for at, end in found.items()}
            handled += sum(count for count, _ in fresh.values())
            self._relay()
            if not ends:
                return handled
            seen |= ends

    def cancel(self, records: Records, book: Iterable[BookEntry]) -> Sequence[str]:
        """Cancel and return the orders that can't be fulfilled: their stock or their money is gone."""
        returned = _returned_keys(book)
        lost = [order_id for order_id, order in records.orders.items() if _is_lost(order, records, returned)]
        if lost:
            with self.services["order"].units.open() as unit:
                unit.work.lock(lost)
                for order_id in lost:
                    unit.work.save(unit.work[order_id].cancel(Reason.OPERATOR, at=unit.work.now))
            self._relay()
        return lost

    def undo(self, some: Sequence[Payment], held: Sequence[Reservation]) -> Sequence[str]:
        """Void or refund payments, and release stock, of orders that no record knows; returns their ids."""
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
        with self.services[service].units.open() as unit:
            unit.work.load([event])
            handler(event, unit.work)

    def _replay(
        self, assembly: ServiceAssembly[Any], seen: Mapping[TopicPartition, int], decisions: PastDecisions
    ) -> tuple[int, Mapping[TopicPartition, int]]:
        routes = decisions.routes(assembly.service)
        service = attrs.evolve(assembly.service, routes=routes)
        # With a note of an earlier beginning, the consumer would halve and reorder the batch, as after a death.
        places = [TopicPartition(topic, number) for topic in routes for number in range(self.partitions)]
        service.store.clear_attempts(service.group, places)
        log = Replay(self.in_order(seen), routes)
        consumer = Consumer(
            attrs.evolve(assembly.units, service=service), log, self.shared, self.shared.health.of(service.name)
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
        for assembly in self.services.values():
            while assembly.relay.run_once():
                pass


def _returned_keys(book: Iterable[BookEntry]) -> frozenset[str]:
    """Return the keys of payments that were captured, and then refunded in full."""
    net: Counter[str] = Counter()
    captured: set[str] = set()
    for entry in book:
        net[entry.key] += {BookKind.CAPTURE: entry.amount, BookKind.REFUND: -entry.amount}.get(entry.kind, 0)
        if entry.kind is BookKind.CAPTURE:
            captured.add(entry.key)
    return frozenset(key for key in captured if net[key] == 0)


def _is_lost(order: Order, records: Records, returned: frozenset[str]) -> bool:
    """Whether an order continues although its stock or its money is gone."""
    if order.state not in _GOES_ON:
        return False
    payment = records.payments.get(order.id)
    is_undone = payment is not None and payment.state in MONEY_GOES_BACK
    is_returned = Payment(order_id=order.id).key in returned
    return is_undone or is_returned or _has_no_stock(order, records.reservations.get(order.id))


def unexplained(records: Records) -> Sequence[str]:
    """Return the refunds and orders that no repair can complete, one sentence each, for an operator."""
    found: list[str] = []
    for order_id, payment in records.payments.items():
        order = records.orders.get(order_id)
        known = {one.id for one in order.fulfilment.refunds} if order is not None else set()
        lost = [one for one in payment.refunds if one.id not in known and one.id != WHOLE]
        found += [f"the refund {one.id} of {one.amount} isn't known to the order {order_id}" for one in lost]
    for order_id, order in records.orders.items():
        reservation = records.reservations.get(order_id)
        if order.state in _SHIPS and _has_no_stock(order, reservation):
            found.append(f"the stock of the order {order_id} went to other orders, and it was shipped or refunded")
    return found


def _has_no_stock(order: Order, reservation: Reservation | None) -> bool:
    if reservation is None:
        return False
    rejected = reservation.state is ReservationState.REJECTED and order.state is not OrderState.CREATED
    return rejected or reservation.state is ReservationState.RELEASED
