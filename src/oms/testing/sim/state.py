"""Compares systems for the search's pruning: two systems are equal if the same steps can follow, with the same effects.

Names that are only counters (of rows, leases, workers) are left out, and times are relative to now: exact below five
seconds, otherwise rounded to five seconds, because a short back-off hardly matters while the order's deadline is 15
minutes away. Equal systems may differ only by this rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from oms.adapters.memory.service_tables import ServiceTables, TaskRow
from oms.domain.fulfilment import NOTHING_YET
from oms.domain.order import Order
from oms.domain.tasks import TaskKey
from oms.engine.deliveries import WaitingBatch
from oms.operations.promises import Violation
from oms.ports.stores.rows import DeadLetterState
from oms.testing.sim.faults import is_forged
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.worker import Worker


def state_of(system: SimulatedSystem, used: dict[str, int]) -> int:
    """Return a number for the state of a system between two steps; equal systems have equal numbers."""
    now = system.clock.now()
    records = system.records
    parts = [
        frozenset(
            (row.id, row.state._value_, row.early, *_parts(row)) for row in records["order"].orders.rows.values()
        ),
        frozenset(
            (row.order_id, row.state._value_, tuple([one.refund_id for one in row.restocks]))
            for row in records["inventory"].reservations.rows.values()
        ),
        frozenset((row.sku, row.on_hand, row.held) for row in records["inventory"].stock.rows.values()),
        frozenset(
            (row.order_id, row.state._value_, tuple([(one.id, one.state._value_, one.attempt) for one in row.refunds]))
            for row in records["payment"].payments.rows.values()
        ),
        frozenset((name, row.delivered_at is None) for name, row in records["notification"].notifications.rows.items()),
        frozenset(used.items()),
        tuple(_record(record, now) for record in records.values()),
        _log(system),
        _gate(system),
        _book(system, now),
        tuple(_worker(worker, now) for worker in system.workers),
        tuple((one.requests, len(one.answers), one.future is None) for one in system.customers.all),
        system.operators.state(),
        tuple(frozenset(records.of_step(name).documents.rows.items()) for name in system.own),
    ]
    return hash(tuple(parts))


def _parts(order: Order) -> tuple[Any, ...]:
    """Return the shipments, refunds and refusals of an order, without times; empty for an order that has none."""
    done = order.fulfilment
    if done is NOTHING_YET:
        return ()
    return (
        tuple([(one.id, *one.items.items()) for one in done.shipments]),
        tuple([(one.id, one.kind._value_, one.state._value_, one.amount.minor, one.outside) for one in done.refunds]),
        done.refusals,
    )


def _left(due: datetime | None, now: datetime) -> float:
    """Return the seconds until `due`, 0 if it has passed; rounded to five seconds above five."""
    if due is None:
        return -1.0
    left = (due - now).total_seconds()
    if left <= 0:
        return 0.0
    return left if left < 5 else float(round(left / 5) * 5)


def _record(record: ServiceTables, now: datetime) -> tuple[Any, ...]:
    outbox, tasks, letters = record.outbox.rows, record.tasks.rows, record.dead_letters.rows
    return (
        frozenset(record.inbox.rows),
        _sorted(
            (row.message.topic, row.message.key, left := _left(row.leased_until, now), _holder(row.owner, left))
            for row in outbox.values()
        )
        if outbox
        else (),
        frozenset([_task(key, row, now) for key, row in tasks.items()]),
        _sorted((row.topic, row.state._value_) for row in letters.values()) if letters else (),
        frozenset(record.attempts.rows.items()),
        frozenset(record.responses.rows),
    )


def _sorted(items: Iterable[Any]) -> tuple[Any, ...]:
    """Return the items in an order that doesn't depend on their original order."""
    return tuple(sorted(items))


def _task(key: TaskKey, row: TaskRow, now: datetime) -> tuple[Any, ...]:
    never, left = row.called_at is None, _left(row.due_at, now)
    holder = _holder(row.owner, left) if row.lease is not None else None
    return key.kind._value_, key.key, left, min(row.attempts, 3), never, holder


def _holder(owner: str, left: float) -> str:
    """Return the slot of the worker that holds a lease; empty if the lease has expired."""
    return owner.partition(".")[0] if left > 0 else ""


def _log(system: SimulatedSystem) -> tuple[Any, ...]:
    groups = [
        (group.name, group.offsets, tuple([(one.owner.partition(".")[0], *one[1:]) for one in group.members]))
        for group in system.log.group_states()
    ]
    return frozenset([(name, *partitions) for name, partitions in system.log.record_keys()]), frozenset(groups)


def _gate(system: SimulatedSystem) -> tuple[Any, ...]:
    gate: Any = system.gate.state
    before: Any = system.gate_before
    ledger = system.records["inventory"].gate.rows["gate"]
    return (
        None if gate["epoch"] is None else gate["epoch"] == ledger,
        tuple(sorted(gate["available"].items())),
        tuple(sorted((order, kept["answer"]) for order, kept in gate["answers"].items())),
        len(gate["deltas"]),
        before is None,
    )


def _book(system: SimulatedSystem, now: datetime) -> tuple[Any, ...]:
    book = system.gateway.book
    pages = frozenset(
        (page.key, page.outcome._value_, page.refunded, page.visible_at > now) for page in book.all_pages()
    )
    refunds = frozenset((page.key, page.declined is None) for page in book.all_refund_pages())
    return pages, refunds, len(list(book.all_entries()))


def _worker(worker: Worker, now: datetime) -> tuple[Any, ...]:
    assembly = worker.assembly
    relay, consumer, unfinished = assembly.relay.inspect(), assembly.consumer.inspect(), assembly.tasks.unfinished()
    retries = assembly.worker.retry_times()
    return (
        relay.queued,
        relay.sent,
        tuple([(topic, _left(due, now), *more) for topic, due, *more in relay.blocked]),
        () if consumer.held is None else _held(consumer.held, now),
        tuple([_held(one, now) for one in consumer.deferred]),
        tuple([(one.token.kind._value_, one.token.key, type(one.answer).__name__) for one in unfinished]),
        worker.calls.uncollected(),
        assembly.commands.waiting(),
        _left(assembly.commands.next_due(), now),
        () if retries.count(None) == len(retries) else tuple([_left(one, now) for one in retries]),
    )


def _held(held: WaitingBatch, now: datetime) -> tuple[Any, ...]:
    return (
        _left(held.due_at, now),
        held.failures,
        tuple((one.message.record.topic, one.message.record.offset, one.attempts) for one in held.messages),
    )


def records_of(system: SimulatedSystem) -> list[Order]:
    """Return the orders that exist."""
    return [row for row in system.records["order"].orders.rows.values() if row.terms is not None]


def unexpected(system: SimulatedSystem) -> Iterator[Violation]:
    """Yield violations that the promises don't cover: parked messages of this system, customers without a response."""
    for name, record in system.records.items():
        for letter in record.dead_letters.rows.values():
            refused = letter.cause == "Undecodable" or (letter.cause == "TermsMismatch" and is_forged(letter.value))
            if not refused and letter.state is DeadLetterState.PARKED:
                detail = f"{name} parked {letter.topic}: {letter.cause} {letter.detail}"
                yield Violation("P9", letter.order_id or letter.message_id, detail)
        for owner in record.released_while_alive:
            yield Violation("P3", owner, "another process released its leases while it lived")
    placed = len(records_of(system))
    if placed > len(system.customers.all):
        yield Violation(
            "P10",
            "orders",
            f"{len(system.customers.all)} customers placed an order under a key each, {placed} orders are there",
        )
    for one in system.customers.all:
        if not one.answers:
            yield Violation("P10", one.name, "never had an answer")
        for order_id in dict.fromkeys(one.answers):
            if order_id != one.answers[0] or order_id not in system.records["order"].orders.rows:
                yield Violation("P10", order_id, f"{one.name} was answered {one.answers}")
