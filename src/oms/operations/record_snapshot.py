"""Reads the records of a whole system for the checks of its promises, order by order and in bounded memory.

A running system changes while it is read, so no two of its records are of the same moment. The order of the reads
makes the checks exact nevertheless. Each step ends before the next one begins:

1. how far each consumer group has read the log;
2. stock and gate, unless a task of inventory for the gate is open;
3. a snapshot of each service: inventory, payment, notification, the user's own steps, and the order service last;
4. the log, up to its end when the reading begins;
5. the gateway's book;
6. after the snapshots have ended, those payments and orders again that don't agree with the book.

A PostgreSQL standby may show a state from before (1), so all comparisons that need (1), (2) or (6) are left out there.

Therefore each of these holds for a correct system, whatever it does meanwhile:

- A message below the position of a group (1) is in that group's inbox, or a dead letter (3). P9, and the end of P2:
  if inventory has read the end of an order, its snapshot shows the effect, and the order's snapshot is no older.
- An event that a service has decided on (3) is in its outbox of the same snapshot or in the log (4). P7.
- A stored response to a caller is in the same snapshot as its order. P10. So are an order and its history. P5.
- The money of an order that has ended (3) has moved before the book is read (5), and moves again only after the order
  has left its state or got another refund, which (6) shows. P4.
- The money of a payment without a call under way (3) moves again only after the payment has changed, which (6) shows.
  P4.
- If every group had read the whole log (1 and 4) and no service had outbox rows or tasks (3), the system was at rest in
  between. Stock that didn't change from (2) to (3) must then be the gate's stock as well. P2.

Memory: products, dead letters (without their content) and partitions are kept; orders and what refers to them are
sorted by `Sorter`s and merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from heapq import merge

import attrs

from oms.domain.order import Order
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Stock
from oms.domain.values import OrderId, Sku
from oms.operations.log_snapshot import Listener, LoggedMessage, LogSnapshot
from oms.operations.merging import Grouped, keys_of, without
from oms.operations.snapshot_reading import (
    add_response,
    has_any,
    members_of,
    read_book,
    read_gate,
    read_letters,
    read_positions,
    read_unsent,
)
from oms.operations.snapshot_rows import Balance, GateStock, Letter, Member, Missed, OrderSnapshot, Passed, Unsent
from oms.operations.violations import MOST_LISTED
from oms.ports.evidence import Evidence
from oms.ports.messages import Codec, Record
from oms.ports.sorting import MakeSorter, Row, Sorter
from oms.ports.stores.rows import DeadLetterState

_SORTED = ("owed", "gate", "book", "responses", "missed")


@attrs.define
class RecordSnapshot:
    """The records as they were read, before they are merged by order. Use it while the snapshots are open."""

    evidence: Evidence
    passed: Passed
    members: list[Member]
    stock: Mapping[Sku, Stock]
    letters: list[Letter]
    unsent: list[Unsent]
    """Messages that have waited for too long, at most `MOST_LISTED`."""

    waits: bool
    """Whether a message is to be sent or a task to be done."""

    log: LogSnapshot | None
    gate: GateStock | None
    as_of: datetime | None
    """The time up to which the records of a standby are complete; None if they are not a standby's."""

    owed_copies: frozenset[bytes]
    """The dead letters whose copies wait to be sent."""

    other_payments: int
    """Lines of the gateway's book whose key belongs to another system."""

    _sorted: Mapping[str, Sorter]

    @classmethod
    def read(
        cls, evidence: Evidence, codec: Codec, make: MakeSorter, moments: ExitStack, unsent_since: datetime | None
    ) -> RecordSnapshot:
        """Read everything that isn't read later, when it is merged by order; `moments` keeps the snapshots open.

        Messages that have waited in an outbox since before `unsent_since` are listed.
        """
        members = members_of(evidence)
        behind = [at for at in (member.record.as_of() for member in members) if at is not None]
        passed = {} if behind else read_positions(evidence, members)
        sorters = {name: make() for name in _SORTED}
        gate = None if behind else _idle_gate(evidence, sorters["gate"])
        # After the positions: a group that is made meanwhile has a beginning before it has a position.
        begins = {group: step.record.start_offsets(group) or {} for group, step in evidence.steps.items()}
        for member in members:
            moments.enter_context(member.record.at_one_moment())
        letters = [letter for member in members for letter in read_letters(member)]
        unsent, copies = _read_outboxes(members, codec, sorters["owed"], unsent_since)
        waits = any(has_any(one.record.all_outbox()) or has_any(one.record.all_tasks()) for one in members)
        for response in evidence.order.all_responses():
            add_response(response, sorters["responses"])
        log = None
        if evidence.log is not None:
            listeners = [
                Listener(one.group, one.topics, begins.get(one.group, {}), passed.get(one.group, {})) for one in members
            ]
            wanted = frozenset(letter.id.encode() for letter in letters)
            log = LogSnapshot.read(evidence.log, codec, make, listeners, wanted)
        others = read_book(evidence.book, sorters["book"]) if evidence.book is not None else 0
        stock = {row.sku: row for row in evidence.inventory.all_stock()}
        found = cls(
            evidence=evidence,
            passed=passed,
            members=members,
            stock=stock,
            letters=letters,
            unsent=unsent,
            waits=waits,
            log=log,
            gate=gate,
            as_of=min(behind, default=None),
            owed_copies=copies,
            other_payments=others,
            sorted=sorters,
        )
        if log is not None:
            for member in members:
                found._find_missed(member, log, make, codec)
        return found

    @classmethod
    def of_stock(cls, evidence: Evidence, make: MakeSorter, moments: ExitStack) -> RecordSnapshot:
        """Read only stock, reservations, gate and orders."""
        sorters = {name: make() for name in _SORTED}
        gate = read_gate(evidence.gate, evidence.inventory, sorters["gate"]) if evidence.gate is not None else None
        for record in (evidence.inventory, evidence.order):
            moments.enter_context(record.at_one_moment())
        stock = {row.sku: row for row in evidence.inventory.all_stock()}
        return cls(evidence, {}, [], stock, [], [], False, None, gate, None, frozenset(), 0, sorters)  # noqa: FBT003

    @property
    def read_up_to_the_end(self) -> bool:
        """Whether each group whose position the log knows had read all of its messages."""
        return self.log is None or all(
            self.passed[member.group].get(place, 0) >= end
            for member in self.members
            if member.group in self.passed
            for place, end in self.log.ends.items()
            if place.topic in member.topics
        )

    @property
    def parked(self) -> int:
        """Dead letters that wait for an operator."""
        return sum(letter.state is DeadLetterState.PARKED for letter in self.letters)

    def orders(self) -> Iterator[OrderSnapshot]:
        """Yield everything that refers to an order, in the order of the ids."""
        evidence, all_of_it = self.evidence, bool(self.members)
        order: Grouped[Order] = Grouped((row.id, row) for row in evidence.order.all_orders())
        history: Grouped[HistoryEntry] = Grouped(evidence.order.all_history() if all_of_it else ())
        responses: Grouped[Row] = self._grouped("responses")
        reservation = Grouped((row.order_id, row) for row in evidence.inventory.all_reservations())
        movements = Grouped((row.reference, row) for row in evidence.inventory.all_movements())
        payments = evidence.payment.all_payments() if all_of_it else ()
        payment = Grouped((row.order_id, row) for row in payments)
        messages: Grouped[LoggedMessage] = Grouped(self.log.by_order() if self.log is not None else ())
        owed, book, gate, missed = (self._grouped(name) for name in ("owed", "book", "gate", "missed"))
        streams = (order, history, responses, reservation, movements, payment, messages, owed, book, gate, missed)
        for key in keys_of(streams):
            lines = book.take(key)
            yield OrderSnapshot(
                OrderId(key),
                next(iter(order.take(key)), None),
                history.take(key),
                [row[0] for row in responses.take(key)],
                next(iter(reservation.take(key)), None),
                movements.take(key),
                next(iter(payment.take(key)), None),
                messages.take(key),
                [(row[0], row[1]) for row in owed.take(key)],
                Balance.of(lines) if lines else None,
                bool(gate.take(key)),
                [Missed(*row) for row in missed.take(key)],
            )

    def _grouped(self, name: str) -> Grouped[Row]:
        return Grouped((row[0], row[1:]) for row in self._sorted[name].rows())

    def _find_missed(self, member: Member, log: LogSnapshot, make: MakeSorter, codec: Codec) -> None:
        """Find the messages that a group has recorded under none of their ids."""
        rows: Iterable[Row] = without(log.names(member.group), self._done(member))
        for named in (_by_message, partial(_by_place, codec)):
            again, found = make(), False
            for row in rows:
                again.add((named(row), *row[1:]))
                found = True
            if not found:
                return
            rows = without(again.rows(), self._done(member))
        for _, order_id, topic, partition, offset, passed in rows:
            self._sorted["missed"].add((order_id, member.group, topic, partition, offset, passed))

    def _done(self, member: Member) -> Iterator[str]:
        """Yield the ids of all messages that a group has handled or parked, sorted.

        A dead letter is kept until it is redriven or discarded, so it may outlive its inbox row.
        """
        letters = sorted(letter.message_id for letter in self.letters if letter.service == member.name)
        return merge((name for group, name in member.record.all_inbox() if group == member.group), letters)


def _by_message(row: Row) -> str:
    """Return the message's own id; the order service records some messages under an id that includes the terms."""
    return str(row[0]).partition(".")[0]


def _by_place(codec: Codec, row: Row) -> str:
    """Return the id under which a message is recorded that was parked unread."""
    return codec.name(Record(row[2], row[3], row[4], None, None))


def _idle_gate(evidence: Evidence, sorter: Sorter) -> GateStock | None:
    """Return the gate's stock; None without a gate, or while a task of inventory may be on its way to it."""
    if evidence.gate is None or has_any(evidence.inventory.all_tasks()):
        return None
    return read_gate(evidence.gate, evidence.inventory, sorter)


def _read_outboxes(
    members: Iterable[Member], codec: Codec, owed: Sorter, unsent_since: datetime | None
) -> tuple[list[Unsent], frozenset[bytes]]:
    """Return the messages that have waited since before `unsent_since`, and the dead letters whose copies wait."""
    copies: set[bytes] = set()
    unsent: list[Unsent] = []
    for member in members:
        for one in read_unsent(member, codec, owed, copies, unsent_since):
            if len(unsent) < MOST_LISTED:
                unsent.append(one)
    return unsent, frozenset(copies)
