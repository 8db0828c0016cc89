"""The points of a run: before and after each port call, where a worker can die, fail, pause or wait for a lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from greenlet import greenlet

from oms.adapters.memory.call_hooks import WorkerKilled, no_point, raise_deadlock
from oms.testing.sim import faults
from oms.testing.sim.next_steps import Progress
from oms.testing.sim.outcome import Listener
from oms.testing.sim.scope import Scope
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.worker import Worker

YIELDED = object()
"""The value that a worker's greenlet returns when it pauses in the middle of its step."""


class Points:
    """Makes the hooks of each worker's port calls. The system is set once it is made, because it needs the hooks."""

    system: SimulatedSystem

    def __init__(
        self,
        scope: Scope,
        progress: Progress,
        draw: Callable[[str, Sequence[str]], int],
        evict: Callable[[Worker], None],
        listener: Listener | None,
    ) -> None:
        self._scope, self._progress, self._draw, self._evict = scope, progress, draw, evict
        self._listener, self._options = listener, Options.of(scope)
        self._main = greenlet.getcurrent()

    def hooks(self, worker: Worker) -> tuple[Callable[[str], None], Callable[[str], None]]:
        """Return the hook of each point of a worker, and the hook that waits for a lock."""
        progress, listener, options = self._progress, self._listener, self._options

        def blocked(what: str) -> None:
            if worker.green is None:
                raise_deadlock(what)
            worker.blocked = progress.version
            self._main.switch(YIELDED)

        if not self._scope.fine and listener is None:
            return no_point, blocked

        def point(place: str) -> None:
            if worker.green is None:
                return
            if listener is not None:
                listener.reached(worker, place)
            if progress.is_healed:
                return
            found = options[place]
            if len(found) < 2:
                return
            if not progress.may_vanish(worker):
                found = tuple(option for option in found if option not in (faults.DIES, faults.SLEEPS))
            index = self._draw(f"at {worker.slot} {place}", found)
            if index:
                self._apply_fault(worker, place, found[index])

        return point, blocked

    def _apply_fault(self, worker: Worker, place: str, fault: str) -> None:
        if fault == faults.DIES:
            self.system.kill(worker)
            raise WorkerKilled(worker.owner)
        if fault in (faults.FAILS, faults.LOST):
            raise faults.failure(place, fault)
        worker.paused = True
        if fault == faults.SLEEPS:
            worker.awake_at = self.system.clock.now() + timedelta(seconds=faults.ASLEEP_S)
            self._evict(worker)
        self._main.switch(YIELDED)


class Options(dict[str, tuple[str, ...]]):
    """The options at each point, found once for all runs of equal scopes."""

    _known: ClassVar[dict[Any, Options]] = {}

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope

    @classmethod
    def of(cls, scope: Scope) -> Options:
        """Return the options of a scope."""
        return cls._known.setdefault((scope.faults, scope.all_points), cls(scope))

    def __missing__(self, place: str) -> tuple[str, ...]:
        found = self[place] = faults.at_point(self._scope, place)
        return found
