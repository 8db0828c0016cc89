"""What a worker has to do, seen from outside of it: so that a schedule holds no step that does nothing.

Looking goes past the ports, since a look is no call that could fail or be overtaken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from oms.adapters.memory.inventory import GATE_ROW
from oms.application.stock_gate import GateKeeper
from oms.engine.command_groups import CommandGroup
from oms.engine.consumer import Consumer
from oms.engine.relay import Relay
from oms.engine.tasks import TaskRunner
from oms.testing.sim.world import Worker, World

NOTHING: tuple[str, ...] = ()
HERE = ("",)

Look = Callable[[datetime], tuple[str, ...]]
"""What a step could do now: for a consumer the topics it could begin with, else one nameless thing or none."""


def looks(world: World, worker: Worker) -> list[tuple[int, str, Look]]:
    """A look at each step of a worker that can have something to do: its index, its name, and how to look.

    Pulse, retention, and the gate's forgetting of what is settled change nothing that is promised.
    """
    found: list[tuple[int, str, Look]] = []
    for index, step in enumerate(worker.parts.worker.steps):
        look = _look(world, worker, step)
        if look is not None:
            found.append((index, type(step).__name__, look))
    return found


def _look(world: World, worker: Worker, step: Any) -> Look | None:
    match step:
        case Consumer():
            return _records(world, step)
        case TaskRunner() if worker.parts.service.executors:
            return _tasks(world, worker, step)
        case Relay():
            return _owed(world, worker, step)
        case CommandGroup() if worker.service == "order":
            return _commands(step)
        case GateKeeper():
            return _gate(world, step)
        case _:
            return None


def _records(world: World, consumer: Consumer[Any]) -> Look:
    subscription: Any = consumer._subscription
    member, group = subscription._member, subscription._group
    topics = world.log._topics.records

    def look(now: datetime) -> tuple[str, ...]:
        if member not in group.members:
            return HERE  # its next poll joins the group again
        held = consumer._held
        if held is not None:
            return HERE if held.due_at <= now else NOTHING
        if consumer._deferred and any(later.due_at <= now for later in consumer._deferred):
            return HERE
        found = []
        for place, position in member.positions.items():
            records = topics.get(place.topic)
            if records is not None and position < len(records[place.partition]):
                found.append(place.topic if place.partition == 0 else f"{place.topic}/{place.partition}")
        return tuple(found)

    return look


def begin_with(consumer: Consumer[Any], name: str) -> None:
    """Have a consumer's next poll begin with a topic (and partition)."""
    if not name:
        return
    topic, _, partition = name.partition("/")
    member: Any = consumer._subscription._member  # type: ignore[attr-defined]
    places = [place for place in member.positions if member.owns(place)]
    for index, place in enumerate(places):
        if place.topic == topic and place.partition == int(partition or 0):
            member.turn = index - 1


def _tasks(world: World, worker: Worker, runner: TaskRunner[Any]) -> Look:
    calls: Any = worker.parts.calls
    queues, kinds = world.records[worker.service]._tasks_due, tuple(worker.parts.service.executors)

    def look(now: datetime) -> tuple[str, ...]:
        if runner._unfinished or calls._ended:
            return HERE
        if not runner._is_woken and runner._look_at is not None and runner._look_at > now:
            return NOTHING
        for kind in kinds:
            queue = queues.get(kind)
            if queue is not None and (first := queue.first()) is not None and first[0] <= now:
                return HERE
        return NOTHING

    return look


def _owed(world: World, worker: Worker, relay: Relay) -> Look:
    record = world.records[worker.service]
    outbox = record._outbox_due

    def look(now: datetime) -> tuple[str, ...]:
        if relay._queue or relay._sent:
            return HERE
        retry_at = relay._blocked.next_due() if relay._blocked else None
        if retry_at is not None and retry_at <= now:
            return HERE
        if relay._sweep_at is not None and relay._sweep_at > now:
            return NOTHING
        if retry_at is not None:
            waiting = relay.waiting_topics()
            rows = record.outbox.rows.values()
            return HERE if any(_is_swept(row, waiting, now) for row in rows) else NOTHING
        first = outbox.first()
        return HERE if first is not None and first[0] <= now else NOTHING

    return look


def _is_swept(row: Any, waiting: Sequence[str], now: datetime) -> bool:
    return row.leased_until <= now and row.message.topic not in waiting


def _commands(group: CommandGroup[Any]) -> Look:
    def look(now: datetime) -> tuple[str, ...]:
        if not group._waiting:
            return NOTHING
        return HERE if group._retry_at is None or group._retry_at <= now else NOTHING

    return look


def _gate(world: World, keeper: GateKeeper) -> Look:
    ledger, memory = world.records["inventory"].gate.rows, world.gate.state

    def look(_now: datetime) -> tuple[str, ...]:
        epoch = ledger[GATE_ROW]
        if epoch == 0 or epoch != memory["epoch"]:
            return HERE
        return NOTHING if keeper._seen in (None, epoch) else HERE  # another worker rebuilt it

    return look


def next_due(world: World, now: datetime) -> datetime | None:
    """When something that waits falls due, later than now."""
    found: list[datetime] = []
    for record in world.records.values():
        queues = (*record._tasks_due.values(), record._outbox_due)
        found += [first[0] for queue in queues if (first := queue.first()) is not None]
    for worker in world.workers:
        parts = worker.parts
        consumer = parts.consumer
        found += [held.due_at for held in (consumer._held, *consumer._deferred) if held is not None]
        # A look is in the future only where the clock was set back.
        looks = (parts.relay._sweep_at, parts.tasks._look_at)
        waits = (parts.commands.next_due(), parts.relay.next_due(), worker.awake_at, *looks)
        found += [due for due in (*waits, *parts.worker._due) if due is not None]
    return min((due for due in found if due > now), default=None)
