"""Threads that loop around `run_once()`, woken by their bells, or by the log where that can be waited for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from oms.adapters.system.bells import Bells
from oms.application.parts import COMMANDS, LANES, Lane, Parts, lane_name
from oms.application.worker import Worker
from oms.ports.clock import Clock

IDLE_S = 0.25
"""The longest a worker sleeps: bounds how late it notices what nobody rang for."""

REST_S = 0.05
"""How long a busy lane rests after a batch at most, unless that was a full one: the next one gathers meanwhile.

A batch costs by itself as much as many messages, and a lane that takes whatever has come spends all that the machine
has on small ones. While the process uses little of the machine, it rests for as much less."""

STRAINED = 0.15
"""The share of the machine's processor time from which on a process's lanes rest for the whole time."""

LOOKED_S = 0.1
"""How often a process looks at what it uses."""

ANSWER_REST_S, ENOUGH_ANSWERS = 0.02, 50
"""The same where somebody waits for the answer of each: shorter, and not after batches that are large as it is."""

BUSY = 8.0
"""A lane is busy when it has moved so much of late; of each order it moves three or four. One that isn't never rests:
what comes to a quiet system waits for nobody."""


@attrs.frozen
class Driven:
    """What one thread drives: workers by name, and how it waits for news (None: for the bell of the first one).

    `rest_s`: how long it rests after a batch while it is busy, unless that moved `enough`, or one alone.
    """

    workers: Mapping[str, Worker]
    wait: Callable[[float], bool] | None = None
    rest_s: float = 0.0
    enough: int = 1_000_000


@attrs.define
class Late:
    """How much a lane has moved of late: what it moved a rest ago counts half, and so on."""

    moved: float = 0.0
    at: float = 0.0

    def add(self, moved: int, at: float) -> float:
        """The sum now (`at`, in seconds)."""
        self.moved = self.moved * 0.5 ** ((at - self.at) / REST_S) + moved
        self.at = at
        return self.moved


class Strain:
    """How much of the machine this process has used of late, from 0 to 1: at 1 it has to save."""

    def __init__(
        self,
        cores: int | None = None,
        wall_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._wall_s, self._cpu_s = wall_s, cpu_s
        self._enough = STRAINED * (cores or _cores())
        self._seen = wall_s(), cpu_s()
        self._used = 0.0

    def __call__(self) -> float:
        """By processor time; what was seen one look before counts half. May be asked on any thread."""
        at, used_s = self._seen
        now = self._wall_s()
        if now >= at + LOOKED_S:
            self._seen = now, self._cpu_s()
            self._used = (self._used + (self._seen[1] - used_s) / (now - at)) / 2
        return min(1.0, self._used / self._enough)


def _cores() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def driven_together(parts: Mapping[str, Parts[Any]], bells: Bells) -> Sequence[Driven]:
    """One thread for all services, as parts that live in the same memory need."""
    bells.share([name for service in parts for name in _bells_of(service)])
    return [Driven({name: part.worker for name, part in parts.items()})]


def driven_apart(parts: Mapping[str, Parts[Any]], bells: Bells) -> Sequence[Driven]:
    """A thread for each service, whose store has one writer anyway."""
    for name in parts:
        bells.share(_bells_of(name))
    return [Driven({name: part.worker}) for name, part in parts.items()]


def driven_in_lanes(parts: Mapping[str, Parts[Any]], bells: Bells) -> Sequence[Driven]:  # noqa: ARG001
    """A thread for each lane of each service: nobody waits for a server on behalf of another."""

    def driven(service: str, lane: Lane) -> Driven:
        workers = {lane_name(service, lane.name): lane.worker}
        if lane.name == COMMANDS:
            return Driven(workers, lane.wait, ANSWER_REST_S, ENOUGH_ANSWERS)
        return Driven(workers, lane.wait, REST_S)

    return [driven(name, lane) for name, part in parts.items() for lane in part.lanes]


def _bells_of(service: str) -> list[str]:
    return [service, *(lane_name(service, lane) for lane in LANES)]


class Runner:
    """Drives a system until it is stopped. A worker that fails for good stops all of them."""

    def __init__(
        self,
        driven: Sequence[Driven],
        bells: Bells,
        clock: Clock,
        failed: Callable[[str, BaseException], None],
        *,
        batch: int = 500,
        strain: Callable[[], float] | None = None,
    ) -> None:
        self._bells, self._clock, self._failed, self._batch = bells, clock, failed, batch
        self._strain = strain or Strain()
        self._stopping = threading.Event()
        self.failure: tuple[str, BaseException] | None = None
        self._threads = [
            threading.Thread(target=self._loop, args=(one,), name=f"oms-{next(iter(one.workers))}", daemon=True)
            for one in driven
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Let each worker end its step; whether all did within the time."""
        self._stopping.set()
        self._bells.ring_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def running(self) -> bool:
        """Whether the workers turn."""
        return self.failure is None and not self._stopping.is_set()

    def _loop(self, driven: Driven) -> None:
        name, late = next(iter(driven.workers)), Late()
        try:
            while not self._stopping.is_set():
                moved = 0
                for name, worker in driven.workers.items():  # noqa: B007 - the name of the worker that failed
                    moved += worker.run_once()
                if moved == 0:
                    self._wait(driven)
                elif late.add(moved, time.monotonic()) >= BUSY and 1 < moved < min(driven.enough, self._batch):
                    self._stopping.wait(driven.rest_s * self._strain())
        except BaseException as error:
            self.failure = (name, error)
            self._stopping.set()
            self._bells.ring_all()
            self._failed(name, error)
            raise

    def _wait(self, driven: Driven) -> None:
        """Until there is news, or something that waits is due."""
        due = min((due for worker in driven.workers.values() if (due := worker.next_due())), default=None)
        if driven.wait is None or not driven.wait(self._idle_s(due)):
            self._bells.wait(next(iter(driven.workers)), self._idle_s(due))

    def _idle_s(self, due: datetime | None) -> float:
        if due is None:
            return IDLE_S
        return min(IDLE_S, max(0.001, (due - self._clock.steady()).total_seconds()))
