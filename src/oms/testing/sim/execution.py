"""Carries out one label of a schedule: a worker's step, an order, the passing of time, or a fault."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from greenlet import greenlet

from oms.adapters.memory import gate_rules
from oms.adapters.memory.call_hooks import WorkerKilled
from oms.engine.consumer import Consumer
from oms.operations import promises
from oms.operations.promises import Violation
from oms.testing.sim import faults, runnable
from oms.testing.sim.next_steps import DEADLINE, GOES_ON, TIME, NextSteps, Place, Progress, place_of
from oms.testing.sim.points import YIELDED
from oms.testing.sim.scope import GATE
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.worker import Worker

_ONLY_FOR = {"inventory": ("inventory",), "order": ("order",), "payment": ("payment",)}


class Execution:
    """Changes a simulated system by one label after the other. `violations` collects broken promises."""

    def __init__(self, system: SimulatedSystem, progress: Progress, following: NextSteps) -> None:
        self._system, self._progress, self._following = system, progress, following
        self.violations: list[Violation] = []
        for worker in system.workers:
            worker.looks = runnable.looks(system, worker)

    def do(self, label: str) -> None:
        """Carry out a label of `NextSteps`."""
        place = place_of(label)
        if place is not None:
            self._run_step(label, place)
            return
        what, _, rest = label.partition(" ")
        if rest == GOES_ON:
            self._go_on(self._worker(what))
            return
        self._progress.version += 1
        clock = self._system.clock
        if what == "places":
            self._system.customers.place(rest)
        elif what == "requests":
            self._system.operators.do(rest)
        elif label == TIME:
            clock.set(runnable.next_due(self._system, clock.now()) or clock.now())
        elif label == DEADLINE:
            clock.set(self._following.deadline() or clock.now())
        else:
            self._progress.used[label] = self._progress.used.get(label, 0) + 1
            self._cause(label)

    def evict(self, worker: Worker) -> None:
        """Make the log evict a worker; in the middle of a batch, this counts as the worker's death."""
        self._progress.vanished[worker.service] += faults.has_batch(worker)
        self._system.log.evict(worker.owner)

    def drop(self) -> None:
        """End the paused workers, so that no code of a run is executed after it."""
        for worker in self._system.workers:
            if worker.green is not None:
                self._end(worker)

    def _go_on(self, worker: Worker) -> None:
        waited = worker.blocked >= 0
        self._resume(worker)
        if waited and worker.blocked >= 0:
            worker.blocked = self._progress.version  # still waiting; it did no work that others wait for
        else:
            self._progress.version += 1

    def _cause(self, label: str) -> None:
        system = self._system
        fault, _, rest = label.partition(" ")
        match fault:
            case "crash":
                self._crash(self._worker(rest))
            case "evict":
                self.evict(self._worker(rest))
            case "repeat":
                faults.repeat(system, rest)
            case "garbage":
                system.log.append("payment.success", b'{"orderId": 1', b"x", ())
            case "forge":
                faults.forge(system, *rest.split(" "))
            case "flush":
                faults.flush(system)
            case "lose":
                faults.lose_tail(system)
            case "set":
                system.clock.advance(timedelta(seconds=-5))
            case "adds":
                system.operators.add(rest)
            case "purge":
                faults.repeat_after_purge(system, rest.removeprefix("and repeat "))
            case "customer" | "operator":
                system.customers.cancel(rest.partition(" ")[2], by_operator=fault == "operator")

    def _worker(self, slot: str) -> Worker:
        return next(worker for worker in self._system.workers if worker.slot == slot)

    def _run_step(self, label: str, place: Place) -> None:
        slot, index, topic = place
        worker, system = self._worker(slot), self._system
        step = worker.assembly.worker.steps[index]
        worker.handles = isinstance(step, Consumer)
        if worker.handles:
            runnable.begin_with(worker.subscription, topic)
        if worker.service == "inventory" and GATE in system.scope.faults:
            system.gate_before = gate_rules.copied(system.gate.state)
        worker.green = greenlet(worker.assembly.worker.run_step)
        if not self._resume(worker, index):
            worker.idle[label] = self._progress.version
        elif worker.green is not None:  # other workers may wait for the work that it did before it paused
            self._progress.version += 1
            worker.blocked = self._progress.version if worker.blocked >= 0 else -1

    def _resume(self, worker: Worker, *index: int) -> int:
        """Run a worker until its step ends, pauses, waits for a lock, or dies; returns 0 if nothing moved."""
        green = worker.green
        worker.paused, worker.awake_at, worker.blocked = False, None, -1
        try:
            moved = green.switch(*index)  # type: ignore[union-attr]
        except WorkerKilled:
            self._replace(worker)
            return 1
        except Exception as error:  # noqa: BLE001 - an error of the worker itself is a violation
            self.violations.append(Violation("FAILED", worker.slot, f"{type(error).__name__}: {error}"))
            return 1
        if moved is YIELDED:
            return 1
        worker.green = None
        if moved:
            self._progress.version += 1
        self.violations += promises.at_every_instant(self._system.evidence, _ONLY_FOR.get(worker.service, ()))
        return int(moved)

    def _crash(self, worker: Worker) -> None:
        if worker.green is not None:
            self._end(worker)
        else:
            self._system.kill(worker)
        self._replace(worker)

    def _end(self, worker: Worker) -> None:
        """End a worker. Its ports fail first, so that the `finally` blocks of its step have no effect."""
        self._system.kill(worker)
        if worker.green is not None:
            with suppress(WorkerKilled):
                worker.green.throw(WorkerKilled(worker.owner))

    def _replace(self, worker: Worker) -> None:
        """Start another worker in the slot of a dead worker."""
        self._progress.version += 1
        self._progress.vanished[worker.service] += 1
        worker.stale, worker.green = True, None
        index = self._system.workers.index(worker)
        new = self._system.workers[index] = self._system.start(worker.slot, worker.service)
        new.looks = runnable.looks(self._system, new)
