"""Finds the steps of a worker that have work to do, so that a schedule contains no step without an effect.

It reads the memory adapters directly and not through the ports, whose calls could fail or be points of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from oms.adapters.memory.inventory import GATE_ROW
from oms.adapters.memory.log import MemorySubscription
from oms.application.stock_gate import GateKeeper
from oms.engine.command_groups import CommandGroup
from oms.engine.consumer import Consumer
from oms.engine.relay import Relay
from oms.engine.tasks import TaskRunner
from oms.ports.broker import TopicPartition
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.worker import Worker

NOTHING: tuple[str, ...] = ()
HERE = ("",)

Look = Callable[[datetime], tuple[str, ...]]
"""Returns the work that a step has now: the topics with which a consumer can begin; other steps: an empty name."""


def looks(system: SimulatedSystem, worker: Worker) -> list[tuple[int, str, Look]]:
    """Return each step of a worker that can have work: its index, its name, and a function that finds its work.

    Steps that no promise depends on are left out: pulse, retention, and the expiry of settled orders at the gate.
    """
    found: list[tuple[int, str, Look]] = []
    for index, step in enumerate(worker.assembly.worker.steps):
        look = _look(system, worker, step)
        if look is not None:
            found.append((index, type(step).__name__, look))
    return found


def _look(system: SimulatedSystem, worker: Worker, step: Any) -> Look | None:
    match step:
        case Consumer():
            return _records(worker.subscription, step)
        case TaskRunner() if worker.assembly.service.executors:
            return _tasks(system, worker, step)
        case Relay():
            return _owed(system, worker, step)
        case CommandGroup() if worker.service == "order":
            return _commands(step)
        case GateKeeper():
            return _gate(system, step)
        case _:
            return None


def _records(subscription: MemorySubscription, consumer: Consumer[Any]) -> Look:
    def look(now: datetime) -> tuple[str, ...]:
        if not subscription.is_joined():
            return HERE  # its next poll joins the group again
        if consumer.holds_messages():
            held, deferred = consumer.inspect()
            if held is not None:
                return HERE if held.due_at <= now else NOTHING
            if any(later.due_at <= now for later in deferred):
                return HERE
        unread = subscription.unread()
        if not unread:
            return NOTHING
        return tuple([at.topic if at.partition == 0 else f"{at.topic}/{at.partition}" for at in unread])

    return look


def begin_with(subscription: MemorySubscription, name: str) -> None:
    """Make a consumer's next poll begin with a topic (and partition), by the name that its `Look` returned."""
    if name:
        topic, _, partition = name.partition("/")
        subscription.poll_first(TopicPartition(topic, int(partition or 0)))


def _tasks(system: SimulatedSystem, worker: Worker, runner: TaskRunner[Any]) -> Look:
    calls, record = worker.calls, system.records[worker.service]
    kinds = tuple(worker.assembly.service.executors)

    def look(now: datetime) -> tuple[str, ...]:
        if runner.unfinished() or calls.uncollected():
            return HERE
        return HERE if runner.claims_at(now) and record.has_due_task(kinds, now) else NOTHING

    return look


def _owed(system: SimulatedSystem, worker: Worker, relay: Relay) -> Look:
    record = system.records[worker.service]

    def look(now: datetime) -> tuple[str, ...]:
        if relay.holds_rows():
            return HERE
        sweep_at, retry_at = relay.due_times()
        if retry_at is not None and retry_at <= now:
            return HERE
        if sweep_at is not None and sweep_at > now:
            return NOTHING
        if retry_at is not None:
            waiting = relay.waiting_topics()
            rows = record.outbox.rows.values()
            return HERE if any(_is_swept(row, waiting, now) for row in rows) else NOTHING
        lapse = record.first_lapse()
        return HERE if lapse is not None and lapse <= now else NOTHING

    return look


def _is_swept(row: Any, waiting: Sequence[str], now: datetime) -> bool:
    return row.leased_until <= now and row.message.topic not in waiting


def _commands(group: CommandGroup[Any]) -> Look:
    def look(now: datetime) -> tuple[str, ...]:
        if not group.waiting():
            return NOTHING
        retry_at = group.next_due()
        return HERE if retry_at is None or retry_at <= now else NOTHING

    return look


def _gate(system: SimulatedSystem, keeper: GateKeeper) -> Look:
    ledger, memory = system.records["inventory"].gate.rows, system.gate.state

    def look(_now: datetime) -> tuple[str, ...]:
        epoch = ledger[GATE_ROW]
        if epoch == 0 or epoch != memory["epoch"]:
            return HERE
        return HERE if keeper.is_outdated(epoch) else NOTHING  # another worker has rebuilt it

    return look


def next_due(system: SimulatedSystem, now: datetime) -> datetime | None:
    """Return the next time after now at which waiting work falls due."""
    found: list[datetime] = []
    for record in system.records.values():
        found += record.first_dues()
    for worker in system.workers:
        assembly = worker.assembly
        if assembly.consumer.holds_messages():
            held, deferred = assembly.consumer.inspect()
            found += [one.due_at for one in (held, *deferred) if one is not None]
        # The next look is in the future only if the clock was set back.
        looks = (assembly.relay.due_times()[0], assembly.tasks.next_look())
        waits = (assembly.commands.next_due(), assembly.relay.next_due(), worker.awake_at, *looks)
        found += [due for due in (*waits, *assembly.worker.retry_times()) if due is not None]
    return min((due for due in found if due > now), default=None)
