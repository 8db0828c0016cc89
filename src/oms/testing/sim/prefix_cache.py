"""Runs the common prefix of schedules once: each continues from the step at which it differs from its parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from oms.adapters.memory.call_hooks import PointNames
from oms.testing.sim.escape import sealed
from oms.testing.sim.outcome import Outcome
from oms.testing.sim.points import Options
from oms.testing.sim.run import Run
from oms.testing.sim.scope import Scope
from oms.testing.sim.snapshot import Keeper, Snapshot
from oms.testing.sim.tape import Choice, Deviations, Replay

_ONLY_ADDED_TO = frozenset({PointNames, Options})


@attrs.frozen
class Branch:
    """A schedule that differs from its parent after `steps` steps, and its open choices after the last of `wanted`."""

    wanted: Deviations
    open: Sequence[Choice]
    steps: int = 0


class SharedPrefix:
    """A schedule with a snapshot at each step, from the step at which it leaves its parent to its last open choice.

    All branches share one system: the system of an outcome may be read only until the next branch is played.
    """

    def __init__(self, scope: Scope, schedule: Branch) -> None:
        self._schedule, self._tape = schedule, Replay(schedule.wanted, record=True)
        with sealed():
            self._run = Run(scope, self._tape)
            self._keeper = Keeper(self._run, _ONLY_ADDED_TO)
            self._marks = list(self._kept())

    def branch(
        self, nth: int, wanted: Deviations, *, record: bool, visited: Callable[[int], bool] | None
    ) -> tuple[Branch, Outcome]:
        """Play the schedule that differs at open choice `nth` (from 0)."""
        system = next(system for drawn, system in reversed(self._marks) if drawn <= nth)
        with sealed():
            self._keeper.put_back(system)
            tape = self._tape.instead(wanted, record=record)
            steps = self._run.steps
            self._run.tape, self._run.visited = tape, visited
            outcome = self._run.go()
        return Branch(wanted, tape.open, steps), outcome

    def _kept(self) -> Iterator[tuple[int, Snapshot]]:
        """Yield the number of open choices, and a snapshot of the system, of each step at which no worker is paused."""
        going = True
        while going and len(self._tape.open) < len(self._schedule.open):
            if self._run.steps >= self._schedule.steps and self._run.between_steps:
                yield len(self._tape.open), self._keeper.snapshot()
            going = self._run.go_on()
