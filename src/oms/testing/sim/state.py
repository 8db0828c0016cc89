"""Two worlds are equal where everything that can follow is: what search prunes by.

Names that only count (of rows, leases, workers) are left out, and times are taken relative to now: exact below five
seconds, else to five seconds, because what backs off for a moment before an order's deadline of a quarter of an hour
makes no other world of it. That is the one thing in which equal worlds may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from oms.application.promises import Violation
from oms.domain.tasks import TaskKind
from oms.ports.store import DeadLetterState
from oms.testing.sim.world import Worker, World

DEADLINE = TaskKind.DEADLINE


def state_of(world: World, used: dict[str, int]) -> int:
    """A number for the world between two steps; equal worlds have equal ones."""
    now = world.clock.now()
    records = world.records
    parts = [
        frozenset((row.id, row.state._value_, row.early) for row in records["order"].orders.rows.values()),
        frozenset((row.order_id, row.state._value_) for row in records["inventory"].reservations.rows.values()),
        frozenset((row.sku, row.on_hand, row.held) for row in records["inventory"].stock.rows.values()),
        frozenset((row.order_id, row.state._value_) for row in records["payment"].payments.rows.values()),
        frozenset((name, row.delivered_at is None) for name, row in records["notification"].news.rows.items()),
        frozenset(used.items()),
        tuple(_record(record, now) for record in records.values()),
        _log(world),
        _gate(world),
        _book(world, now),
        tuple(_worker(worker, now) for worker in world.workers),
        tuple((one.asked, len(one.answers), one.future is None) for one in world.customers.all),
        tuple(frozenset(records[name].documents.rows.items()) for name in world.own),
    ]
    return hash(tuple(parts))


def _left(due: datetime | None, now: datetime) -> float:
    """Seconds until then, 0 for what is due; coarse above five."""
    if due is None:
        return -1.0
    left = (due - now).total_seconds()
    if left <= 0:
        return 0.0
    return left if left < 5 else float(round(left / 5) * 5)


def _record(record: Any, now: datetime) -> tuple[Any, ...]:
    return (
        frozenset(record.inbox.rows),
        tuple(
            sorted(
                (row.message.topic, row.message.key, _left(row.leased_until, now))
                for row in record.outbox.rows.values()
            )
        ),
        frozenset(
            (
                key.kind._value_,
                key.key,
                _left(row.due_at, now),
                min(row.attempts, 3),
                row.called_at is None,
                row.lease is None,
            )
            for key, row in record.tasks.rows.items()
        ),
        tuple(sorted((row.topic, row.state._value_) for row in record.dead_letters.rows.values())),
        frozenset((str(key), row) for key, row in record.attempts.rows.items()),
        frozenset(record.answers.rows),
    )


def _log(world: World) -> tuple[Any, ...]:
    topics = world.log._topics
    records = tuple(
        (name, tuple(tuple(one.key for one in records) for records in partitions))
        for name, partitions in sorted(topics.records.items())
    )
    groups = tuple(
        (
            name,
            frozenset((place.topic, place.partition, offset) for place, offset in group.offsets.items()),
            tuple(
                (
                    member.owner.partition(".")[0],
                    frozenset((place.topic, place.partition, at) for place, at in member.positions.items()),
                    len(member.taken_away),
                )
                for member in group.members
            ),
        )
        for name, group in sorted(topics.groups.items())
    )
    return records, groups


def _gate(world: World) -> tuple[Any, ...]:
    gate: Any = world.gate.state
    before: Any = world.gate_before
    ledger = world.records["inventory"].gate.rows["gate"]
    return (
        None if gate["epoch"] is None else gate["epoch"] == ledger,
        tuple(sorted(gate["available"].items())),
        tuple(sorted((order, kept["answer"]) for order, kept in gate["answers"].items())),
        len(gate["deltas"]),
        before is None,
    )


def _book(world: World, now: datetime) -> tuple[Any, ...]:
    book: Any = world.gateway.book
    pages = frozenset(
        (key, page.outcome._value_, page.refunded, page.visible_at > now) for key, page in book._pages.items()
    )
    return pages, len(book._entries)


def _worker(worker: Worker, now: datetime) -> tuple[Any, ...]:
    parts: Any = worker.parts
    consumer, relay = parts.consumer, parts.relay
    held = consumer._held
    return (
        tuple(row.message.topic for row in relay._queue),
        len(relay._sent),
        _left(relay._retry_at, now),
        () if held is None else _held(held, now),
        tuple(_held(one, now) for one in consumer._deferred),
        tuple((one.token.kind._value_, one.token.key, type(one.answer).__name__) for one in parts.tasks._unfinished),
        len(parts.calls._ended),
        len(parts.commands._waiting),
        _left(parts.commands._retry_at, now),
        tuple(_left(due, now) for due in parts.worker._due),
    )


def _held(held: Any, now: datetime) -> tuple[Any, ...]:
    return (
        _left(held.due_at, now),
        held.failures,
        tuple((one.message.record.topic, one.message.record.offset, one.attempts) for one in held.batch),
    )


def records_of(world: World) -> list[Any]:
    """The orders that exist."""
    return [row for row in world.records["order"].orders.rows.values() if row.terms is not None]


def unexpected(world: World) -> Iterator[Violation]:
    """What the promises can't know: no message of ours may be parked, and every customer has one answer."""
    for name, record in world.records.items():
        for letter in record.dead_letters.rows.values():
            if letter.cause != "Undecodable" and letter.state is DeadLetterState.PARKED:
                detail = f"{name} parked {letter.topic}: {letter.cause} {letter.detail}"
                yield Violation("P9", letter.order_id or letter.message_id, detail)
    placed = len(records_of(world))
    if placed > len(world.customers.all):
        yield Violation(
            "P10", "orders", f"{len(world.customers.all)} customers asked under a key each, {placed} orders are there"
        )
    for one in world.customers.all:
        if not one.answers:
            yield Violation("P10", one.name, "never had an answer")
        for order_id in dict.fromkeys(one.answers):
            if order_id != one.answers[0] or order_id not in world.records["order"].orders.rows:
                yield Violation("P10", order_id, f"{one.name} was answered {one.answers}")
