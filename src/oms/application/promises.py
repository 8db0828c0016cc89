"""The promises, checked against what is on record. Used by tests, chaos runs and `oms verify` alike.

Some hold at every instant; the rest only when nothing is under way any more, and are checked then. P8 (order of
delivery doesn't matter) and P11 (nobody reaches another's order) can't be read off a record as a whole: what of P8
can be seen is that all copies of a message are equal, and of P11 nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import attrs

from oms.application.copies import original_of
from oms.application.on_record import Log, Records, passed_by
from oms.application.reconciliation import (
    Difference,
    gate_differences,
    ledger_differences,
)
from oms.application.routing import ROUTING
from oms.domain.machine import Effect, HistoryEntry
from oms.domain.order import ORDER_TABLE, Order, OrderState, OrderTrigger
from oms.domain.payment import Payment, PaymentState
from oms.domain.reservation import ReservationState
from oms.domain.stock import MovementKind
from oms.domain.values import OrderId
from oms.ports.evidence import BookEntry, BookKind, Evidence
from oms.ports.messages import COPY_PREFIX, Codec, Outgoing, copies_topic, is_copies_topic


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
    evidence: Evidence,
    codec: Codec,
    *,
    now: datetime,
    deadline_s: float,
    settle_s: float,
    kept_s: float | None = None,
    quiet: bool | None = None,
) -> Report:
    """Check everything; `kept_s` is how long the log keeps its messages, None for ever.

    `quiet` None finds out by itself: no outbox row, no task, every order settled or LEGACY, and no message that a
    service hasn't read.
    """
    # Before everything else: what was read by then must be on record afterwards.
    passed = passed_by(evidence.log)
    records = Records.read(evidence)
    log = Log.read(evidence.log.all_records(), codec, records.orders) if evidence.log is not None else None
    if quiet is None:
        resting = all(order.state.resting for order in records.orders.values())
        quiet = records.nothing_waits() and resting and (log is None or log.read_up_to(passed))
    late = now - timedelta(seconds=deadline_s + settle_s)
    since = None if kept_s is None else now - timedelta(seconds=kept_s)
    old = records.before(since)
    found = [*_stock(records), *_effects(records), *_orders(evidence)]
    if evidence.gate is not None and quiet:
        # The rest of P2: at rest the gate sells what the ledger has.
        found += _p2(gate_differences(evidence.gate, records.stock, records.movements))
    found += _liveness(records, late, quiet=quiet)
    if evidence.book is not None:
        found += _money(records, evidence.book.all_entries(), quiet=quiet)
    if log is not None:
        found += [
            *_copies(log),
            *_unsent(records, late),
            *(_published(records, log, old) if quiet else ()),
            *(_copied(records, log, since) if quiet else ()),
            *(_handled(records, log, old) if quiet else ()),
        ]
    states = Counter(order.state.value for order in records.orders.values())
    counts, messages = dict(sorted(states.items())), log.count if log is not None else 0
    return Report(tuple(found), quiet, counts, records.parked, messages, _checked(evidence, quiet))


def at_every_instant(evidence: Evidence, services: Collection[str] = ("order", "inventory")) -> list[Violation]:
    """What must hold while work is under way: P1, P3 and the ledger's part of P2 of inventory, P5 and P4 of orders.

    `services` are those whose record may have changed since the last look; "payment" looks at the money alone.
    """
    found: list[Violation] = []
    if "inventory" in services:
        kept = Records.of_inventory(evidence)
        found += [*_stock(kept), *_effects(kept)]
    if "order" in services or "payment" in services:
        orders = Records.of_orders(evidence)
        found += _history(evidence, orders.orders) if "order" in services else ()
        found += _money(orders, evidence.book.all_entries(), quiet=False) if evidence.book is not None else ()
    return found


def _checked(evidence: Evidence, quiet: bool) -> tuple[str, ...]:  # noqa: FBT001
    always = ["P1", "P2", "P3", "P5", "P6", "P10"]
    with_book = ["P4"] if evidence.book is not None else []
    with_log = ["P8"] if evidence.log is not None else []
    at_rest = ["P7", "P9"] if evidence.log is not None and quiet else []
    return tuple(sorted([*always, *with_book, *with_log, *at_rest], key=lambda name: int(name[1:])))


def _stock(records: Records) -> Iterator[Violation]:
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


def _effects(records: Records) -> Iterator[Violation]:
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


def _orders(evidence: Evidence) -> list[Violation]:
    """P5 and P10, of orders that may be moving: they and what goes with them are read at one moment."""
    with evidence.order.at_one_moment():
        orders = Records.of_orders(evidence).orders
        return [*_history(evidence, orders), *_answers(evidence, orders)]


def _history(evidence: Evidence, orders: Mapping[OrderId, Order]) -> Iterator[Violation]:
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
    for order_id, order in orders.items():
        entry_or_none = last.get(order_id)
        if entry_or_none is None or (entry_or_none.seq, entry_or_none.after) != (order.version, order.state.value):
            yield Violation("P5", order_id, f"is {order.state.value} at {order.version}, its history says otherwise")


def _allowed(entry: HistoryEntry) -> bool:
    cell = ORDER_TABLE[OrderState(entry.before)][OrderTrigger(entry.trigger)]
    if cell.effect is Effect.MOVE and cell.to is not None:
        return cell.to.value == entry.after
    return cell.effect in (Effect.NOTED, Effect.EARLY) and entry.before == entry.after


def _answers(evidence: Evidence, orders: Collection[OrderId]) -> Iterator[Violation]:
    """P10: an answer that was given stands for an order that is there."""
    for answer in evidence.order.all_answers():
        for order_id in _ids_in(answer.body):
            if order_id not in orders:
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


def _liveness(records: Records, late: datetime, *, quiet: bool) -> Iterator[Violation]:
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


def _money(records: Records, book: Iterable[BookEntry], *, quiet: bool) -> Iterator[Violation]:
    """P4, by the gateway's own book."""
    captures: Counter[str] = Counter()
    net: Counter[str] = Counter()
    currencies: dict[str, str] = {}
    for entry in book:
        if entry.currency is not None:
            currencies[entry.key] = entry.currency
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
        agreed = order.agreed.total.currency.code
        if currencies.get(key, agreed) != agreed:
            yield Violation("P4", order_id, f"is in {agreed}, the gateway's book in {currencies[key]}")
    if quiet:
        for key in sorted(set(captures) - known):
            if net[key] != 0:
                yield Violation(
                    "P4", key, f"was captured for an order that isn't there; {net[key]} minor units are left"
                )


def _copies(log: Log) -> Iterator[Violation]:
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


def _published(records: Records, log: Log, old: Collection[OrderId]) -> Iterator[Violation]:
    """P7: what was decided was said; what was said of `old` orders may be gone from the log by now."""
    owed: list[tuple[OrderId, str | None]] = []
    owed += [(order_id, _ORDER_SAYS.get(order.state)) for order_id, order in records.orders.items()]
    owed += [(order_id, _RESERVATION_SAYS.get(row.state)) for order_id, row in records.reservations.items()]
    owed += [(order_id, _PAYMENT_SAYS.get(row.state)) for order_id, row in records.payments.items()]
    for order_id, topic in owed:
        if topic is not None and order_id not in old and topic not in log.topics.get(order_id, frozenset()):
            yield Violation("P7", order_id, f"{topic} was decided and never published")


def _unsent(records: Records, late: datetime) -> Iterator[Violation]:
    """P7, also while work is under way: no message waits to be sent for longer than an order may take."""
    for service, message in records.outbox:
        since = _written_at(message)
        if since is not None and since < late:
            order = (message.key or b"").decode(errors="replace")
            detail = f"its message for the topic {message.topic} has been in the outbox of {service} since {since}"
            yield Violation("P7", order, detail)


def _written_at(message: Outgoing) -> datetime | None:
    headers = dict(message.headers)
    text = headers.get("ce_time") or headers.get(f"{COPY_PREFIX}parked_at") or b""
    try:
        at = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _copied(records: Records, log: Log, since: datetime | None) -> Iterator[Violation]:
    """P7: each dead letter has its copy, unless the broker refused that and it is a dead letter itself.

    The copies of those parked before `since` may be gone from the log by now.
    """
    for service, letters in records.letters.items():
        topic = copies_topic(service)
        refused = {original_of(letter.headers) for letter in letters if is_copies_topic(letter.topic)}
        for letter in letters:
            if is_copies_topic(letter.topic) or (since is not None and letter.parked_at < since):
                continue
            if letter.id.encode() not in log.copies | refused:
                yield Violation("P7", letter.id, f"this dead letter's copy was never published in {topic}")


def _handled(records: Records, log: Log, old: Collection[OrderId]) -> Iterator[Violation]:
    """P9: every message has been handled or parked by each group that listens to its topic.

    That those of `old` orders were may be forgotten by now, where the log keeps them for longer.
    """
    for consumes in ROUTING.values():
        done = records.done.get(consumes.group, frozenset())
        for topic in sorted(consumes.topics):
            ids = log.ids_by_topic.get(topic, {})
            missed = [names for names, order_id in ids.items() if done.isdisjoint(names) and order_id not in old]
            for names in sorted(missed):
                yield Violation(
                    "P9", names[0], f"{consumes.group} has neither handled nor parked this message of {topic}"
                )
