"""Threads that loop around `run_once()`, woken by their bells, or by the log where that can be waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from oms.engine.assembly import COMMANDS, LANES, PUBLISH_BATCHER, Lane, ServiceAssembly, lane_name
from oms.engine.worker import Worker
from oms.ports.clock import Clock
from oms.runtime.adaptive_batching import BUSY, ENOUGH_REQUESTS, Late, Pause, answer, gather, group, never, rest
from oms.runtime.cpu_usage import Usage
from oms.runtime.health_watch import Activity
from oms.runtime.wakeups import Wakeups

IDLE_S = 0.25
"""The longest a worker sleeps: bounds how late it notices what nobody rang for."""


@attrs.frozen
class Driven:
    """What one thread drives: workers by name, and how it waits for news (None: for the bell of the first one).

    While it is busy it pauses: to `gather` when there is news, to `rest` after a batch, unless that moved `enough`, or
    one alone.
    """

    workers: Mapping[str, Worker]
    wait: Callable[[float], bool] | None = None
    gather: Pause = never
    rest: Pause = never
    enough: int = 1_000_000


def driven_together(parts: Mapping[str, ServiceAssembly[Any]], wakeups: Wakeups) -> Sequence[Driven]:
    """One thread for all services, as parts that live in the same memory need."""
    wakeups.share([name for service in parts for name in _bells_of(service)])
    return [Driven({name: part.worker for name, part in parts.items()})]


def driven_apart(parts: Mapping[str, ServiceAssembly[Any]], wakeups: Wakeups) -> Sequence[Driven]:
    """A thread for each service, whose store has one writer anyway."""
    for name in parts:
        wakeups.share(_bells_of(name))
    return [Driven({name: part.worker}) for name, part in parts.items()]


def driven_in_lanes(parts: Mapping[str, ServiceAssembly[Any]], wakeups: Wakeups) -> Sequence[Driven]:  # noqa: ARG001
    """A thread for each lane of each service: nobody waits for a server on behalf of another."""

    def driven(service: str, lane: Lane) -> Driven:
        name = lane_name(service, lane.name)
        workers = {name: lane.worker}
        if lane.name == COMMANDS:
            return Driven(workers, lane.wait, rest=answer, enough=ENOUGH_REQUESTS)
        if lane.name == PUBLISH_BATCHER:
            return Driven(workers, lane.wait, rest=group)
        return Driven(workers, lane.wait, never if lane.wait is None else gather, rest)

    return [driven(name, lane) for name, part in parts.items() for lane in part.lanes]


def _bells_of(service: str) -> list[str]:
    return [service, *(lane_name(service, lane) for lane in LANES)]


class Runner:
    """Drives a system until it is stopped. A worker that fails for good stops all of them."""

    def __init__(
        self,
        driven: Sequence[Driven],
        wakeups: Wakeups,
        clock: Clock,
        failed: Callable[[str, BaseException], None],
        *,
        batch: int = 500,
        used: Callable[[], float] | None = None,
    ) -> None:
        self._wakeups, self._clock, self._failed, self._batch = wakeups, clock, failed, batch
        self._used = used or Usage()
        self._stopping = threading.Event()
        self.failure: tuple[str, BaseException] | None = None
        self.activities: dict[str, Activity] = {}
        """What each thread does, for whoever watches that they return."""
        self._threads = [self._thread(one) for one in driven]

    def _thread(self, driven: Driven) -> threading.Thread:
        name = next(iter(driven.workers))
        activity = self.activities[name] = Activity()
        return threading.Thread(target=self._loop, args=(driven, activity), name=f"oms-{name}", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Let each worker end its step; whether all did within the time."""
        self._stopping.set()
        self._wakeups.ring_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def running(self) -> bool:
        """Whether the workers turn."""
        return self.failure is None and not self._stopping.is_set()

    def _loop(self, driven: Driven, activity: Activity) -> None:
        name, late = next(iter(driven.workers)), Late()
        activity.ident = threading.get_ident()
        try:
            while not self._stopping.is_set():
                moved = 0
                for name, worker in driven.workers.items():
                    activity.begin(name, worker)
                    moved += worker.run_once()
                if moved == 0:
                    activity.begin("waiting", next(iter(driven.workers.values())))
                    self._wait(driven)
                activity.end()
                pause = self._pause(driven, moved)
                if late.add(moved, time.monotonic()) >= BUSY and pause is not never:
                    self._stopping.wait(pause(self._used()))
        except BaseException as error:
            self.failure = (name, error)
            self._stopping.set()
            self._wakeups.ring_all()
            self._failed(name, error)
            raise

    def _pause(self, driven: Driven, moved: int) -> Pause:
        if moved == 0:
            return driven.gather
        return driven.rest if 1 < moved < min(driven.enough, self._batch) else never

    def _wait(self, driven: Driven) -> None:
        """Until there is news, or something that waits is due."""
        due = min((due for worker in driven.workers.values() if (due := worker.next_due())), default=None)
        if driven.wait is None or not driven.wait(self._idle_s(due)):
            self._wakeups.wait(next(iter(driven.workers)), self._idle_s(due))

    def _idle_s(self, due: datetime | None) -> float:
        if due is None:
            return IDLE_S
        return min(IDLE_S, max(0.001, (due - self._clock.steady()).total_seconds()))
