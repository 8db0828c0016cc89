"""The moving parts of one service, put together from ports; which adapters they are is `bootstrap`'s business."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Generic

import attrs

from oms.engine.command_groups import CommandGroup
from oms.engine.consumer import Consumer
from oms.engine.dead_letters import DeadLetterDesk
from oms.engine.health import HealthRecord, ServiceHealth
from oms.engine.outbox import Relay
from oms.engine.publish_batcher import PublishBatcher
from oms.engine.service import Runnable, Service, W
from oms.engine.tasks import LOOK_EVERY_S, TaskRunner
from oms.engine.unit_of_work import UnitOfWorkFactory
from oms.engine.worker import Pulse, Worker, store_retention
from oms.ports.broker import NO_STARTS, Broker, TopicPartition
from oms.ports.call_executor import CallExecutor
from oms.ports.clock import Clock, Ids
from oms.ports.messages import Codec, copies_topic
from oms.ports.stores.rows import Task
from oms.ports.telemetry import Telemetry

COMMANDS, TASKS, CONSUMER, RELAY, UPKEEP = "commands", "tasks", "consumer", "relay", "upkeep"
DEPARTURES = "departures"
STALL_MARGIN_S = 3.0
"""A row may wait for the lease of a process that died, and so much longer, until the outbox counts as stalled."""

LANES = (COMMANDS, TASKS, CONSUMER, DEPARTURES, RELAY, UPKEEP)


@attrs.frozen
class ServiceDependencies:
    """The ports that all services of a system share, and how they are to be driven."""

    broker: Broker
    codec: Codec
    clock: Clock
    ids: Ids
    telemetry: Telemetry
    batch: int = 500
    outbox_lease_s: float = 10.0
    task_lease_s: float = 30.0
    look_every_s: float = LOOK_EVERY_S
    """How often to look for tasks and outbox rows that nobody announced; 0 looks every time."""

    forget_after_s: float = 0.0
    """How long rows of what was sent may stay, so that they go together; where nobody waits for a quiet record."""

    retention_days: float = 30.0
    health: HealthRecord = attrs.field(
        default=attrs.Factory(lambda self: HealthRecord(self.clock, self.telemetry), takes_self=True)
    )
    """What all of them report to."""

    published: Callable[[], None] = lambda: None
    """Called when messages are in the log, so that their consumers needn't look for them."""


def lane_name(service: str, lane: str) -> str:
    """The name of a lane among those of all services."""
    return f"{service}.{lane}"


@attrs.frozen
class Lane:
    """Some of a service's steps, on a thread of their own where several may run at once.

    `wait` waits for news, at most so many seconds, and says whether it could; without one the lane waits to be woken.
    """

    name: str
    worker: Worker
    wait: Callable[[float], bool] | None = None


@attrs.frozen
class ServiceAssembly(Generic[W]):
    """One service's moving parts. `worker` drives them all, or `lanes` do; the others are here to be asked."""

    service: Service[W]
    units: UnitOfWorkFactory[W]
    relay: Relay
    consumer: Consumer[W]
    tasks: TaskRunner[W]
    commands: CommandGroup[W]
    calls: CallExecutor[Task]
    desk: DeadLetterDesk[W]
    pulse: Pulse
    worker: Worker
    lanes: Sequence[Lane]
    health: ServiceHealth
    departures: PublishBatcher | None = None

    def advance_commands(self) -> int:
        """Run what commands need and nothing else, where no thread drives the worker."""
        return sum(step.run_once() for step in self.service.steps) + self.commands.run_once()

    def next_due(self) -> datetime | None:
        """When something that waits here falls due; None where nothing waits for time to pass."""
        waits = (
            self.store_due(),
            self.consumer.next_due(),
            self.commands.next_due(),
            self.relay.next_due(),
            self.worker.next_due(),
        )
        return min((due for due in waits if due is not None), default=None)

    def store_due(self) -> datetime | None:
        """When a task or outbox lease in the store falls due, but for leases of topics that back off."""
        return self.service.store.next_due(self.relay.waiting_topics())

    def stop(self) -> None:
        """Give back what this process holds: partitions, then the leases of tasks and outbox rows.

        Each is tried whatever the others raise; the last error is raised, with the one before it as its context.
        """
        with ExitStack() as ending:  # from last to first
            ending.callback(self.relay.give_back)
            if self.departures is not None:
                ending.callback(self.departures.run_once)
            ending.callback(self.tasks.give_back)
            ending.callback(self.consumer.stop)

    def close(self) -> None:
        """Let go of calls and store."""
        self.calls.close()
        self.service.store.close()


def assemble(
    service: Service[W],
    world: ServiceDependencies,
    calls: CallExecutor[Task],
    *,
    lock: Callable[[W, Collection[str]], None] = lambda _work, _names: None,
    extra: Sequence[Runnable] = (),
    woken: Callable[[str], None] = lambda _lane: None,
    grouped: bool = False,
    starts: Mapping[TopicPartition, int] = NO_STARTS,
) -> ServiceAssembly[W]:
    """A service's parts over the world's ports. `lock` bulk-locks what commands name; `extra` steps run last.

    `grouped`: what commands decide leaves by a lane of its own, which may pause.
    `starts`: where its group begins, as `service.starts` has decided.
    `woken` is told the name of the lane that has got something to do, on the thread that gave it.
    """
    health = world.health.of(service.name)
    for name in service.counters:
        world.telemetry.count(name, 0)
    relay = Relay(
        service.store,
        world.broker,
        world.codec,
        world.clock,
        world.ids,
        world.telemetry,
        lease_s=world.outbox_lease_s,
        batch=world.batch,
        sweep_every_s=world.look_every_s,
        forget_after_s=world.forget_after_s,
        group=service.group,
        copies=copies_topic(service.name),
        published=world.published,
        woken=partial(woken, RELAY),
        health=health,
    )
    tasks: list[TaskRunner[W]] = []
    units = UnitOfWorkFactory(service, relay, world.telemetry, lambda: tasks[0].wake())
    tasks.append(
        TaskRunner(
            units,
            calls,
            world.clock,
            world.ids,
            lease_s=world.task_lease_s,
            batch=world.batch,
            look_every_s=world.look_every_s,
            woken=partial(woken, TASKS),
            health=health,
        )
    )
    # A shop's own broker that takes no `starts` serves all groups that have none.
    subscription = world.broker.subscribe(service.group, service.topics, *((starts,) if starts else ()))
    consumer = Consumer(
        units, subscription, world.codec, world.clock, world.ids, world.telemetry, batch=world.batch, health=health
    )
    departures = PublishBatcher(relay, partial(woken, DEPARTURES)) if grouped else None
    deciding = units if departures is None else attrs.evolve(units, offer=departures.offer)
    leaving = () if departures is None else (departures,)
    commands = CommandGroup(
        deciding, world.clock, lock, batch=world.batch, woken=partial(woken, COMMANDS), health=health
    )
    pulse = Pulse(service.store, world.clock, health, world.outbox_lease_s + STALL_MARGIN_S)
    retention = store_retention(service.store, world.clock, world.retention_days)
    steps = (*service.steps, commands, tasks[0], consumer, *leaving, relay, pulse, retention, *extra)
    worker = Worker(service.name, steps, world.clock, world.telemetry, health)

    def lane(name: str, *some: Runnable, wait: Callable[[float], bool] | None = None) -> Lane:
        return Lane(name, Worker(lane_name(service.name, name), some, world.clock, world.telemetry, health), wait)

    lanes = (
        lane(COMMANDS, commands),
        lane(TASKS, tasks[0]),
        lane(CONSUMER, *service.steps, consumer, wait=consumer.wait),
        *(lane(DEPARTURES, step) for step in leaving),
        lane(RELAY, relay),
        lane(UPKEEP, pulse, retention, *extra),
    )
    desk = DeadLetterDesk(service, world.codec, world.telemetry)
    return ServiceAssembly(
        service, units, relay, consumer, tasks[0], commands, calls, desk, pulse, worker, lanes, health, departures
    )
