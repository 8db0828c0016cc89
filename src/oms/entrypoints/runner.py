"""Threads that loop around `run_once()`: one for each worker, woken by its bell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from oms.adapters.system.bells import Bells
from oms.application.parts import Parts
from oms.ports.clock import Clock

IDLE_S = 0.25
"""The longest a worker sleeps: bounds how late it notices what nobody rang for."""


class Runner:
    """Drives the parts of a system until it is stopped. A worker that fails for good stops all of them."""

    def __init__(
        self, parts: Mapping[str, Parts[Any]], bells: Bells, clock: Clock, failed: Callable[[str, BaseException], None]
    ) -> None:
        self._parts, self._bells, self._clock, self._failed = parts, bells, clock, failed
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=(name, part), name=f"oms-{name}", daemon=True)
            for name, part in parts.items()
        ]
        self.failure: tuple[str, BaseException] | None = None

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

    def _loop(self, name: str, part: Parts[Any]) -> None:
        try:
            while not self._stopping.is_set():
                if part.worker.run_once() == 0:
                    self._bells.wait(name, self._idle_s(part.worker.next_due()))
        except BaseException as error:
            self.failure = (name, error)
            self._stopping.set()
            self._bells.ring_all()
            self._failed(name, error)
            raise

    def _idle_s(self, due: datetime | None) -> float:
        if due is None:
            return IDLE_S
        return min(IDLE_S, max(0.001, (due - self._clock.now()).total_seconds()))
