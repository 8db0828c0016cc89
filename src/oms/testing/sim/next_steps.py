"""The steps and faults that can happen next in a run, the calm ones first."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import attrs

from oms.domain.tasks import TaskKind
from oms.testing.sim import faults, runnable
from oms.testing.sim.scope import CLOCK
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.worker import Worker

REST = "rest"
TIME = "time passes"
DEADLINE = "time passes to the deadline"
GOES_ON = "goes on"
MOST_VANISHED = 3
"""The number of workers that a service may lose in a run: a message that loses its process four times is parked.

A worker vanishes when it dies, and when its group evicts it in the middle of a batch."""

Place = tuple[str, int, str]
"""A step of a worker: the worker's slot, the index of the step, and the topic with which a consumer begins."""

_PLACES: dict[str, Place] = {}
_LABELS: dict[Place, str] = {}


def label_of(slot: str, index: int, step: str, topic: str) -> str:
    """Return the label of a worker's step: `payment-1 Consumer inventory.reserved`. It is made once for all runs."""
    place = (slot, index, topic)
    label = _LABELS.get(place)
    if label is None:
        label = _LABELS[place] = f"{slot} {step} {topic}".rstrip()
        _PLACES[label] = place
    return label


def place_of(label: str) -> Place | None:
    """Return the step of a label that `label_of` made; None for any other label."""
    return _PLACES.get(label)


@attrs.define(eq=False)
class Progress:
    """The counters of one run."""

    version: int = 0
    """Increases with all work that is done: a step that found nothing to do isn't offered again at the same version."""

    is_healed: bool = False
    """Whether faults are over, so that only calm choices are drawn."""

    vanished: Counter[str] = attrs.field(factory=Counter)
    """How many workers each service has lost."""

    used: dict[str, int] = attrs.field(factory=dict)
    """How often each fault between two steps has happened."""

    def may_vanish(self, worker: Worker) -> bool:
        """Whether the worker's service may lose one more worker."""
        return self.vanished[worker.service] < MOST_VANISHED


class NextSteps:
    """The labels of everything that can happen next in a simulated system."""

    def __init__(self, system: SimulatedSystem, progress: Progress) -> None:
        self._system, self._progress = system, progress

    def all(self) -> tuple[str, ...]:
        """Return all labels, the calm ones first; empty if the system is at rest."""
        now, system = self._system.clock.now(), self._system
        moves_clock = CLOCK in system.scope.faults
        runnable_now, asleep = self._workers(now)
        due = runnable.next_due(system, now) if not runnable_now or moves_clock else None
        options = [*runnable_now, *asleep] or ([TIME] if due is not None else [REST])
        if moves_clock and due is not None and options[0] is not TIME:
            options.append(TIME)
        if moves_clock and self.deadline() is not None:
            options.append(DEADLINE)
        options += faults.between_steps(system, self._progress.used, self._progress.may_vanish)
        return tuple(options)

    def calm(self) -> tuple[str, ...]:
        """Return only the first calm label; empty if the system is at rest."""
        now = self._system.clock.now()
        runnable_now, asleep = self._workers(now, first=True)
        if runnable_now or asleep:
            return (*runnable_now, *asleep)[:1]
        return (TIME,) if runnable.next_due(self._system, now) is not None else ()

    def deadline(self) -> datetime | None:
        """Return the first order deadline that is later than now."""
        due: datetime | None = self._system.records["order"].first_due(TaskKind.DEADLINE)
        return due if due is not None and due > self._system.clock.now() else None

    def _workers(self, now: datetime, *, first: bool = False) -> tuple[list[str], list[str]]:
        """Return the steps that can run now (or the first), and paused workers that resume only if no step can run."""
        found = [f"places {name}" for name in self._system.customers.to_ask()]
        if self._system.operators.works:
            found += [f"requests {label}" for label in self._system.operators.to_do()]
        asleep: list[str] = []
        version = self._progress.version
        for worker in self._system.workers:
            if first and found:
                break
            if worker.green is not None:
                self._paused(worker, now, found, asleep)
                continue
            engine = worker.assembly.worker
            retries = engine.retry_times()
            for index, name, look in worker.looks:
                if retries[index] is not None and engine.backs_off(index):
                    continue
                for topic in look(now):
                    label = label_of(worker.slot, index, name, topic)
                    if worker.idle.get(label) != version:
                        found.append(label)
        return found, asleep

    def _paused(self, worker: Worker, now: datetime, found: list[str], asleep: list[str]) -> None:
        if worker.blocked == self._progress.version:
            return
        if worker.blocked >= 0 or (worker.awake_at is not None and worker.awake_at <= now):
            found.append(f"{worker.slot} {GOES_ON}")
        elif worker.awake_at is None:
            asleep.append(f"{worker.slot} {GOES_ON}")
