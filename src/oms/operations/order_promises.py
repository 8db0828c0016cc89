"""Checks the promises about one order against all of its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

import attrs

from oms.application.routing import ROUTING
from oms.domain.events import OrderRefundRequested
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, TIMED, OrderState, OrderTrigger
from oms.domain.refund import WHOLE
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.state_machine import Effect, HistoryEntry
from oms.domain.stock import Movement, MovementKind
from oms.domain.values import OrderId
from oms.operations import part_promises
from oms.operations.decided_events import decided
from oms.operations.log_snapshot import NO_DATE, LoggedMessage, StatedHashes, microseconds
from oms.operations.snapshot_rows import Missed, OrderSnapshot, Passed
from oms.operations.violations import Violation
from oms.ports.broker import TopicPartition

CONFIRMED = (OrderState.CONFIRMED, OrderState.FULFILLING, OrderState.COMPLETED)
"""States of an order that was confirmed, and not cancelled later."""

_LEDGER: Mapping[ReservationState, tuple[frozenset[MovementKind], ...]] = {
    ReservationState.ABSENT: (frozenset(),),
    ReservationState.HELD: (frozenset({MovementKind.HOLD}),),
    ReservationState.COMMITTED: (frozenset({MovementKind.HOLD, MovementKind.COMMIT}),),
    ReservationState.REJECTED: (frozenset(),),
    ReservationState.RELEASED: (
        frozenset(),
        frozenset({MovementKind.HOLD, MovementKind.RELEASE}),
        frozenset({MovementKind.HOLD, MovementKind.COMMIT, MovementKind.RESTOCK}),
    ),
}


def effects(reservation: Reservation, rows: Sequence[Movement]) -> Iterator[Violation]:
    """P3: each effect on stock is recorded once for each line, and agrees with the reservation's state."""
    order_id = reservation.order_id
    kinds = frozenset(row.kind for row in rows)
    if kinds not in _LEDGER[reservation.state]:
        names = sorted(kind.value for kind in kinds)
        yield Violation("P3", order_id, f"reservation is {reservation.state.value}, its ledger rows are {names}")
    if len(rows) > 1:
        for (sku, kind), count in Counter([(row.sku, row.kind) for row in rows]).items():
            if count > 1:
                yield Violation("P3", order_id, f"{kind.value} of {sku} is in the ledger {count} times")
    wrong = [row for row in rows if max(abs(row.on_hand), abs(row.held)) != reservation.items.get(row.sku)]
    if wrong:
        yield Violation("P3", order_id, f"{wrong[0].kind.value} of {wrong[0].sku} isn't what the order holds")


def history(order_id: OrderId, order: Order | None, entries: Iterable[HistoryEntry]) -> Iterator[Violation]:
    """P5: no gap, only transitions of the state table, and the last one leads to the order's state."""
    last: HistoryEntry | None = None
    for entry in entries:
        if entry.seq != (last.seq + 1 if last else 1):
            yield Violation("P5", order_id, f"history jumps to {entry.seq}")
        if last is not None and last.after != entry.before:
            yield Violation("P5", order_id, f"history leaves {last.after} and goes on from {entry.before}")
        if not _allowed(entry.before, entry.trigger, entry.after):
            yield Violation("P5", order_id, f"{entry.before} x {entry.trigger} can't lead to {entry.after}")
        last = entry
    if order is not None and (last is None or (last.seq, last.after) != (order.version, order.state.value)):
        yield Violation("P5", order_id, f"is {order.state.value} at {order.version}, its history says otherwise")


@cache
def _allowed(before: str, trigger: str, after: str) -> bool:
    """Whether the state table has this transition."""
    cell = ORDER_TABLE[OrderState(before)][OrderTrigger(trigger)]
    if cell.effect is Effect.MOVE and cell.to is not None:
        return cell.to.value == after
    return cell.effect in (Effect.NOTED, Effect.EARLY) and before == after


def waits_for_operator(order: Order) -> bool:
    """Whether the order can't end before an operator decides about its refund, which the gateway refused."""
    refusal = order.fulfilment.refusal(WHOLE)
    return order.state is OrderState.CANCELLING and refusal is not None and refusal.instruction is None


def late_from(order: Order, settle_s: float) -> datetime | None:
    """Return when an order that has to settle becomes late; None if it can do nothing by itself.

    That is `settle_s` seconds after its deadline. An operator may cancel a confirmed order after that, or a LEGACY one,
    which has no deadline: such an order becomes late `settle_s` seconds after its last change.
    """
    if order.state.resting or order.state is OrderState.ABSENT or waits_for_operator(order):
        return None
    times = [order.deadline_at] if order.state in TIMED else [order.deadline_at, order.updated_at]
    due = max((time for time in times if time is not None), default=order.updated_at)
    return None if due is None else due + timedelta(seconds=settle_s)


_AT_REST: Mapping[OrderState, tuple[ReservationState, ...]] = {
    OrderState.LEGACY: (ReservationState.ABSENT,),
    **dict.fromkeys(CONFIRMED, (ReservationState.COMMITTED,)),
    OrderState.CANCELLED: (ReservationState.RELEASED, ReservationState.REJECTED),
    OrderState.REJECTED: (ReservationState.REJECTED,),
}
_ENDED_BY: Mapping[OrderState, tuple[str, str]] = {
    **dict.fromkeys(CONFIRMED, ("order.confirmed", "inventory")),
    OrderState.CANCELLED: ("order.cancelled", "inventory"),
    OrderState.REJECTED: ("inventory.rejected", "order"),
}
"""The topic and service whose handling of it brings the order's stock into its final state."""

_REQUESTED = OrderRefundRequested.topic

Found = Callable[[Violation, bool], None]
"""Takes a violation; the second argument is true if it counts only in a system at rest."""


@attrs.frozen
class OrderChecks:
    """The checks that compare several records of one order; from `since` on, the log still has all messages."""

    passed: Passed
    found: Found
    has_log: bool
    since: int = NO_DATE
    """In microseconds since 1970."""

    def check(self, one: OrderSnapshot) -> None:
        """P2, P7, P8, P9, P10 and P12."""
        order = one.order if one.order is not None and one.order.state is not OrderState.ABSENT else None
        agreed = None
        if one.messages and order is not None and order.terms is not None:
            agreed = StatedHashes.of(order.terms, order.fulfilment)
        messages = [message for message in one.messages if not message.contradicts(agreed)]
        self._responses(one, order)
        self._stock(one, order, messages)
        self._parts(one, order, messages)
        if self.has_log:
            self._copies(one, order, messages)
            self._published(one, order, {(message.topic, message.part) for message in messages})
            for missed in one.missed:
                self._handled(one, order, missed)

    def _responses(self, one: OrderSnapshot, order: Order | None) -> None:
        """P10: an order that a stored response names exists."""
        for key in one.responses if order is None else ():
            self.found(Violation("P10", one.id, f"was answered under the key {key!r} and isn't there"), False)  # noqa: FBT003

    def _stock(self, one: OrderSnapshot, order: Order | None, messages: Sequence[LoggedMessage]) -> None:
        """P2: no hold outlives its order, once inventory has read that the order ended."""
        if order is None or order.state not in _AT_REST:
            return
        found = one.reservation.state if one.reservation else ReservationState.ABSENT
        if found not in _AT_REST[order.state]:
            topic, service = _ENDED_BY.get(order.state, ("", ""))
            read = service != "" and any(
                message.topic == topic and self._has_passed(ROUTING[service].group, message) for message in messages
            )
            detail = f"is {order.state.value}, its reservation is {found.value}"
            self.found(Violation("P2", one.id, detail, order=one.id), not read)

    def _parts(self, one: OrderSnapshot, order: Order | None, messages: Sequence[LoggedMessage]) -> None:
        """P12; and P2: inventory has restocked the refunds that it has read, and no others."""
        if order is not None:
            for wrong in part_promises.units(order):
                self.found(wrong, False)  # noqa: FBT003
            for wrong in part_promises.refunds(order, one.payment):
                self.found(wrong, True)  # noqa: FBT003
        if one.reservation is not None:
            for wrong in part_promises.unknown_restocks(one.reservation, order):
                self.found(wrong, False)  # noqa: FBT003
        if order is None or not order.fulfilment.refunds:
            return
        group = ROUTING["inventory"].group
        read = {one.part for one in messages if one.topic == _REQUESTED and self._has_passed(group, one)}
        for refund_id, wrong in part_promises.missing_restocks(order, one.reservation):
            self.found(wrong, refund_id not in read)

    def _has_passed(self, group: str, message: LoggedMessage) -> bool:
        place = TopicPartition(message.topic, message.partition)
        return message.offset < self.passed.get(group, {}).get(place, 0)

    def _copies(self, one: OrderSnapshot, order: Order | None, messages: Sequence[LoggedMessage]) -> None:
        """P8, as far as records show it: all copies of an (order, topic, part) are the same message.

        For an order that the order service doesn't know yet, it isn't known which copy contradicts the order.
        """
        if len({(message.topic, message.part) for message in messages}) == len(messages):
            return
        first: dict[tuple[str, str], LoggedMessage] = {}
        for message in messages:
            before = first.setdefault((message.topic, message.part), message)
            if before.content != message.content:
                detail = f"{message.topic}: the messages at {before.place} and {message.place} differ"
                self.found(_in_log("P8", one.id, message, detail), order is None)
                return

    def _published(self, one: OrderSnapshot, order: Order | None, sent: Collection[tuple[str, str]]) -> None:
        """P7: every decided event was published; the log may have removed those from before `since`."""
        for topic, part, at in decided(order, one.history, one.reservation, one.payment):
            if (topic, part) in sent or (at is not None and microseconds(at) < self.since):
                continue
            named = f"{topic} of {part}" if part else topic
            detail = f"{named} was decided and never published"
            self.found(Violation("P7", one.id, detail, order=one.id, topic=topic), (topic, part) in one.owed)

    def _handled(self, one: OrderSnapshot, order: Order | None, missed: Missed) -> None:
        """P9: every message has been handled or parked by each group that reads its topic.

        The inbox rows of messages from before `since` may be purged while the log still has the messages. Messages of
        the Spring system about its own orders were handled there, so they need no effect here.
        """
        places = (missed.topic, missed.partition, missed.offset)
        message = next((known for known in one.messages if known[:3] == places), None)
        foreign = message is None or message.date == NO_DATE
        if foreign and order is not None and _imported(order, one.history):
            return
        date = message.date if message is not None else NO_DATE
        if foreign and order is not None and order.created_at is not None:
            date = microseconds(order.created_at)
        if date != NO_DATE and date < self.since:
            return
        place = f"{missed.topic}/{missed.partition} offset {missed.offset}"
        detail = f"{missed.group} has neither handled nor parked the message at {place}"
        self.found(_in_log("P9", one.id, missed, detail), not missed.passed)


def _imported(order: Order, entries: Sequence[HistoryEntry]) -> bool:
    return order.state is OrderState.LEGACY or any(entry.trigger == OrderTrigger.IMPORTED.value for entry in entries)


def _in_log(promise: str, order_id: OrderId, at: LoggedMessage | Missed, detail: str) -> Violation:
    subject = order_id or f"{at.topic}/{at.partition} offset {at.offset}"
    return Violation(promise, subject, detail, order_id, at.topic, at.partition, at.offset)
