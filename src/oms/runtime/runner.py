"""Threads that loop around `run_once()`. A wake-up ends their wait, as do new records if the log supports waiting."""

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
from oms.runtime.adaptive_batching import BUSY, ENOUGH_REQUESTS, Pause, RecentCount, answer, gather, group, never, rest
from oms.runtime.cpu_usage import Usage
from oms.runtime.health_watch import Activity
from oms.runtime.wakeups import Wakeups

IDLE_S = 0.25
"""Longest sleep of a worker, in seconds. It notices a change without a wake-up within this time."""


@attrs.frozen
class Driven:
    """The workers of one thread, by name. `wait` waits for records; None: the thread waits for wake-ups.

    The thread waits for wake-ups of its first worker. A busy thread pauses for `gather` when records have arrived, and
    for `rest` after a batch, unless the batch had `enough` messages or only one.
    """

    workers: Mapping[str, Worker]
    wait: Callable[[float], bool] | None = None
    gather: Pause = never
    rest: Pause = never
    enough: int = 1_000_000


def driven_together(assemblies: Mapping[str, ServiceAssembly[Any]], wakeups: Wakeups) -> Sequence[Driven]:
    """Drive all services on one thread, because stores in memory aren't thread-safe."""
    wakeups.share([name for service in assemblies for name in _wakeup_names(service)])
    return [Driven({name: assembly.worker for name, assembly in assemblies.items()})]


def driven_apart(assemblies: Mapping[str, ServiceAssembly[Any]], wakeups: Wakeups) -> Sequence[Driven]:
    """Drive each service on one thread, because an SQLite store has one writer."""
    for name in assemblies:
        wakeups.share(_wakeup_names(name))
    return [Driven({name: assembly.worker}) for name, assembly in assemblies.items()]


def driven_in_lanes(assemblies: Mapping[str, ServiceAssembly[Any]], wakeups: Wakeups) -> Sequence[Driven]:  # noqa: ARG001
    """Drive each lane of each service on one thread, so that no lane waits while another one waits for a server."""

    def driven(service: str, lane: Lane) -> Driven:
        name = lane_name(service, lane.name)
        workers = {name: lane.worker}
        if lane.name == COMMANDS:
            return Driven(workers, lane.wait, rest=answer, enough=ENOUGH_REQUESTS)
        if lane.name == PUBLISH_BATCHER:
            return Driven(workers, lane.wait, rest=group)
        return Driven(workers, lane.wait, never if lane.wait is None else gather, rest)

    return [driven(name, lane) for name, assembly in assemblies.items() for lane in assembly.lanes]


def _wakeup_names(service: str) -> list[str]:
    return [service, *(lane_name(service, lane) for lane in LANES)]


class Runner:
    """Drives a system until it is stopped. An exception of one worker stops all of them."""

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
        """The current activity of each thread, which `HealthWatch` reads."""
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
        """Let each worker finish its step; return whether all threads have ended within `timeout_s` seconds."""
        self._stopping.set()
        self._wakeups.wake_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def running(self) -> bool:
        """Whether the workers run: neither stopped nor failed."""
        return self.failure is None and not self._stopping.is_set()

    def _loop(self, driven: Driven, activity: Activity) -> None:
        name, recent = next(iter(driven.workers)), RecentCount()
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
                if recent.add(moved, time.monotonic()) >= BUSY and pause is not never:
                    self._stopping.wait(pause(self._used()))
        except BaseException as error:
            self.failure = (name, error)
            self._stopping.set()
            self._wakeups.wake_all()
            self._failed(name, error)
            raise

    def _pause(self, driven: Driven, moved: int) -> Pause:
        if moved == 0:
            return driven.gather
        return driven.rest if 1 < moved < min(driven.enough, self._batch) else never

    def _wait(self, driven: Driven) -> None:
        """Wait until records or a wake-up arrive, or a task falls due, for at most `IDLE_S`."""
        due = min((due for worker in driven.workers.values() if (due := worker.next_due())), default=None)
        if driven.wait is None or not driven.wait(self._idle_s(due)):
            self._wakeups.wait(next(iter(driven.workers)), self._idle_s(due))

    def _idle_s(self, due: datetime | None) -> float:
        if due is None:
            return IDLE_S
        return min(IDLE_S, max(0.001, (due - self._clock.steady()).total_seconds()))
