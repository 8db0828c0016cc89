"""Crashes a worker once at every point of every path; another worker takes over, and every promise must hold.

A path is one way in which an order can end: by which event, and with which result for its money and stock. The
schedules with at most one deviation from the calm schedule find the paths. `PARTS` are the paths with shipments and
refunds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from oms.testing.sim.faults import DIES
from oms.testing.sim.outcome import Listener, ObservedRun, Outcome
from oms.testing.sim.scope import ONE_OF_EACH, USUAL, Scope
from oms.testing.sim.search import exhaustive, play
from oms.testing.sim.tape import Deviation, Deviations, Replay

if TYPE_CHECKING:
    from oms.testing.sim.worker import Worker

SCOPES = (Scope(), Scope(orders=2, units=1))
"""One order with enough stock, and two orders for the last unit."""


@attrs.frozen
class Path:
    """One way in which the orders of a scope can end, and a schedule that leads to it."""

    name: str
    scope: Scope
    deviations: Deviations


CALM = Path("calm", Scope(fine=True, all_points=True), ())

_PARTS = attrs.evolve(ONE_OF_EACH, fine=True, all_points=True)
_REFUSED = Deviation("gateway refund", 0, "refuses")
PARTS = (
    Path("a parcel, a cancelled unit and a return", _PARTS, ()),
    Path("a refund is refused and retried", attrs.evolve(_PARTS, plan=("cancel one",)), (_REFUSED,)),
    Path(
        "a refund is refused twice and resolved",
        attrs.evolve(_PARTS, plan=("cancel one",)),
        (_REFUSED, attrs.evolve(_REFUSED, nth=1)),
    ),
)
"""Paths of orders that are shipped and refunded."""


@attrs.frozen
class Point:
    """A point at which a worker can die: the `nth` time (from 0) that it reaches a place."""

    worker: str
    place: str
    nth: int

    @property
    def service(self) -> str:
        """The service of the worker."""
        return self.worker.rpartition("-")[0]

    @property
    def call(self) -> str:
        """The port call before or after the point: `payments.commit`."""
        return self.place.partition(":")[0]


@attrs.frozen
class Crash:
    """One death of a worker: its path, its point, and the outcome of the schedule."""

    path: str
    point: Point
    outcome: Outcome


class _Places(Listener):
    """Records the points that a schedule reaches."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], int] = {}

    def drew(self, label: str, option: str) -> None:
        """Do nothing."""

    def begins(self, run: ObservedRun, what: str) -> None:
        """Do nothing."""

    def ended(self, run: ObservedRun, what: str) -> None:
        """Do nothing."""

    def reached(self, worker: Worker, place: str) -> None:
        """Record the point."""
        self.found[worker.slot, place] = self.found.get((worker.slot, place), 0) + 1


def paths() -> list[Path]:
    """Return each way to end that a schedule with at most one deviation leads to, with the first such schedule.

    Orders of these paths have no shipments or refunds: see `PARTS`.
    """
    found: dict[str, Path] = {}
    for scope in SCOPES:
        for one in exhaustive(scope, 1, prune=False):
            name = _ends(one.outcome)
            fine = attrs.evolve(scope, fine=True, all_points=True, faults=USUAL)
            found.setdefault(name, Path(name, fine, one.outcome.deviations))
    return list(found.values())


def points(path: Path) -> list[Point]:
    """Return every point that a path reaches."""
    places = _Places()
    play(path.scope, Replay(path.deviations), listener=places)
    return [Point(worker, place, nth) for (worker, place), count in places.found.items() for nth in range(count)]


def crashes(path: Path, every: int = 1) -> Iterator[Crash]:
    """Run the path once for each of its points (or for every n-th of them), with a death there."""
    for point in points(path)[::every]:
        death = Deviation(f"at {point.worker} {point.place}", point.nth, DIES)
        yield Crash(path.name, point, play(path.scope, Replay((*path.deviations, death))))


def _ends(outcome: Outcome) -> str:
    records = outcome.system.records
    ends = []
    for order in records["order"].orders.rows.values():
        paid = records["payment"].payments.rows.get(order.id)
        stock = records["inventory"].reservations.rows.get(order.id)
        why = f" by {order.reason.value}" if order.reason else ""
        money = paid.state.value if paid else "ABSENT"
        ends.append(f"{order.state.value}{why}, payment {money}, stock {stock.state.value if stock else 'ABSENT'}")
    return "; ".join(sorted(ends))
