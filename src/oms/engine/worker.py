"""Runs the steps of one service, round by round. Threads only loop around `run_once()`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from oms.engine.health import Condition, HealthRecord, ServiceHealth
from oms.engine.retries import next_try
from oms.engine.service import Runnable
from oms.ports.broker import log_kept
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.ports.limits import IDEMPOTENCY_KEYS_KEPT
from oms.ports.stores.rows import Backlog
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry

PURGE_EVERY = timedelta(hours=1)
FIRST_PURGE = timedelta(minutes=1)
PURGE_LIMIT = 1000
PULSE_EVERY = timedelta(seconds=1)
STALLED_LOOKS = 3


class Worker:
    """Runs steps in turn. A step whose server can't be reached backs off without delaying the others."""

    def __init__(
        self,
        name: str,
        steps: Sequence[Runnable],
        clock: Clock,
        telemetry: Telemetry,
        health: ServiceHealth | None = None,
    ) -> None:
        self.name = name
        self.current = ""
        """The name of the step that runs, or ran last; may be read on any thread."""
        self.patience_s = 0.0
        """How long that step may wait for a server, by its own limit, in seconds."""
        self._health = health or HealthRecord(clock, telemetry).of(name)
        self._steps = steps
        self._clock, self._telemetry = clock, telemetry
        self._failures = [0] * len(steps)
        self._due: list[datetime | None] = [None] * len(steps)
        self._names = [type(step).__name__ for step in steps]

    def run_once(self) -> int:
        """Run every step once; returns how much they did."""
        return sum(self.run_step(index) for index in range(len(self._steps)))

    @property
    def service(self) -> str:
        """The name of the service whose steps it runs."""
        return self._health.service

    @property
    def steps(self) -> Sequence[Runnable]:
        """The steps in the order in which they run."""
        return self._steps

    def run_step(self, index: int) -> int:
        """Run one step of a round; returns how much it did, 0 while it backs off."""
        if self.backs_off(index):
            return 0
        step = self._steps[index]
        self.current, self.patience_s = self._names[index], step.patience_s
        try:
            moved = step.run_once()
        except (Retryable, OutcomeUnknown) as error:
            self._failures[index] += 1
            self._due[index] = next_try(self._clock.steady(), self._failures[index], longest_s=5.0)
            self._telemetry.count("step_retries", worker=self.name, cause=type(error).__name__)
            if self._failures[index] == 1:
                self._telemetry.note("waiting", worker=self.name, step=self.current, cause=str(error))
            self._health.failed(Condition.WORK_FAILING, self.current, f"{self.current}: {error}")
            return 0
        if self._failures[index]:
            self._failures[index], self._due[index] = 0, None
            self._health.succeeded(Condition.WORK_FAILING, self.current)
        return moved

    def backs_off(self, index: int) -> bool:
        """Whether a step backs off at present."""
        due = self._due[index]
        return due is not None and self._clock.steady() < due

    def retry_times(self) -> Sequence[datetime | None]:
        """When each step is tried again, in steady time and by its index; None for a step that doesn't back off."""
        return tuple(self._due)

    def next_due(self) -> datetime | None:
        """Return when a step that backs off is tried again, or has something to do."""
        dues = [*self._due, *(step.next_due() for step in self._steps)]
        return min((due for due in dues if due is not None), default=None)


class Retention(Runnable):
    """Removes rows or records whose retention has ended, a bounded number at once.

    `purge(now, limit)` removes at most `limit` and returns their number.
    """

    def __init__(self, purge: Callable[[datetime, int], int], clock: Clock) -> None:
        self._purge, self._clock = purge, clock
        self._due_at = clock.steady() + FIRST_PURGE

    def run_once(self) -> int:
        """Purge one batch if it is due; returns the number of removed rows."""
        now = self._clock.steady()
        if now < self._due_at:
            return 0
        removed = self._purge(self._clock.now(), PURGE_LIMIT)
        if removed < PURGE_LIMIT:
            self._due_at = now + PURGE_EVERY
        return removed


def store_retention(store: Store, clock: Clock, days: float) -> Retention:
    """Return the retention of a store: `days` for its rows, one day for idempotency keys."""
    keep = timedelta(days=days)

    def purge(now: datetime, limit: int) -> int:
        return store.purge(now - keep, keys_older_than=now - IDEMPOTENCY_KEYS_KEPT, limit=limit)

    return Retention(purge, clock)


def log_retention(purge: Callable[[datetime, int], int], clock: Clock, days: float) -> Retention:
    """Return the retention of a log that keeps records until `purge(older_than, limit)` removes them."""
    return Retention(lambda now, limit: purge(now - log_kept(days), limit), clock)


class Every(Runnable):
    """Calls a function every `seconds`; never counts as progress."""

    def __init__(self, seconds: float, call: Callable[[], None], clock: Clock) -> None:
        self._every, self._call, self._clock = timedelta(seconds=seconds), call, clock
        self._due_at = clock.steady() + self._every

    def run_once(self) -> int:
        """Call the function if it is due; after an error it stays due."""
        if self._clock.steady() >= self._due_at:
            self._call()
            self._due_at = self._clock.steady() + self._every
        return 0


class Pulse(Runnable):
    """Reads the age of a store's oldest work once a second, so that requests needn't query it.

    Reports a stalled outbox to the health record: the oldest message is older than `stalls_after_s`, and has been the
    oldest one for `STALLED_LOOKS` reads.
    """

    def __init__(
        self, store: Store, clock: Clock, health: ServiceHealth | None = None, stalls_after_s: float = math.inf
    ) -> None:
        self._store, self._clock, self._health = store, clock, health
        self._stalls_after_s = stalls_after_s
        self._oldest_outbox_at: datetime | None = None
        self._looks = 0
        self._due_at: datetime | None = None
        self.backlog: Backlog | None = None

    def run_once(self) -> int:
        """Read the backlog once a second; never counts as progress."""
        now = self._clock.steady()
        if self._due_at is None or now >= self._due_at:
            self.backlog = self._store.backlog()
            self._due_at = now + PULSE_EVERY
            self._note_outbox(self.backlog.oldest_outbox_at)
        return 0

    def _note_outbox(self, oldest_at: datetime | None) -> None:
        if self._health is None:
            return
        moved = oldest_at is None or oldest_at != self._oldest_outbox_at
        self._oldest_outbox_at, self._looks = oldest_at, 0 if moved else self._looks + 1
        if oldest_at is None or moved:
            self._health.succeeded(Condition.OUTBOX_BLOCKED, "")
            return
        age_s = (self._clock.now() - oldest_at).total_seconds()
        if self._looks >= STALLED_LOOKS and age_s > self._stalls_after_s:
            detail = f"the oldest message of the outbox has waited for {age_s:.0f} s"
            self._health.failed(Condition.OUTBOX_BLOCKED, "", detail, opens_after=1)

    def oldest_s(self) -> float:
        """Return the age in seconds of the oldest unsent message, or order that inventory hasn't handled."""
        if self.backlog is None:
            return 0.0
        waits = [at for at in (self.backlog.oldest_outbox_at, self.backlog.oldest_open_at) if at is not None]
        return max(0.0, (self._clock.now() - min(waits)).total_seconds()) if waits else 0.0
