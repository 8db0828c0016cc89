"""Shrinks a failing schedule: first to fewer deviations, then to fewer orders and workers, within a budget of runs.

Only a schedule that breaks the same promise counts as the same failure. After deviations are removed one by one, an
exhaustive search tries the schedules with even fewer deviations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from oms.testing.sim.outcome import Outcome
from oms.testing.sim.scope import Scope
from oms.testing.sim.search import Player, exhaustive, play
from oms.testing.sim.tape import Deviations, Replay

BUDGET = 600
"""The default number of runs that a shrink may take."""


@attrs.frozen
class Shrunk:
    """The smallest failing schedule that was found, and how many runs that took."""

    scope: Scope
    outcome: Outcome
    runs: int


def shrink(scope: Scope, failed: Outcome, player: Player = play, *, budget: int = BUDGET) -> Shrunk:
    """Find the smallest schedule that fails like this outcome."""
    work = _Work(scope, failed, player, budget)
    work.drop_deviations()
    work.make_the_system_smaller()
    work.drop_deviations()
    work.search_below()
    return Shrunk(work.scope, work.best, work.runs)


class _Work:
    def __init__(self, scope: Scope, failed: Outcome, player: Player, budget: int) -> None:
        self.scope, self.best, self.player, self.left = scope, failed, player, budget
        self.broken = failed.broken
        self.runs = 0

    def drop_deviations(self) -> None:
        """Remove deviations: half of them, then quarters, then one by one, until none can be removed."""
        size = max(1, len(self.best.deviations) // 2)
        while True:
            if self._drop_some(size):
                size = min(size, max(1, len(self.best.deviations) // 2))
            elif size == 1:
                return
            else:
                size = size // 2

    def make_the_system_smaller(self) -> None:
        """Reduce to fewer orders, one worker each, one partition, a batch of one; each only if the failure remains."""
        for change in self._smaller():
            self._try(attrs.evolve(self.scope, **change), self.best.deviations)

    def search_below(self) -> None:
        """Search for a failing schedule with even fewer deviations, as far as the budget allows."""
        depth = len(self.best.deviations) - 1
        if depth < 1 or self.left < 50:
            return
        for found in exhaustive(self.scope, depth, self.player):
            self.runs += 1
            self.left -= 1
            if found.outcome.broken == self.broken:
                self.best = found.outcome
                return
            if self.left <= 0:
                return

    def _drop_some(self, size: int) -> bool:
        dropped, start = False, 0
        while start < len(self.best.deviations) and self.left > 0:
            kept = self.best.deviations[:start] + self.best.deviations[start + size :]
            if self._try(self.scope, kept):
                dropped = True
            else:
                start += size
        return dropped

    def _smaller(self) -> Iterator[dict[str, Any]]:
        for orders in range(1, self.scope.orders):
            yield {"orders": orders}
        yield {"workers": dict.fromkeys(self.scope.workers, 1)}
        for name in self.scope.workers:
            yield {"workers": {**self.scope.workers, name: 1}}
        yield {"partitions": 1}
        yield {"batch": 1}

    def _try(self, scope: Scope, deviations: Deviations) -> bool:
        if self.left <= 0:
            return False
        self.runs += 1
        self.left -= 1
        outcome = self.player(scope, Replay(deviations))
        if outcome.broken != self.broken:
            return False
        smaller = len(outcome.deviations) < len(self.best.deviations) or scope != self.scope
        if smaller:
            self.scope, self.best = scope, outcome
        return smaller
