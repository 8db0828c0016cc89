"""What schedules have in common until they differ is played once: each goes on from where it leaves the trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oms.adapters.memory.hooks import PointNames
from oms.testing.sim.escape import sealed
from oms.testing.sim.run import Options, Outcome, Run
from oms.testing.sim.scope import Scope
from oms.testing.sim.snapshot import Keeper, Snapshot
from oms.testing.sim.tape import Deviations, Replay

_ONLY_ADDED_TO = frozenset({PointNames, Options})


class Trunk:
    """The schedule of `wanted`, kept at each step up to choice `last` (from 0) of those that come after all of it.

    Whoever gets an outcome may look at its world until the next branch is played: all of them have one world.
    """

    def __init__(self, scope: Scope, wanted: Deviations, last: int) -> None:
        self._tape = Replay(wanted, record=True)
        with sealed():
            self._run = Run(scope, self._tape)
            self._keeper = Keeper(self._run, _ONLY_ADDED_TO)
            self._marks = list(self._kept(last))

    def branch(
        self, nth: int, wanted: Deviations, *, record: bool, visited: Callable[[int], bool] | None
    ) -> tuple[Replay, Outcome]:
        """Play the schedule that differs at choice `nth`: its tape, and what became of it."""
        world = next(world for drawn, world in reversed(self._marks) if drawn <= nth)
        with sealed():
            self._keeper.put_back(world)
            tape = self._tape.instead(wanted, record=record)
            self._run.tape, self._run.visited = tape, visited
            return tape, self._run.go()

    def _kept(self, last: int) -> Iterator[tuple[int, Snapshot]]:
        """How many choices had been drawn, and the world as it was then; where nobody stands still in a step."""
        going = True
        while going and len(self._tape.open) <= last:
            if self._run.between_steps:
                yield len(self._tape.open), self._keeper.snapshot()
            going = self._run.go_on()
