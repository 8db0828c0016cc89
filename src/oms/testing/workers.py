"""The workers of a shop in memory: a fault can strike at each port call, and a new process replaces a dead worker.

The faults are those of the simulator (`oms.testing.sim.faults`), at the same points. The recovery is that of the real
system: redelivery, inbox, expired leases, a rebuild of the gate.
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
    """One process of a service. `owner` is its name in the adapters."""

    service: str
    owner: str
    dead: bool = False


class Workers:
    """The processes of one shop, and the stores, log and gate that outlive them."""

    def __init__(self, clock: ManualClock, ids: Ids, faults: Faults, partitions: int) -> None:
        self._clock, self._ids = clock, ids
        self.faults = faults
        self.app: App
        self.pass_time: Callable[[timedelta], None]
        """Moves the shop's time forward while a worker is paused."""

        self.log = WatchedLog(partitions, clock, faults, self.point, self._owner_in)
        self.gate = MemoryGate(clock, owner="gate", point=self.point)
        self.gate_before: Any = None
        self._first: dict[str, Any] = {}
        self._records: dict[str, Any] = {}
        self._processes: dict[str, Process] = {}
        self._at_work: list[tuple[Process, str]] = []

    # -- stores and processes

    def stores(self) -> Mapping[str, Any]:
        """Return the store of each service and step, as its current process is connected to it."""
        return _Stores(self)

    def connection(self, store_name: str) -> Any:
        """Return the current process's connection to a store."""
        service = store_name.removeprefix("step-")
        return self._first_of(service).worker(self.process(service).owner, self.point, _wait_in_vain)

    def record(self, service: str) -> Any:
        """Return the tables of a service, which outlive its processes."""
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
        """Return the current process of a service."""
        found = self._processes.get(service)
        if found is None:
            found = self._processes[service] = Process(service, f"{service}.1")
        return found

    # -- work

    def run(self) -> int:
        """Run all workers until none has work left at the present time; return how much work was done."""
        moved = 0
        while True:
            step = sum(self._turn(name) for name in self.app.system.assemblies)
            if step == 0 and not self._append_repeats():
                return moved
            moved += step

    def command(self, assembly: ServiceAssembly[Any], future: Future[Any]) -> None:
        """Run a service until its command has a result; raises `OutcomeUnknown` if the process dies before."""
        name = assembly.service.name
        process = self.process(name)
        while not future.done():
            moved = self._work(process, COMMANDS, assembly.advance_commands)
            if self.process(name) is not process:
                raise OutcomeUnknown(f"the {name} service died before it answered: ask again, under the same key")
            if moved == 0 and not future.done():
                due = assembly.commands.next_due()
                if due is None:
                    raise Retryable(f"the {name} service has nothing to do, and no answer")
                self._clock.set(max(due, self._clock.now()))

    def next_due(self) -> datetime | None:
        """Return the time at which the next delayed message may be read."""
        return self.log.next_due()

    # -- faults

    def die(self, _place: str) -> None:
        """Kill the working process. Its ports are closed first, so that no clean-up of its objects has an effect."""
        process = self._at_work[-1][0]
        self._kill(process)
        raise WorkerKilled(process.owner)

    def fail(self, place: str) -> None:
        """Fail the call without any effect."""
        raise sim.failure(place, sim.FAILS)

    def lose_answer(self, place: str) -> None:
        """Fail the call after it has taken effect: its response is lost."""
        raise sim.failure(place, sim.LOST)

    def lose_partitions(self, _place: str) -> None:
        """Evict the working process from its group; it may join again."""
        self.log.evict(self._at_work[-1][0].owner)

    def oversleep(self, _place: str) -> None:
        """Pause the working process while another process takes over its partitions and its work; then resume it.

        The resumed process continues to the end of its round, and is then ended.
        """
        process = self._at_work[-1][0]
        self.log.evict(process.owner)
        self._replace(process.service)
        self.pass_time(timedelta(seconds=sim.ASLEEP_S))

    def lose_gate_tail(self, _place: str) -> None:
        """Restart the gate without its last changes and without an epoch."""
        sim.lose_tail(self)

    def flush_gate(self) -> None:
        """Delete all data of the gate."""
        sim.flush(self)

    # -- private

    def _owner_in(self, group: str) -> str:
        """Return the owner that reads for a group: the current process of its service."""
        name = group.removesuffix("-group")
        return self.process(name if name in SERVICES else group).owner

    def _turn(self, name: str) -> int:
        assembly = self.app.system.assemblies[name]
        process, worker, moved = self.process(name), assembly.worker, 0
        for index, step in enumerate(worker.steps):
            moved += self._work(process, _kind(step), worker.run_step, index)
            if process.dead:
                return moved + 1
        if self.process(name) is not process:  # it was paused and replaced: this was its last round
            self._kill(process)
            moved += 1
        return moved

    def _work(self, process: Process, kind: str, step: Callable[..., int], *index: int) -> int:
        """Run one step of a process; if the process dies, replace it."""
        self._at_work.append((process, kind))
        try:
            return step(*index)
        except WorkerKilled:
            if self.process(process.service) is process:  # a paused process has been replaced already
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
        """Strike with a matching fault before or after a port call."""
        if not (self.faults.at_calls and self._at_work):
            return
        process, kind = self._at_work[-1]
        if place == "gate.take:before":
            self.gate_before = gate_rules.copied(self.gate.state)
        due = next((one for one in self.faults.at_calls if one.matches(process.service, kind, place)), None)
        if due is not None:
            self.faults.record(due)
            due.act(place)

    def _append_repeats(self) -> bool:
        """Append the messages to repeat to the log once more, when no work is left."""
        appended = False
        for fault in list(self.faults.repeats):
            fitting = [record for record in self.log.all_records() if fault.fits(record)]
            if fitting:
                newest = max(fitting, key=lambda record: dict(record.headers).get("ce_time", b""))
                self.log.append(newest.topic, newest.value, newest.key, newest.headers)
                self.faults.record(fault)
                appended = True
        return appended


class _Stores(Mapping[str, Any]):
    """The stores by name; each value is made when it is read."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def __getitem__(self, name: str) -> Any:
        return self._workers.connection(name)

    def __iter__(self) -> Iterator[str]:
        return iter(SERVICES)

    def __len__(self) -> int:
        return len(SERVICES)


def _wait_in_vain(what: str) -> None:
    """Fail as after a lock time-out: the process that holds the row is paused further down the call stack."""
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
