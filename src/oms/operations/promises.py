"""Checks the promises against the records of a system, for tests, fault runs and `oms verify`.

The checks are exact while the system works, because of the order in which the records are read
(`record_snapshot.py`). The gate and the money of LEGACY orders are compared only if the system is at rest. Records
can't show all of P8 (the order of delivery doesn't matter), only that all copies of a message are equal; and nothing of
P11 (no caller reaches another caller's order).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta

import attrs

from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.reservation import restock_reference
from oms.domain.stock import Movement, MovementKind
from oms.domain.values import Sku
from oms.operations import money_promises, order_promises, part_promises
from oms.operations.log_snapshot import NO_DATE, microseconds
from oms.operations.merging import Grouped, MemorySorter
from oms.operations.money_promises import MoneyCheck
from oms.operations.order_promises import OrderChecks
from oms.operations.part_promises import Restocks
from oms.operations.reconciliation import LedgerFold, gate_hold, gate_stock
from oms.operations.record_snapshot import RecordSnapshot
from oms.operations.snapshot_reading import balances
from oms.operations.snapshot_rows import Balance, Letter, OrderSnapshot
from oms.operations.violations import Violation, Violations
from oms.ports.evidence import Evidence, InventoryEvidence, PaymentEvidence
from oms.ports.messages import Codec, copies_topic
from oms.ports.sorting import MakeSorter

__all__ = ["Report", "Violation", "at_every_instant", "check"]


@attrs.frozen
class Report:
    """The result of a check. `quiet`: the system was at rest, so the gate was compared as well.

    `notes` are facts that an operator should know and that break no promise.
    """

    violations: tuple[Violation, ...]
    quiet: bool
    orders: Mapping[str, int]
    parked: int
    messages: int
    checked: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether no promise is broken."""
        return not self.violations


def check(
    evidence: Evidence,
    codec: Codec,
    *,
    now: datetime,
    deadline_s: float,
    settle_s: float,
    kept_s: float | None = None,
    quiet: bool | None = None,
    sorter: MakeSorter = MemorySorter,
) -> Report:
    """Check all promises. `kept_s` is how long the log keeps its messages, in seconds; None means for ever.

    A message may wait in the outbox for as long as a new order has to settle (`deadline_s` and `settle_s`, in seconds);
    each order is checked against its own deadline. With `quiet` None, the check decides whether the system is at rest:
    no outbox row, no task, every message read, and every order settled, LEGACY or waiting for an operator. `sorter`
    makes the sorters of the orders' records.
    """
    unsent_since = now - timedelta(seconds=deadline_s + settle_s)
    with ExitStack() as moments:
        record = RecordSnapshot.read(evidence, codec, sorter, moments, unsent_since)
        since = None if kept_s is None else now - timedelta(seconds=kept_s)
        checks = _Check(record, now, settle_s, since)
        for one in record.orders():
            checks.take(one)
    return checks.report(quiet)


def at_every_instant(evidence: Evidence, services: Collection[str] = ("order", "inventory")) -> list[Violation]:
    """Check what must hold between any two steps.

    That is P1, P3 and the ledger's part of P2 of inventory; P4, P5 and the units' part of P12 of orders. The caller
    keeps the system still meanwhile. `services` are those whose records may have changed since the last call; "payment"
    checks the money alone.
    """
    found: list[Violation] = []
    if "inventory" in services:
        found += _inventory(evidence.inventory)
    if "order" in services or "payment" in services:
        history = Grouped(evidence.order.all_history()) if "order" in services else None
        book = balances(evidence.book) if evidence.book is not None else None
        for order in evidence.order.all_orders():
            if history is not None:
                found += order_promises.history(order.id, order, history.take(order.id))
                found += part_promises.units(order)
            if book is not None and order.terms is not None:
                found += _money(order, evidence.payment, book.pop(order.id, None))
        for order_id, balance in (book or {}).items():
            found += money_promises.charges(order_id, None, balance)
    return found


def _inventory(inventory: InventoryEvidence) -> Iterator[Violation]:
    fold, movements = LedgerFold(), dict[str, list[Movement]]()
    for row in inventory.all_movements():
        movements.setdefault(row.reference, []).append(row)
        fold.add_movements((row,))
    for reservation in inventory.all_reservations():
        fold.add_reservation(reservation)
        yield from order_promises.effects(reservation, movements.get(reservation.order_id, ()))
        for one in reservation.restocks:
            reference = restock_reference(reservation.order_id, one.refund_id)
            yield from part_promises.restocked(reference, one.items, movements.pop(reference, ()))
    for reference, rows in movements.items():
        refunds = [row for row in rows if row.kind is MovementKind.REFUND]
        yield from part_promises.restocked(reference, None, refunds)
    stock = {row.sku: row for row in inventory.all_stock()}
    for sku, product in stock.items():
        if not 0 <= product.held <= product.on_hand:
            yield Violation("P1", sku, f"on hand {product.on_hand}, held {product.held}")
    yield from (Violation("P2", one.subject, one.detail) for one in fold.differences(stock))


def _money(order: Order, payments: PaymentEvidence, found: Balance | None) -> Iterator[Violation]:
    if found is not None:
        yield from money_promises.charges(order.id, order, found)
    if order.state.settled:
        is_left = order.state is OrderState.CANCELLED and found is not None and found.net
        read = payments.all_payments() if is_left else ()
        payment = next((one for one in read if one.order_id == order.id), None)
        yield from money_promises.balance(order, payment, found)


class _Check:
    """One pass over the orders."""

    def __init__(self, record: RecordSnapshot, now: datetime, settle_s: float, since: datetime | None) -> None:
        self._record, self._settle_s, self._since = record, settle_s, since
        self._now = now if record.as_of is None else min(now, record.as_of)
        self._found, self._at_rest = Violations(), Violations()
        self._fold = LedgerFold()
        self._restocks = Restocks()
        self._states: Counter[OrderState] = Counter()
        self._all_rest, self._waiting = True, 0
        has_book = record.evidence.book is not None and record.as_of is None
        self._money = MoneyCheck(record) if has_book else None
        bound = NO_DATE if since is None else microseconds(since)
        self._checks = OrderChecks(record.passed, self._add, record.log is not None, bound)

    def _add(self, violation: Violation, only_at_rest: bool) -> None:  # noqa: FBT001
        (self._at_rest if only_at_rest else self._found).add(violation)

    def take(self, one: OrderSnapshot) -> None:
        """Check one order."""
        self._fold.add(one)
        if one.reservation is not None:
            self._found.extend(order_promises.effects(one.reservation, one.movements))
        self._found.extend(self._restocks.take(one))
        self._at_rest.extend(Violation("P2", held.subject, held.detail) for held in gate_hold(one))
        if one.order is not None and one.order.state is not OrderState.ABSENT:
            self._states[one.order.state] += 1
            self._found.extend(order_promises.history(one.id, one.order, one.history))
            self._found.extend(part_promises.history(one.order, one.history))
            self._settles(one.order)
        if self._money is not None:
            self._money.take(one, self._add)
        self._checks.check(one)

    def _settles(self, order: Order) -> None:
        """P6: every order settles in time, unless it waits for an operator."""
        self._waiting += part_promises.waiting(order)
        if not (order.state.resting or order_promises.waits_for_operator(order)):
            self._all_rest = False
            late = order_promises.late_from(order, self._settle_s)
            is_late = late is not None and late < self._now
            self._add(Violation("P6", order.id, f"is still {order.state.value}", order.id), not is_late)

    def report(self, quiet: bool | None) -> Report:  # noqa: FBT001
        """Return the result; called after the snapshots have ended."""
        record = self._record
        notes = [
            f"{name} is the record of a step that OMS_STEPS doesn't name: its messages and dead letters aren't checked"
            for name in sorted(record.evidence.unread_steps)
        ]
        if quiet is None:
            at_rest = self._all_rest and not record.waits and record.read_up_to_the_end
            quiet = at_rest and not (record.gate is not None and record.gate.closed) and record.as_of is None
        if record.as_of is not None:
            why = f"these are the records of a standby, up to {record.as_of}"
            notes.append(f"{why}: neither P4, P9, the gate nor the end of P2 can be compared with them")
        if self._waiting:
            refunds = "1 refund" if self._waiting == 1 else f"{self._waiting} refunds"
            notes.append(
                f"{refunds} that the gateway refused: an operator has to decide (`oms orders retry`, `resolve`)"
            )
        self._found.extend(self._restocks.rest())
        self._products()
        if record.log is not None:
            self._copied(record.letters, record.log.copies)
            self._found.extend(self._unsent())
        if self._money is not None:
            self._money.look_again(self._add)
            notes += self._money.notes()
        states = {state.value: count for state, count in self._states.items()}
        found = self._found.merged(self._at_rest if quiet else Violations())
        messages = record.log.count if record.log is not None else 0
        counts = dict(sorted(states.items()))
        return Report(tuple(found), quiet, counts, record.parked, messages, self._checked(quiet), tuple(notes))

    def _products(self) -> None:
        """P1, and P2 of each product."""
        record = self._record
        for sku, row in record.stock.items():
            if not 0 <= row.held <= row.on_hand:
                self._found.add(Violation("P1", sku, f"on hand {row.on_hand}, held {row.held}"))
        for found in self._fold.differences(record.stock):
            self._found.add(Violation("P2", found.subject, found.detail))
        if record.gate is not None:
            before, after = record.gate.before, record.stock
            for found in gate_stock(record.gate, after):
                if record.gate.closed or before.get(Sku(found.subject)) == after.get(Sku(found.subject)):
                    self._at_rest.add(Violation("P2", found.subject, found.detail))

    def _copied(self, letters: Sequence[Letter], copies: Collection[bytes]) -> None:
        """P7: each dead letter has its copy in the log, unless the copy waits to be sent or the broker refused it.

        The log may have removed the copies of letters that were parked before `since`.
        """
        refused = {letter.copy_of for letter in letters if letter.copy_of is not None}
        for letter in letters:
            if letter.copy_of is not None or (self._since is not None and letter.parked_at < self._since):
                continue
            topic, name = copies_topic(letter.service), letter.id.encode()
            if name not in copies and name not in refused:
                detail = f"this dead letter's copy was never published in {topic}"
                self._add(Violation("P7", letter.id, detail, topic=topic), name in self._record.owed_copies)

    def _unsent(self) -> Iterator[Violation]:
        """P7: no message waits in the outbox for longer than an order may take to settle."""
        for one in self._record.unsent:
            detail = f"its message for the topic {one.topic} has been in the outbox of {one.service} since {one.since}"
            yield Violation("P7", one.order_id, detail, one.order_id, one.topic)

    def _checked(self, quiet: bool) -> tuple[str, ...]:  # noqa: FBT001
        record = self._record
        checked = ["P1", "P2", "P3", "P5", "P6", "P10", "P12"]
        if self._money is not None and self._money.covers:
            checked.append("P4")
        if record.log is not None:
            checked += ["P7", "P8"]
            if quiet or all(member.group in record.passed for member in record.members):
                checked.append("P9")
        return tuple(sorted(checked, key=lambda name: int(name[1:])))
