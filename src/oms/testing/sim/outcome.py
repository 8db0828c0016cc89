"""The result of one schedule, and the interface of objects that observe a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

import attrs

from oms.operations.promises import Violation
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.tape import Deviations
from oms.testing.sim.worker import Worker

Check = Callable[[], object]
"""The assertions of a user's own scenario, called at rest; an `AssertionError` is a violation."""


class ObservedRun(Protocol):
    """The part of a run that a listener sees."""

    system: SimulatedSystem
    begun_at: datetime

    @property
    def slots(self) -> Collection[str]:
        """The names of the workers' slots."""


class Listener(Protocol):
    """Observes a run: a story and a trace are listeners."""

    def drew(self, label: str, option: str) -> None:
        """A choice other than the calm one was drawn."""

    def begins(self, run: ObservedRun, what: str) -> None:
        """A step begins, or an event between two steps."""

    def ended(self, run: ObservedRun, what: str) -> None:
        """The step or event ended, or its worker paused in the middle of it."""

    def reached(self, worker: Worker, place: str) -> None:
        """A worker reached a point: before or after a port call."""


@attrs.frozen
class Outcome:
    """The result of one schedule. `steps` counts steps and events, `at_s` is the virtual time that passed (s)."""

    violations: tuple[Violation, ...]
    deviations: Deviations
    steps: int
    at_s: float
    system: SimulatedSystem
    pruned: bool = False
    tally: Counter[str] = attrs.field(factory=Counter)

    @property
    def broken(self) -> str | None:
        """The first promise that doesn't hold."""
        return self.violations[0].promise if self.violations else None
