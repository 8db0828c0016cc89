"""The promises, checked against what is on record. Used by tests, chaos runs and `oms verify` alike.

Some hold at every instant; the rest only when nothing is under way any more, and are checked then. P8 (order of
delivery doesn't matter) and P11 (nobody reaches another's order) can't be read off a record as a whole: what of P8
can be seen is that all copies of a message are equal, and of P11 nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain

import attrs

from oms.application.copies import original_of
from oms.application.reconciliation import (
    Difference,
    Movements,
    by_reference,
    gate_differences,
    ledger_differences,
)
from oms.application.routing import ROUTING
from oms.domain.machine import Effect, HistoryEntry
from oms.domain.order import ORDER_TABLE, Order, OrderState, OrderTrigger
from oms.domain.payment import Payment, PaymentState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stock import MovementKind, Stock
from oms.domain.values import OrderId, Sku
from oms.ports.broker import TopicPartition
from oms.ports.evidence import BookEntry, BookKind, Evidence, LogEvidence, ServiceEvidence
from oms.ports.messages import Codec, Message, MessageId, Record, Undecodable, copies_topic, is_copies_topic
from oms.ports.store import DeadLetter, DeadLetterState


@attrs.frozen
class Violation:
    """A promise that doesn't hold: which one, of what, and what was found."""

    promise: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise} {self.subject}: {self.detail}"


@attrs.frozen
class Report:
    """What was found. `quiet` says whether nothing was under way, so that every promise could be checked."""

    violations: tuple[Violation, ...]
    quiet: bool
    orders: Mapping[str, int]
    parked: int
    messages: int
    checked: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """No promise is broken."""
        return not self.violations


def check(
    evidence: Evidence, codec: Codec, *, now: datetime, deadline_s: float, settle_s: float, quiet: bool | None = None
) -> Report:
    """Check everything.

    `quiet` None finds out by itself: no outbox row, no task, every order settled or LEGACY, and no message that a
    service hasn't read.
    """
    # Before everything else: what was read by then must be on record afterwards.
    passed = _passed(evidence.log)
    records = _Records.read(evidence)
    log = _Log.read(evidence.log.all_records(), codec, records.legacy()) if evidence.log is not None else None
    if quiet is None:
        resting = all(order.state.resting for order in records.orders.values())
        quiet = records.nothing_waits() and resting and (log is None or log.read_up_to(passed))
    late = now - timedelta(seconds=deadline_s + settle_s)
    found = [*_stock(records), *_effects(records), *_history(evidence, records), *_answers(evidence, records)]
    if evidence.gate is not None and quiet:
        # The rest of P2: at rest the gate sells what the ledger has.
        found += _p2(gate_differences(evidence.gate, records.stock, records.movements))
    found += _liveness(records, late, quiet=quiet)
    if evidence.book is not None:
        found += _money(records, evidence.book.all_entries(), quiet=quiet)
    if log is not None:
        found += [
            *_copies(log),
            *(_published(records, log) if quiet else ()),
            *(_copied(records, log) if quiet else ()),
            *(_handled(records, log) if quiet else ()),
        ]
    states = Counter(order.state.value for order in records.orders.values())
    counts, messages = dict(sorted(states.items())), log.count if log is not None else 0
    return Report(tuple(found), quiet, counts, records.parked, messages, _checked(evidence, quiet))


_Passed = Mapping[str, Mapping[TopicPartition, int]]


def _passed(log: LogEvidence | None) -> _Passed:
    """How far each service's group is, as far as the log can tell."""
    told = {one.group: log.offsets(one.group) for one in ROUTING.values()} if log is not None else {}
    return {group: offsets for group, offsets in told.items() if offsets is not None}


def _checked(evidence: Evidence, quiet: bool) -> tuple[str, ...]:  # noqa: FBT001
    always = ["P1", "P2", "P3", "P5", "P6", "P10"]
    with_book = ["P4"] if evidence.book is not None else []
    with_log = ["P8"] if evidence.log is not None else []
    at_rest = ["P7", "P9"] if evidence.log is not None and quiet else []
    return tuple(sorted([*always, *with_book, *with_log, *at_rest], key=lambda name: int(name[1:])))


@attrs.frozen
class _Records:
    orders: Mapping[OrderId, Order]
    reservations: Mapping[OrderId, Reservation]
    payments: Mapping[OrderId, Payment]
    stock: Mapping[Sku, Stock]
    movements: Movements
    inbox: Mapping[str, frozenset[MessageId]]
    outbox: frozenset[tuple[str, bytes | None]]
    tasks: int
    letters: Mapping[str, Sequence[DeadLetter]]

    @classmethod
    def read(cls, evidence: Evidence) -> _Records:
        named: Mapping[str, ServiceEvidence] = {
            "order": evidence.order,
            "inventory": evidence.inventory,
            "payment": evidence.payment,
            "notification": evidence.notification,
        }
        services = named.values()
        inbox: defaultdict[str, set[MessageId]] = defaultdict(set)
        for service in services:
            for group, message in service.all_inbox():
                inbox[group].add(message)
        return cls(
            {order.id: order for order in evidence.order.all_orders() if order.state is not OrderState.ABSENT},
            {row.order_id: row for row in evidence.inventory.all_reservations()},
            {row.order_id: row for row in evidence.payment.all_payments()},
            {row.sku: row for row in evidence.inventory.all_stock()},
            by_reference(evidence.inventory.all_movements()),
            {group: frozenset(messages) for group, messages in inbox.items()},
            frozenset((row.message.topic, row.message.key) for service in services for row in service.all_outbox()),
            sum(1 for service in services for _ in service.all_tasks()),
            {name: tuple(service.all_dead_letters()) for name, service in named.items()},
        )

    @property
    def parked(self) -> int:
        letters = chain.from_iterable(self.letters.values())
        return sum(letter.state is DeadLetterState.PARKED for letter in letters)

    def legacy(self) -> frozenset[OrderId]:
        return frozenset(order.id for order in self.orders.values() if order.state is OrderState.LEGACY)

    def nothing_waits(self) -> bool:
        return not self.outbox and not self.tasks


def _stock(records: _Records) -> Iterator[Violation]:
    """P1 and P2: within bounds, equal to the ledger's fold, and held by nobody but live orders."""
    for sku, row in records.stock.items():
        if not 0 <= row.held <= row.on_hand:
            yield Violation("P1", sku, f"on hand {row.on_hand}, held {row.held}")
    yield from _p2(ledger_differences(records.stock, records.movements, records.reservations.values()))


def _p2(differences: Iterable[Difference]) -> Iterator[Violation]:
    return (Violation("P2", found.subject, found.detail) for found in differences)


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


def _effects(records: _Records) -> Iterator[Violation]:
    """P3: each effect on stock is there once, for each line, and fits the reservation's state."""
    for order_id, reservation in records.reservations.items():
        rows = records.movements.get(order_id, [])
        kinds = frozenset(row.kind for row in rows)
        if kinds not in _LEDGER[reservation.state]:
            names = sorted(kind.value for kind in kinds)
            yield Violation("P3", order_id, f"reservation is {reservation.state.value}, its ledger rows are {names}")
        counted = Counter((row.sku, row.kind) for row in rows)
        for (sku, kind), count in counted.items():
            if count > 1:
                yield Violation("P3", order_id, f"{kind.value} of {sku} is in the ledger {count} times")
        wrong = [row for row in rows if max(abs(row.on_hand), abs(row.held)) != reservation.items.get(row.sku)]
        if wrong:
            yield Violation("P3", order_id, f"{wrong[0].kind.value} of {wrong[0].sku} isn't what the order holds")


def _history(evidence: Evidence, records: _Records) -> Iterator[Violation]:
    """P5: no gap, and no step that its table doesn't have."""
    last: dict[OrderId, HistoryEntry] = {}
    for order_id, entry in evidence.order.all_history():
        before = last.get(order_id)
        if entry.seq != (before.seq + 1 if before else 1):
            yield Violation("P5", order_id, f"history jumps to {entry.seq}")
        if before is not None and before.after != entry.before:
            yield Violation("P5", order_id, f"history leaves {before.after} and goes on from {entry.before}")
        if not _allowed(entry):
            yield Violation("P5", order_id, f"{entry.before} x {entry.trigger} can't lead to {entry.after}")
        last[order_id] = entry
    for order_id, order in records.orders.items():
        entry_or_none = last.get(order_id)
        if entry_or_none is None or (entry_or_none.seq, entry_or_none.after) != (order.version, order.state.value):
            yield Violation("P5", order_id, f"is {order.state.value} at {order.version}, its history says otherwise")


def _allowed(entry: HistoryEntry) -> bool:
    cell = ORDER_TABLE[OrderState(entry.before)][OrderTrigger(entry.trigger)]
    if cell.effect is Effect.MOVE and cell.to is not None:
        return cell.to.value == entry.after
    return cell.effect in (Effect.NOTED, Effect.EARLY) and entry.before == entry.after


def _answers(evidence: Evidence, records: _Records) -> Iterator[Violation]:
    """P10: an answer that was given stands for an order that is there."""
    for answer in evidence.order.all_answers():
        for order_id in _ids_in(answer.body):
            if order_id not in records.orders:
                yield Violation("P10", order_id, f"was answered under the key {answer.key!r} and isn't there")


def _ids_in(body: str) -> Iterable[OrderId]:
    _, found, rest = body.partition('"orderId": "')
    return [OrderId(rest.partition('"')[0])] if found else []


_AT_REST: Mapping[OrderState, tuple[ReservationState, ...]] = {
    OrderState.LEGACY: (ReservationState.ABSENT,),
    OrderState.CONFIRMED: (ReservationState.COMMITTED,),
    OrderState.CANCELLED: (ReservationState.RELEASED, ReservationState.REJECTED),
    OrderState.REJECTED: (ReservationState.REJECTED,),
}


def _liveness(records: _Records, late: datetime, *, quiet: bool) -> Iterator[Violation]:
    """P6, and the end of P2: every order settles in its time, and its stock with it; a LEGACY one holds none."""
    for order_id, order in records.orders.items():
        if not order.state.resting:
            if quiet or (order.created_at is not None and order.created_at < late):
                yield Violation("P6", order_id, f"is still {order.state.value}")
            continue
        reservation = records.reservations.get(order_id)
        found = reservation.state if reservation else ReservationState.ABSENT
        if quiet and found not in _AT_REST[order.state]:
            yield Violation("P2", order_id, f"is {order.state.value}, its reservation is {found.value}")


def _money(records: _Records, book: Iterable[BookEntry], *, quiet: bool) -> Iterator[Violation]:
    """P4, by the gateway's own book."""
    captures: Counter[str] = Counter()
    net: Counter[str] = Counter()
    for entry in book:
        if entry.kind is BookKind.CAPTURE:
            captures[entry.key] += 1
            net[entry.key] += entry.amount
        elif entry.kind is BookKind.REFUND:
            net[entry.key] -= entry.amount
    for key, count in captures.items():
        if count > 1:
            yield Violation("P4", key, f"was captured {count} times")
    known = set()
    for order_id, order in records.orders.items():
        key = Payment(order_id=order_id).key
        known.add(key)
        owed = order.agreed.total.minor if order.state is OrderState.CONFIRMED else 0
        if (order.state.settled or (quiet and order.state.resting)) and net[key] != owed:
            found = f"is {order.state.value}, the gateway's balance is {net[key]} minor units instead of {owed}"
            yield Violation("P4", order_id, found)
    if quiet:
        for key in sorted(set(captures) - known):
            yield Violation("P4", key, "was captured for an order that isn't there")


@attrs.frozen
class _Log:
    by_id: Mapping[MessageId, frozenset[bytes | None]]
    topics: Mapping[OrderId, frozenset[str]]
    ids_by_topic: Mapping[str, frozenset[MessageId]]
    ends: Mapping[TopicPartition, int]
    copies: frozenset[bytes]
    count: int

    @classmethod
    def read(cls, records: Iterable[Record], codec: Codec, legacy: frozenset[OrderId]) -> _Log:
        """What the system replaced said of its orders was handled there: nobody here owes them an effect."""
        by_id: defaultdict[MessageId, set[bytes | None]] = defaultdict(set)
        topics: defaultdict[OrderId, set[str]] = defaultdict(set)
        ids: defaultdict[str, set[MessageId]] = defaultdict(set)
        ends: dict[TopicPartition, int] = {}
        copies: set[bytes] = set()
        count = 0
        for record in records:
            if is_copies_topic(record.topic):
                copies.add(original_of(record.headers))
                continue
            count += 1
            ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
            message = _read(record, codec)
            if message is None:
                ids[record.topic].add(codec.name(record))
            elif message.event is not None:
                if not _is_known(by_id[message.id], message, codec):
                    by_id[message.id].add(record.value)
                topics[message.event.order_id].add(record.topic)
                if message.event.order_id not in legacy:
                    ids[record.topic].add(message.id)
        return cls(
            {name: frozenset(values) for name, values in by_id.items()},
            {order: frozenset(found) for order, found in topics.items()},
            {topic: frozenset(found) for topic, found in ids.items()},
            ends,
            frozenset(copies),
            count,
        )

    def read_up_to(self, passed: _Passed) -> bool:
        """Whether each of these groups has read all that is there for it."""
        return all(
            passed[one.group].get(place, 0) >= end
            for one in ROUTING.values()
            if one.group in passed
            for place, end in self.ends.items()
            if place.topic in one.topics
        )


def _read(record: Record, codec: Codec) -> Message | None:
    try:
        return codec.decode(record)
    except Undecodable:
        return None


def _is_known(values: set[bytes | None], message: Message, codec: Codec) -> bool:
    """Whether one of these values says the same: a resumed order is told of in other bytes than it once was."""
    return message.record.value in values or any(
        codec.decode(attrs.evolve(message.record, value=value)).event == message.event for value in values
    )


def _copies(log: _Log) -> Iterator[Violation]:
    """P8, as far as a record shows it: each (order, topic) has one message, however many copies."""
    for name, values in log.by_id.items():
        if len(values) > 1:
            yield Violation("P8", name, f"{len(values)} different messages have this id")


_PAYMENT_SAYS: Mapping[PaymentState, str] = {
    PaymentState.CAPTURED: "payment.success",
    PaymentState.DECLINED: "payment.failed",
    PaymentState.VOIDED: "payment.voided",
    PaymentState.REFUNDED: "payment.refunded",
}
_RESERVATION_SAYS: Mapping[ReservationState, str] = {
    ReservationState.HELD: "inventory.reserved",
    ReservationState.COMMITTED: "inventory.reserved",
    ReservationState.REJECTED: "inventory.rejected",
    ReservationState.RELEASED: "inventory.released",
}
_ORDER_SAYS: Mapping[OrderState, str] = {
    OrderState.CONFIRMED: "order.confirmed",
    OrderState.CANCELLED: "order.cancelled",
    OrderState.REJECTED: "order.rejected",
}


def _published(records: _Records, log: _Log) -> Iterator[Violation]:
    """P7: what was decided was said."""
    owed: list[tuple[OrderId, str | None]] = []
    owed += [(order_id, _ORDER_SAYS.get(order.state)) for order_id, order in records.orders.items()]
    owed += [(order_id, _RESERVATION_SAYS.get(row.state)) for order_id, row in records.reservations.items()]
    owed += [(order_id, _PAYMENT_SAYS.get(row.state)) for order_id, row in records.payments.items()]
    for order_id, topic in owed:
        if topic is not None and topic not in log.topics.get(order_id, frozenset()):
            yield Violation("P7", order_id, f"{topic} was decided and never published")


def _copied(records: _Records, log: _Log) -> Iterator[Violation]:
    """P7: each dead letter has its copy, unless the broker refused that and it is a dead letter itself."""
    for service, letters in records.letters.items():
        topic = copies_topic(service)
        refused = {original_of(letter.headers) for letter in letters if is_copies_topic(letter.topic)}
        for letter in letters:
            if not is_copies_topic(letter.topic) and letter.id.encode() not in log.copies | refused:
                yield Violation("P7", letter.id, f"this dead letter's copy was never published in {topic}")


def _handled(records: _Records, log: _Log) -> Iterator[Violation]:
    """P9: every message has been handled or parked by each group that listens to its topic."""
    for consumes in ROUTING.values():
        done = records.inbox.get(consumes.group, frozenset())
        for topic in sorted(consumes.topics):
            for name in sorted(log.ids_by_topic.get(topic, frozenset()) - done):
                yield Violation("P9", name, f"{consumes.group} has neither handled nor parked this message of {topic}")
