"""Threads that loop around `run_once()`: one for each worker, woken by its bell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from oms.adapters.system.bells import Bells
from oms.application.parts import Parts
from oms.ports.clock import Clock

IDLE_S = 0.25
"""The longest a worker sleeps: bounds how late it notices what nobody rang for."""


class Runner:
    """Drives the parts of a system until it is stopped. A worker that fails for good stops all of them.

    Each part has a thread of its own, unless `single`: then one thread drives them all, as parts that live in the
    same memory need. `idle_s` is how long a worker may not notice news that no bell of this process tells of.
    """

    def __init__(
        self,
        parts: Mapping[str, Parts[Any]],
        bells: Bells,
        clock: Clock,
        failed: Callable[[str, BaseException], None],
        *,
        single: bool = False,
        idle_s: float = IDLE_S,
    ) -> None:
        self._bells, self._clock, self._failed = bells, clock, failed
        self._longest_s = idle_s
        self._stopping = threading.Event()
        self.failure: tuple[str, BaseException] | None = None
        driven = [list(parts.items())] if single else [[part] for part in parts.items()]
        if single:
            bells.share(list(parts))
        self._threads = [
            threading.Thread(target=self._loop, args=(some,), name=f"oms-{some[0][0]}", daemon=True) for some in driven
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Let each worker end its step; whether all did within the time."""
        self._stopping.set()
        self._bells.ring_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def running(self) -> bool:
        """Whether the workers turn."""
        return self.failure is None and not self._stopping.is_set()

    def _loop(self, parts: Sequence[tuple[str, Parts[Any]]]) -> None:
        name = parts[0][0]
        try:
            while not self._stopping.is_set():
                moved = 0
                for name, part in parts:  # noqa: B007 - the name of the part that failed
                    moved += part.worker.run_once()
                if moved == 0:
                    dues = [part.worker.next_due() for _, part in parts]
                    self._bells.wait(name, self._idle_s(min((due for due in dues if due), default=None)))
        except BaseException as error:
            self.failure = (name, error)
            self._stopping.set()
            self._bells.ring_all()
            self._failed(name, error)
            raise

    def _idle_s(self, due: datetime | None) -> float:
        if due is None:
            return self._longest_s
        return min(self._longest_s, max(0.001, (due - self._clock.now()).total_seconds()))
