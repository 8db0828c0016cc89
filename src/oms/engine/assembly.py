"""Assembles the engine of one service from ports: relay, consumer, tasks, commands, and the workers that run them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Generic

import attrs

from oms.engine.command_groups import CommandGroup
from oms.engine.consumer import Consumer
from oms.engine.dependencies import ServiceDependencies
from oms.engine.health import ServiceHealth
from oms.engine.outbox import OutboxWriter
from oms.engine.redrive import DeadLetterActions
from oms.engine.relay import PublishBatcher, Relay
from oms.engine.service import Runnable, Service, W
from oms.engine.tasks import TaskRunner
from oms.engine.unit_of_work import UnitOfWorkFactory
from oms.engine.worker import Pulse, Worker, store_retention
from oms.ports.broker import NO_STARTS, Subscription, TopicPartition
from oms.ports.call_executor import CallExecutor
from oms.ports.messages import copies_topic
from oms.ports.stores.rows import Task

COMMANDS, TASKS, CONSUMER, RELAY, UPKEEP = "commands", "tasks", "consumer", "relay", "upkeep"
PUBLISH_BATCHER = "publish_batcher"
STALL_MARGIN_S = 3.0
"""The outbox counts as stalled once its oldest row has waited for a lease of a dead process, and for this long."""

LANES = (COMMANDS, TASKS, CONSUMER, PUBLISH_BATCHER, RELAY, UPKEEP)


def lane_name(service: str, lane: str) -> str:
    """Return the name of a lane among those of all services."""
    return f"{service}.{lane}"


@attrs.frozen
class Lane:
    """Steps of a service that run on a thread of their own, if the profile runs several threads.

    `wait` waits for records for at most the given number of seconds, and returns whether the log supports waiting. A
    lane without `wait` waits for a wake-up.
    """

    name: str
    worker: Worker
    wait: Callable[[float], bool] | None = None


@attrs.frozen
class ServiceAssembly(Generic[W]):
    """The engine of one service. Either `worker` runs all its steps, or each of `lanes` runs some of them."""

    service: Service[W]
    units: UnitOfWorkFactory[W]
    relay: Relay
    consumer: Consumer[W]
    tasks: TaskRunner[W]
    commands: CommandGroup[W]
    calls: CallExecutor[Task]
    dead_letter_actions: DeadLetterActions[W]
    pulse: Pulse
    worker: Worker
    lanes: Sequence[Lane]
    health: ServiceHealth
    subscription: Subscription
    """The consumer's membership in the service's consumer group."""

    publish_batcher: PublishBatcher | None = None

    def advance_commands(self) -> int:
        """Run the steps that commands need, where no thread runs the worker; returns how much they did."""
        return sum(step.run_once() for step in self.service.steps) + self.commands.run_once()

    def next_due(self) -> datetime | None:
        """Return when something of this service falls due; None if nothing waits for time to pass."""
        waits = (
            self.store_due(),
            self.consumer.next_due(),
            self.commands.next_due(),
            self.relay.next_due(),
            self.worker.next_due(),
        )
        return min((due for due in waits if due is not None), default=None)

    def store_due(self) -> datetime | None:
        """Return when a task or outbox lease in the store falls due, except leases of topics that back off."""
        return self.service.store.next_due(self.relay.waiting_topics())

    def stop(self) -> None:
        """Give back what this process holds: partitions, then the leases of tasks and outbox rows.

        All are tried, even if some raise; the last error is raised, with the one before it as its context.
        """
        with ExitStack() as ending:  # from last to first
            ending.callback(self.relay.give_back)
            if self.publish_batcher is not None:
                ending.callback(self.publish_batcher.run_once)
            ending.callback(self.tasks.give_back)
            ending.callback(self.consumer.stop)

    def close(self) -> None:
        """Close the call executor and the store."""
        self.calls.close()
        self.service.store.close()


def assemble(
    service: Service[W],
    shared: ServiceDependencies,
    calls: CallExecutor[Task],
    *,
    lock: Callable[[W, Collection[str]], None] = lambda _work, _names: None,
    extra: Sequence[Runnable] = (),
    woken: Callable[[str], None] = lambda _lane: None,
    grouped: bool = False,
    starts: Mapping[TopicPartition, int] = NO_STARTS,
) -> ServiceAssembly[W]:
    """Assemble the engine of a service. `lock` locks the rows that a group of commands names; `extra` steps run last.

    `grouped` sends the events of commands in groups, by a lane of its own that may pause.
    `starts` are the offsets at which its consumer group begins, as `service.starts` has decided.
    `woken` gets the name of the lane that has something to do, on the thread that caused it.
    """
    health = shared.health.of(service.name)
    for name in service.counters:
        shared.telemetry.count(name, 0)
    outbox = OutboxWriter(shared, copies_topic(service.name))
    relay = Relay(service.store, service.group, outbox, shared, health, partial(woken, RELAY))
    tasks: list[TaskRunner[W]] = []
    units = UnitOfWorkFactory(service, outbox, relay, shared.telemetry, lambda: tasks[0].wake())
    tasks.append(TaskRunner(units, calls, shared, health, partial(woken, TASKS)))
    subscription = _subscribe(service, shared, starts)
    consumer = Consumer(units, subscription, shared, health)
    batcher = PublishBatcher(relay, partial(woken, PUBLISH_BATCHER)) if grouped else None
    commands = CommandGroup(_offering_to(batcher, units), lock, shared, health, partial(woken, COMMANDS))
    pulse = Pulse(service.store, shared.clock, health, shared.outbox_lease_s + STALL_MARGIN_S)
    upkeep = (pulse, store_retention(service.store, shared.clock, shared.retention_days), *extra)
    batching = () if batcher is None else (batcher,)
    steps = (*service.steps, commands, tasks[0], consumer, *batching, relay, *upkeep)
    lane = partial(_lane, service.name, shared, health)
    return ServiceAssembly(
        service,
        units,
        relay,
        consumer,
        tasks[0],
        commands,
        calls,
        DeadLetterActions(service, shared.codec, shared.telemetry),
        pulse,
        Worker(service.name, steps, shared.clock, shared.telemetry, health),
        (
            lane(COMMANDS, commands),
            lane(TASKS, tasks[0]),
            lane(CONSUMER, *service.steps, consumer, wait=consumer.wait),
            *(lane(PUBLISH_BATCHER, step) for step in batching),
            lane(RELAY, relay),
            lane(UPKEEP, *upkeep),
        ),
        health,
        subscription,
        batcher,
    )


def _subscribe(service: Service[W], shared: ServiceDependencies, starts: Mapping[TopicPartition, int]) -> Subscription:
    # A shop's own broker may have a `subscribe` without `starts`; it serves all groups without start offsets.
    return shared.broker.subscribe(service.group, service.topics, *((starts,) if starts else ()))


def _offering_to(batcher: PublishBatcher | None, units: UnitOfWorkFactory[W]) -> UnitOfWorkFactory[W]:
    return units if batcher is None else attrs.evolve(units, offer=batcher.offer)


def _lane(
    service: str,
    shared: ServiceDependencies,
    health: ServiceHealth,
    name: str,
    *steps: Runnable,
    wait: Callable[[float], bool] | None = None,
) -> Lane:
    return Lane(name, Worker(lane_name(service, name), steps, shared.clock, shared.telemetry, health), wait)
