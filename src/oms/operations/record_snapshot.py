"""All that is on record of a system, order by order, for the checks of its promises; in a bounded amount of memory.

A system works on while it is read, so no two of its records are of the same moment. The order of the reads makes up
for that. Each step is over before the next one begins:

1. how far each consumer group has read the log;
2. stock and gate, unless inventory still owes the gate something;
3. a snapshot of each service: inventory, payment, notification, the shop's own steps, and the order service last;
4. the log, as far as it reaches when its reading begins;
5. the gateway's book;
6. after the snapshots have ended, once more those orders that don't fit the book.

A standby of PostgreSQL may show a state from before (1), so nothing is compared there that needs (1), (2) or (6).

So each of these holds of a right system, whatever it does meanwhile:

- A message below the position of a group (1) is in that group's inbox, or a dead letter (3). P9, and the end of P2:
  what inventory has read of an order's end is done in its snapshot, and the order's snapshot is no older.
- What a service has decided (3) is in its outbox of the same snapshot or in the log (4). P7.
- An answer to a caller stands in the same snapshot as its order. P10. So do an order and its history. P5.
- The money of an order that has ended (3) has moved before the book is read (5), and moves again only after the order
  has left its state, which (6) shows. P4.
- Where every group had read all of the log (1 and 4) and no service owed anything (3), the system was at rest in
  between. Stock that didn't change from (2) to (3) was then the gate's stock as well. P2.

Memory: products, dead letters (without their content) and partitions are kept; orders and what refers to them are
sorted by `Sorter`s and merged.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from heapq import merge

import attrs

from oms.application.routing import ROUTING
from oms.domain.order import Order
from oms.domain.payment import Payment, order_of_key
from oms.domain.reservation import Reservation
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, Stock
from oms.domain.values import OrderId, Sku
from oms.engine.dead_letter_copies import original_of
from oms.operations.log_snapshot import Listener, LogSnapshot, Said, microseconds, written_at
from oms.operations.merging import Grouped, MemorySorter, keys_of, without
from oms.operations.violations import MOST_LISTED
from oms.ports.broker import TopicPartition
from oms.ports.evidence import BookKind, Evidence, GateEvidence, GatewayBook, InventoryEvidence, ServiceEvidence
from oms.ports.gate import GateAnswer
from oms.ports.messages import COPY_PREFIX, Codec, Record, is_copies_topic
from oms.ports.sorting import MakeSorter, Row, Sorter
from oms.ports.stores.rows import DeadLetterState, StoredAnswer

Passed = Mapping[str, Mapping[TopicPartition, int]]
"""By group: the next offset of each partition. A group of which the log can't tell it is left out."""


@attrs.frozen
class Member:
    """A service, or a step of the shop's own, as a consumer of the log."""

    name: str
    group: str
    topics: Collection[str]
    record: ServiceEvidence


def members_of(evidence: Evidence) -> list[Member]:
    """In the order in which they are read: the order service last."""
    services = {name: getattr(evidence, name) for name in ("inventory", "payment", "notification", "order")}
    named = [Member(name, ROUTING[name].group, ROUTING[name].topics, record) for name, record in services.items()]
    steps = [Member(group, group, step.topics, step.record) for group, step in sorted(evidence.steps.items())]
    return [*named[:-1], *steps, named[-1]]


@attrs.frozen
class Letter:
    """A dead letter without its content; `copy_of` names the one of which it is the copy, refused by the broker."""

    service: str
    id: str
    message_id: str
    parked_at: datetime
    state: DeadLetterState
    copy_of: bytes | None


@attrs.frozen
class Unsent:
    """A message that waits to be sent: since when, and who owes it."""

    service: str
    order_id: str
    topic: str
    since: datetime


@attrs.frozen
class Balance:
    """An order's lines in the gateway's book; amounts in minor units."""

    captures: int = 0
    net: int = 0
    currency: str = ""
    first_at: int = 0
    """When the first line was written, in microseconds since 1970."""

    @classmethod
    def of(cls, lines: Iterable[tuple[int, str, int, str]]) -> Balance:
        """Of lines (at, kind, amount, currency)."""
        captures = net = first_at = 0
        currency = ""
        for at, kind, amount, code in lines:
            first_at = min(first_at, at) if first_at else at
            currency = code or currency
            if kind == BookKind.CAPTURE.value:
                captures, net = captures + 1, net + amount
            elif kind == BookKind.REFUND.value:
                net -= amount
        return cls(captures, net, currency, first_at)


@attrs.frozen
class Missed:
    """A message that a group has neither handled nor parked. `passed`: though it has read on behind it."""

    group: str
    topic: str
    partition: int
    offset: int
    passed: bool


@attrs.define
class OrderSnapshot:
    """All that is on record of one order. ABSENT orders are here as well, and ids of which nobody knows an order."""

    id: OrderId
    order: Order | None = None
    history: list[HistoryEntry] = attrs.field(factory=list)
    answers: list[str] = attrs.field(factory=list)
    """The idempotency keys under which the order was the answer."""

    reservation: Reservation | None = None
    movements: list[Movement] = attrs.field(factory=list)
    """The ledger's rows that refer to this id: an order, or what else changes stock."""

    payment: Payment | None = None
    said: list[Said] = attrs.field(factory=list)
    """Its messages in the log, by place."""

    owed: list[str] = attrs.field(factory=list)
    """The topics of its messages that aren't sent yet."""

    balance: Balance | None = None
    gate_holds: bool = False
    missed: list[Missed] = attrs.field(factory=list)


@attrs.frozen
class GateStock:
    """What the gate would sell, with the ledger's stock just before; `closed`: it waits for a rebuild."""

    closed: bool
    available: Mapping[Sku, int]
    before: Mapping[Sku, Stock]


_SORTED = ("owed", "gate", "book", "answers", "missed")


@attrs.define
class RecordSnapshot:
    """What was read, up to the merge. To be used while the snapshots are open."""

    evidence: Evidence
    passed: Passed
    members: list[Member]
    stock: Mapping[Sku, Stock]
    letters: list[Letter]
    unsent: list[Unsent]
    """Messages that have waited for too long, or as many of them as a person can read."""

    waits: bool
    """Whether a message is to be sent or a task to be done."""

    log: LogSnapshot | None
    gate: GateStock | None
    as_of: datetime | None
    """If the records are those of a standby, which may be behind: the time up to which they are complete."""

    owed_copies: frozenset[bytes]
    """The dead letters whose copies wait to be sent."""

    other_payments: int
    """Lines of the gateway's book whose key is none of ours."""

    _sorted: Mapping[str, Sorter]

    @classmethod
    def read(
        cls, evidence: Evidence, codec: Codec, make: MakeSorter, moments: ExitStack, unsent_since: datetime | None
    ) -> RecordSnapshot:
        """Read all but what is merged later; `moments` keeps the snapshots open.

        Of the messages that wait to be sent, those from before `unsent_since` are named.
        """
        members = members_of(evidence)
        behind = [at for at in (member.record.as_of() for member in members) if at is not None]
        passed = {} if behind else _passed(evidence, members)
        sorted_ = {name: make() for name in _SORTED}
        gate = None
        if evidence.gate is not None and not behind and not _has_any(evidence.inventory.all_tasks()):
            # A task of inventory may be on its way to the gate.
            gate = _read_gate(evidence.gate, evidence.inventory, sorted_["gate"])
        # After the positions: a group that is made meanwhile has a beginning before it has a position.
        begins = {group: step.record.start_offsets(group) or {} for group, step in evidence.steps.items()}
        for member in members:
            moments.enter_context(member.record.at_one_moment())
        letters = [letter for member in members for letter in _letters(member)]
        copies: set[bytes] = set()
        unsent: list[Unsent] = []
        for member in members:
            for one in _unsent(member, sorted_["owed"], copies, unsent_since):
                if len(unsent) < MOST_LISTED:
                    unsent.append(one)
        waits = any(_has_any(one.record.all_outbox()) or _has_any(one.record.all_tasks()) for one in members)
        for answer in evidence.order.all_answers():
            _add_answer(answer, sorted_["answers"])
        log = None
        if evidence.log is not None:
            listeners = [
                Listener(one.group, one.topics, begins.get(one.group, {}), passed.get(one.group, {})) for one in members
            ]
            wanted = frozenset(letter.id.encode() for letter in letters)
            log = LogSnapshot.read(evidence.log, codec, make, listeners, wanted)
        others = _read_book(evidence.book, sorted_["book"]) if evidence.book is not None else 0
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
            owed_copies=frozenset(copies),
            other_payments=others,
            sorted=sorted_,
        )
        if log is not None:
            for member in members:
                found._find_missed(member, log, make, codec)
        return found

    @classmethod
    def of_stock(cls, evidence: Evidence, make: MakeSorter, moments: ExitStack) -> RecordSnapshot:
        """Stock, reservations, gate and orders alone."""
        sorted_ = {name: make() for name in _SORTED}
        gate = _read_gate(evidence.gate, evidence.inventory, sorted_["gate"]) if evidence.gate is not None else None
        for record in (evidence.inventory, evidence.order):
            moments.enter_context(record.at_one_moment())
        stock = {row.sku: row for row in evidence.inventory.all_stock()}
        return cls(evidence, {}, [], stock, [], [], False, None, gate, None, frozenset(), 0, sorted_)  # noqa: FBT003

    @property
    def read_up_to_the_end(self) -> bool:
        """Whether each group had read all that the log has for it, as far as the log can tell."""
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
        """Everything that refers to an order, by its id."""
        evidence, all_of_it = self.evidence, bool(self.members)
        order: Grouped[Order] = Grouped((row.id, row) for row in evidence.order.all_orders())
        history: Grouped[HistoryEntry] = Grouped(evidence.order.all_history() if all_of_it else ())
        answers: Grouped[Row] = self._grouped("answers")
        reservation = Grouped((row.order_id, row) for row in evidence.inventory.all_reservations())
        movements = Grouped((row.reference, row) for row in evidence.inventory.all_movements())
        payments = evidence.payment.all_payments() if all_of_it else ()
        payment = Grouped((row.order_id, row) for row in payments)
        said: Grouped[Said] = Grouped(self.log.by_order() if self.log is not None else ())
        owed, book, gate, missed = (self._grouped(name) for name in ("owed", "book", "gate", "missed"))
        streams = (order, history, answers, reservation, movements, payment, said, owed, book, gate, missed)
        for key in keys_of(streams):
            lines = book.take(key)
            yield OrderSnapshot(
                OrderId(key),
                next(iter(order.take(key)), None),
                history.take(key),
                [row[0] for row in answers.take(key)],
                next(iter(reservation.take(key)), None),
                movements.take(key),
                next(iter(payment.take(key)), None),
                said.take(key),
                [row[0] for row in owed.take(key)],
                Balance.of(lines) if lines else None,
                bool(gate.take(key)),
                [Missed(*row) for row in missed.take(key)],
            )

    def _grouped(self, name: str) -> Grouped[Row]:
        return Grouped((row[0], row[1:]) for row in self._sorted[name].rows())

    def _find_missed(self, member: Member, log: LogSnapshot, make: MakeSorter, codec: Codec) -> None:
        """Sort out the messages of which a group has no trace, under none of their names."""
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
        """The names of all messages that a group has handled or parked, sorted.

        A dead letter stays until it has ended, and may outlive its inbox row.
        """
        letters = sorted(letter.message_id for letter in self.letters if letter.service == member.name)
        return merge((name for group, name in member.record.all_inbox() if group == member.group), letters)


def _by_message(row: Row) -> str:
    """The message's own id; the order service keeps some under one that names the terms as well."""
    return str(row[0]).partition(".")[0]


def _by_place(codec: Codec, row: Row) -> str:
    """How a message is kept that was parked unread."""
    return codec.name(Record(row[2], row[3], row[4], None, None))


def _passed(evidence: Evidence, members: Iterable[Member]) -> Passed:
    if evidence.log is None:
        return {}
    told = {member.group: evidence.log.offsets(member.group) for member in members}
    return {group: offsets for group, offsets in told.items() if offsets is not None}


def _read_gate(gate: GateEvidence, inventory: InventoryEvidence, sorter: Sorter) -> GateStock:
    """What the gate has; the orders of which it says that they hold stock are sorted."""
    before = {row.sku: row for row in inventory.all_stock()}
    if gate.epoch() is None:
        return GateStock(closed=True, available={}, before=before)
    available = dict(gate.all_available())
    for order_id, answer, _ in gate.all_answers():
        if answer is GateAnswer.HELD:
            sorter.add((order_id,))
    return GateStock(closed=False, available=available, before=before)


def _letters(member: Member) -> Iterator[Letter]:
    for one in member.record.all_dead_letters():
        copy_of = original_of(one.headers) if is_copies_topic(one.topic) else None
        yield Letter(member.name, one.id, one.message_id, one.parked_at, one.state, copy_of)


def _unsent(member: Member, owed: Sorter, copies: set[bytes], since: datetime | None) -> Iterator[Unsent]:
    """Sort the messages that wait to be sent by order; those from before `since` are answered."""
    for row in member.record.all_outbox():
        order_id = (row.message.key or b"").decode(errors="replace")
        if is_copies_topic(row.message.topic):
            copies.add(original_of(row.message.headers))
        else:
            owed.add((order_id, row.message.topic))
        at = written_at(dict(row.message.headers), "ce_time", f"{COPY_PREFIX}parked_at")
        if at is not None and since is not None and at < since:
            yield Unsent(member.name, order_id, row.message.topic, at)


def _add_answer(answer: StoredAnswer, sorter: Sorter) -> None:
    """Note the order that an answer names, however its JSON is spelled; none is in a refusal, or in what isn't JSON."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        return
    if isinstance(body, dict) and isinstance(body.get("orderId"), str):
        sorter.add((body["orderId"], answer.key))


def _read_book(book: GatewayBook, sorter: Sorter) -> int:
    """Sort the lines by order; how many have a key that is none of ours."""
    others = 0
    for entry in book.all_entries():
        order_id = order_of_key(entry.key)
        if order_id is None:
            others += 1
        else:
            sorter.add((order_id, microseconds(entry.at), entry.kind.value, entry.amount, entry.currency or ""))
    return others


def balances(book: GatewayBook) -> dict[OrderId, Balance]:
    """The whole book at once, by order: for few orders."""
    sorter = MemorySorter()
    _read_book(book, sorter)
    lines: Grouped[Row] = Grouped((row[0], row[1:]) for row in sorter.rows())
    return {OrderId(key): Balance.of(lines.take(key)) for key in keys_of((lines,))}


def _has_any(rows: Iterable[object]) -> bool:
    return next(iter(rows), None) is not None
