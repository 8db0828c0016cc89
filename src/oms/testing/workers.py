"""The worker of each service of a shop in memory: it can be hurt at each port call, and another one takes its place.

Faults are the simulator's (`oms.testing.sim.faults`), at the same points; what follows is the recovery of the real
system: redelivery, inbox, leases that lapse, a rebuild of the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

import attrs

from oms.adapters.memory import (
    ManualClock,
    MemoryGate,
    MemoryInventoryStore,
    MemoryNotificationStore,
    MemoryOrderStore,
    MemoryPaymentStore,
    MemoryStepStore,
    WorkerKilled,
    gate_rules,
)
from oms.bootstrap.app import App
from oms.bootstrap.system import SERVICES
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import CommandGroup
from oms.engine.consumer import Consumer
from oms.engine.tasks import TaskRunner
from oms.ports.clock import Ids
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.testing.faults import Faults
from oms.testing.sim import faults as sim
from oms.testing.watched_log import WatchedLog

MESSAGES, TASKS, COMMANDS, RELAY = "messages", "tasks", "commands", "relay"
KINDS: Mapping[str, Any] = {
    "order": MemoryOrderStore,
    "inventory": MemoryInventoryStore,
    "payment": MemoryPaymentStore,
    "notification": MemoryNotificationStore,
}


@attrs.define(eq=False)
class Process:
    """One process of a service. `owner` is its name at the adapters."""

    service: str
    owner: str
    dead: bool = False


class Workers:
    """The processes of one shop, and what outlives them."""

    def __init__(self, clock: ManualClock, ids: Ids, faults: Faults, partitions: int) -> None:
        self._clock, self._ids = clock, ids
        self.faults = faults
        self.app: App
        self.pass_time: Callable[[timedelta], None]
        """How the shop's time goes on while a worker sleeps."""

        self.log = WatchedLog(partitions, clock, faults, self.point, self._owner_in)
        self.gate = MemoryGate(clock, owner="gate", point=self.point)
        self.gate_before: Any = None
        self._first: dict[str, Any] = {}
        self._records: dict[str, Any] = {}
        self._processes: dict[str, Process] = {}
        self._at_work: list[tuple[Process, str]] = []

    # -- what they are made of

    def stores(self) -> Mapping[str, Any]:
        """A store for each service and step: a connection of its present process."""
        return _Stores(self)

    def connection(self, store_name: str) -> Any:
        """The present process's connection to a store."""
        service = store_name.removeprefix("step-")
        return self._first_of(service).worker(self.process(service).owner, self.point, _wait_in_vain)

    def record(self, service: str) -> Any:
        """The memory of a service, which outlives its processes."""
        self._first_of(service)
        return self._records[service]

    def _first_of(self, service: str) -> Any:
        first = self._first.get(service)
        if first is None:
            kind = KINDS.get(service, MemoryStepStore)
            tables = self._records[service] = kind.new_tables(self._clock, self._ids)
            first = self._first[service] = kind(self._clock, self._ids, tables=tables)
        return first

    def process(self, service: str) -> Process:
        """The present process of a service."""
        found = self._processes.get(service)
        if found is None:
            found = self._processes[service] = Process(service, f"{service}.1")
        return found

    # -- what they do

    def run(self) -> int:
        """Work until nothing moves any more at this moment; how much moved."""
        moved = 0
        while True:
            step = sum(self._turn(name) for name in self.app.system.assemblies)
            if step == 0 and not self._say_again():
                return moved
            moved += step

    def command(self, part: ServiceAssembly[Any], future: Future[Any]) -> None:
        """Let a service work until it has answered a command. A dead one never does: `OutcomeUnknown`."""
        name = part.service.name
        process = self.process(name)
        while not future.done():
            moved = self._work(process, COMMANDS, part.advance_commands)
            if self.process(name) is not process:
                raise OutcomeUnknown(f"the {name} service died before it answered: ask again, under the same key")
            if moved == 0 and not future.done():
                due = part.commands.next_due()
                if due is None:
                    raise Retryable(f"the {name} service has nothing to do, and no answer")
                self._clock.set(max(due, self._clock.now()))

    def next_due(self) -> datetime | None:
        """When a message that is late may be read."""
        return self.log.next_due()

    # -- what is done to them

    def die(self, _place: str) -> None:
        """The process that is at work dies: its ports first, so that what is dropped with it reaches nothing."""
        process = self._at_work[-1][0]
        self._kill(process)
        raise WorkerKilled(process.owner)

    def fail(self, place: str) -> None:
        """The call fails, and nothing happened."""
        raise sim.failure(place, sim.FAILS)

    def lose_answer(self, place: str) -> None:
        """The call happened, and its answer is lost."""
        raise sim.failure(place, sim.LOST)

    def lose_partitions(self, _place: str) -> None:
        """The log gives the process's partitions away; it may join again."""
        self.log.evict(self._at_work[-1][0].owner)

    def oversleep(self, _place: str) -> None:
        """The process stands still, and another one gets its partitions and works on meanwhile; then it wakes.

        It goes on to the end of its round, and isn't started again.
        """
        process = self._at_work[-1][0]
        self.log.evict(process.owner)
        self._replace(process.service)
        self.pass_time(timedelta(seconds=sim.ASLEEP_S))

    def lose_gate_tail(self, _place: str) -> None:
        """The gate comes back without what it was told last, under no epoch."""
        sim.lose_tail(self)

    def flush_gate(self) -> None:
        """The gate forgets everything."""
        sim.flush(self)

    # -- inside

    def _owner_in(self, group: str) -> str:
        """Who reads for a group: the present process of its service."""
        name = group.removesuffix("-group")
        return self.process(name if name in SERVICES else group).owner

    def _turn(self, name: str) -> int:
        part = self.app.system.assemblies[name]
        process, worker, moved = self.process(name), part.worker, 0
        for index, step in enumerate(worker.steps):
            moved += self._work(process, _kind(step), worker.run_step, index)
            if process.dead:
                return moved + 1
        if self.process(name) is not process:  # it overslept: this was its last round
            self._kill(process)
            moved += 1
        return moved

    def _work(self, process: Process, kind: str, step: Callable[..., int], *index: int) -> int:
        """One step of a process; where it dies, another process takes its place."""
        self._at_work.append((process, kind))
        try:
            return step(*index)
        except WorkerKilled:
            if self.process(process.service) is process:  # who overslept is replaced already
                self._replace(process.service)
            return 1
        finally:
            self._at_work.pop()

    def _replace(self, service: str) -> None:
        number = int(self.process(service).owner.rpartition(".")[2]) + 1
        self._processes[service] = Process(service, f"{service}.{number}")
        self.app.replace_service(service)

    def _kill(self, process: Process) -> None:
        process.dead = True
        self._first[process.service].kill(process.owner)
        self.log.kill(process.owner)

    def point(self, place: str) -> None:
        """A call is about to be made, or was."""
        if not (self.faults.at_calls and self._at_work):
            return
        process, kind = self._at_work[-1]
        if place == "gate.take:before":
            self.gate_before = gate_rules.copied(self.gate.state)
        struck = next((one for one in self.faults.at_calls if one.strikes(process.service, kind, place)), None)
        if struck is not None:
            self.faults.strike(struck)
            struck.act(place)

    def _say_again(self) -> bool:
        """At rest: put the messages that are to be repeated into the log once more."""
        said = False
        for fault in list(self.faults.repeats):
            fitting = [record for record in self.log.all_records() if fault.fits(record)]
            if fitting:
                newest = max(fitting, key=lambda record: dict(record.headers).get("ce_time", b""))
                self.log.append(newest.topic, newest.value, newest.key, newest.headers)
                self.faults.strike(fault)
                said = True
        return said


class _Stores(Mapping[str, Any]):
    """By name: a mapping whose values are made when they are asked for."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def __getitem__(self, name: str) -> Any:
        return self._workers.connection(name)

    def __iter__(self) -> Iterator[str]:
        return iter(SERVICES)

    def __len__(self) -> int:
        return len(SERVICES)


def _wait_in_vain(what: str) -> None:
    """Who holds this row stands still below us and can't go on: we come again later, as after a lock's time-out."""
    raise Retryable(f"{what} is held by a process that stands still")


def _kind(step: object) -> str:
    match step:
        case Consumer():
            return MESSAGES
        case TaskRunner():
            return TASKS
        case CommandGroup():
            return COMMANDS
        case _:
            return RELAY
