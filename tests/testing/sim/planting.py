"""Plants faults into the real code, one at a time, and looks for them.

Each is a context manager that changes the code while it is open. `scope` is where it is looked for exhaustively first;
what isn't found there within two deviations is looked for by seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import attrs

from oms.bootstrap.system import SERVICES
from oms.operations import decided_events, order_promises
from oms.testing.sim.scope import USUAL, Scope
from oms.testing.sim.search import exhaustive, swarm

Plant = Callable[[], Any]
ZOO: dict[str, Planted] = {}


@attrs.frozen
class Planted:
    """One fault: what a developer did, where it is looked for, and how to plant it."""

    name: str
    what: str
    plant: Plant
    scope: Scope
    depth: int
    most: int
    """Schedules of the exhaustive search to look through before the seeds."""


def planted(
    what: str, *, depth: int = 2, most: int = 2500, **scope: Any
) -> Callable[[Callable[[], Iterator[None]]], Plant]:
    def keep(plant: Callable[[], Iterator[None]]) -> Plant:
        made = contextmanager(plant)
        name = plant.__name__.replace("_", " ")
        workers = {**dict.fromkeys(SERVICES, 1), **scope.pop("workers", {})}
        faults = frozenset(scope.pop("faults", USUAL))
        ZOO[name] = Planted(name, what, made, Scope(workers=workers, faults=faults, **scope), depth, most)
        return made

    return keep


@contextmanager
def cell(table: Mapping[Any, Any], state: Any, trigger: Any, new: Any) -> Iterator[None]:
    """Another cell in a state table, also for the checks that remember cells of the table."""
    row = table[state]
    before = row[trigger]
    row[trigger] = new
    forget_cells()
    try:
        yield
    finally:
        row[trigger] = before
        forget_cells()


def forget_cells() -> None:
    """Make the checks read the state table of orders again."""
    decided_events._topics.cache_clear()
    order_promises._allowed.cache_clear()


MOST_SEEDS = 3000


@attrs.frozen
class Kill:
    """How a fault was found: after so many schedules of the exhaustive search, and so many seeds after that."""

    promise: str
    schedules: int
    seeds: int
    deviations: int

    def __str__(self) -> str:
        how = f"seed {self.seeds - 1}" if self.seeds else f"schedule {self.schedules}"
        return f"{self.promise} after {how}, {self.deviations} deviations"


def killed(fault: Planted) -> Kill | None:
    """Look for a fault near calm in its scope, then by seeds in it; None where it isn't found."""
    with fault.plant():
        number = 0
        for found in islice(exhaustive(fault.scope, fault.depth, shuffled=True), fault.most):
            number += 1
            if found.outcome.broken:
                return Kill(found.outcome.broken, number, 0, len(found.outcome.deviations))
        for found in swarm(range(MOST_SEEDS), base=fault.scope):
            if found.outcome.broken:
                return Kill(found.outcome.broken, number, found.number, len(found.outcome.deviations))
    return None
