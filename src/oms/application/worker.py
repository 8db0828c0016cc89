"""What turns: the steps of one service, driven round by round. Threads only loop around `run_once()`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from oms.application.backoff import next_try
from oms.application.service import Step
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.ports.signals import Signals
from oms.ports.store import Backlog, Store

PURGE_EVERY = timedelta(hours=1)
PURGE_LIMIT = 1000
KEYS_KEPT = timedelta(hours=24)
PULSE_EVERY = timedelta(seconds=1)


@runtime_checkable
class Timed(Protocol):
    """A step that knows when something of its own is to be tried again."""

    @abstractmethod
    def next_due(self) -> datetime | None:
        """When; None where nothing waits."""


class Worker:
    """Runs steps in turn. A step whose service is out of reach backs off without holding up the others."""

    def __init__(self, name: str, steps: Sequence[Step], clock: Clock, signals: Signals) -> None:
        self.name = name
        self._steps = steps
        self._clock, self._signals = clock, signals
        self._failures = [0] * len(steps)
        self._causes: list[str | None] = [None] * len(steps)
        self._due: list[datetime | None] = [None] * len(steps)
        self._told = [step.next_due for step in steps if isinstance(step, Timed)]

    def run_once(self) -> int:
        """One round; answers how much moved."""
        return sum(self._run(index, step) for index, step in enumerate(self._steps))

    def next_due(self) -> datetime | None:
        """When a step that backs off is tried again, or something falls due that a step knows of."""
        dues = [*self._due, *(next_due() for next_due in self._told)]
        return min((due for due in dues if due is not None), default=None)

    def troubles(self) -> Sequence[str]:
        """Why steps back off at the moment, each cause once."""
        return list(dict.fromkeys(cause for cause in self._causes if cause is not None))

    def _run(self, index: int, step: Step) -> int:
        due = self._due[index]
        if due is not None and self._clock.now() < due:
            return 0
        try:
            moved = step.run_once()
        except (Retryable, OutcomeUnknown) as error:
            self._failures[index] += 1
            self._causes[index] = str(error)
            self._due[index] = next_try(self._clock.now(), self._failures[index], longest_s=5.0)
            self._signals.count("step_retries", worker=self.name, cause=type(error).__name__)
            if self._failures[index] == 1:
                self._signals.note("waiting", worker=self.name, step=type(step).__name__, cause=str(error))
            return 0
        self._failures[index], self._due[index], self._causes[index] = 0, None, None
        return moved


class Retention:
    """Removes what has been kept for its time, a bounded batch at once."""

    def __init__(self, store: Store, clock: Clock, *, keep: timedelta) -> None:
        self._store, self._clock, self._keep = store, clock, keep
        self._due_at = clock.now() + PURGE_EVERY

    def run_once(self) -> int:
        """How many rows were removed."""
        now = self._clock.now()
        if now < self._due_at:
            return 0
        removed = self._store.purge(now - self._keep, keys_older_than=now - KEYS_KEPT, limit=PURGE_LIMIT)
        if removed < PURGE_LIMIT:
            self._due_at = now + PURGE_EVERY
        return removed


class Pulse:
    """Knows how old the oldest work of a store is, without asking it for every request."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._due_at: datetime | None = None
        self.backlog: Backlog | None = None

    def run_once(self) -> int:
        """Ask once a second; never counts as progress."""
        now = self._clock.now()
        if self._due_at is None or now >= self._due_at:
            self.backlog = self._store.backlog()
            self._due_at = now + PULSE_EVERY
        return 0

    def oldest_s(self) -> float:
        """The age of the oldest work, in seconds: an unsent message, or an order that inventory hasn't answered."""
        if self.backlog is None:
            return 0.0
        waits = [at for at in (self.backlog.oldest_outbox_at, self.backlog.oldest_open_at) if at is not None]
        return max(0.0, (self._clock.now() - min(waits)).total_seconds()) if waits else 0.0
