"""Tells of errors in a shop's own code that a service calls, and knows which of its calls keep failing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from oms.application.service import NOT_CALLED
from oms.domain.tasks import TaskKind, call_of, order_of
from oms.domain.text import storable_text
from oms.ports.calls import Ended
from oms.ports.clock import Clock
from oms.ports.plugs import NotAttempted, Unanswered
from oms.ports.signals import Signals
from oms.ports.store import Task

DEGRADED_AFTER = 3
"""Calls that fail in a row, of one kind, until that kind counts as degraded."""

DEGRADED_AFTER_S = 3.0
"""Or so long after the first of them, where one will be tried again: calls that hang fail slowly."""

TELL_EVERY = 10
"""An error is logged at a task's first attempt, and again at each tenth."""

MAX_KINDS = 100
"""Kinds of calls that are watched at once; a step has one for each name of its calls."""


@attrs.frozen
class Failing:
    """A kind of call whose last calls have all failed. `since` is steady time; `error` names the last one's type."""

    count: int
    since: datetime
    error: str
    retried: bool
    told: bool = False


class CallHealth:
    """The outcomes of one service's outside calls. `extension` says whose code they call; empty: nothing is watched."""

    def __init__(self, extension: str, clock: Clock, signals: Signals) -> None:
        self._extension, self._clock, self._signals = extension, clock, signals
        self._failing: dict[str, Failing] = {}
        self._blocked = False

    def ended(self, one: Ended[Task], next_try_at: datetime | None) -> None:
        """Note the outcome of a task; `next_try_at` is None where the task is over."""
        if not self._extension or one.answer is NOT_CALLED:
            return
        kind, task = _kind(one.token), one.token
        if not _failed(one):
            self._recovered(kind)
            return
        error = _name(one)
        count_error(self._signals, self._extension, error)
        if task.attempts == 1 or task.attempts % TELL_EVERY == 0 or next_try_at is None:
            self._tell(one, kind, next_try_at)
        before = self._failing.get(kind)
        if before is not None or len(self._failing) < MAX_KINDS:
            before = before or Failing(0, self._clock.steady(), error, retried=False)
            retried = next_try_at is not None
            self._failing[kind] = attrs.evolve(before, count=before.count + 1, error=error, retried=retried)

    def parked(self, one: Ended[Task], error: Exception) -> None:
        """Note that a task is parked: its call failed for good, or its result can't be applied."""
        if _failed(one):
            self.ended(one, None)
            return
        if self._extension:
            count_error(self._signals, self._extension, type(error).__name__)
        task = one.token
        fields = {"task": task.kind.value, "order_id": order_of(task.kind, task.key), "attempt": task.attempts}
        self._signals.failure("result not applied", error, **fields)

    def look(self, *, blocked: bool) -> None:
        """Log which kinds of calls have become degraded, and alert once where no further call is made (`blocked`)."""
        if blocked != self._blocked:
            self._blocked = blocked
            if blocked:
                self._signals.alarm("calls blocked", extension=self._extension)
            else:
                self._signals.note("calls are made again", extension=self._extension)
        for kind, failing in self._failing.items():
            if not failing.told and self._is_degraded(failing):
                self._failing[kind] = attrs.evolve(failing, told=True)
                fields = {"call": kind, "failures": failing.count, "error": failing.error}
                self._signals.failure("degraded", None, extension=self._extension, **fields)

    def degraded(self) -> Sequence[str]:
        """Say which calls keep failing, one line for each kind; safe on any thread."""
        lines = [
            f"{self._extension}: the last {one.count} calls of {kind!r} have failed ({one.error})"
            for kind, one in list(self._failing.items())
            if self._is_degraded(one)
        ]
        if self._blocked:
            lines.append(f"{self._extension}: no call is made until some of the abandoned ones return")
        return lines

    def _is_degraded(self, failing: Failing) -> bool:
        waited = self._clock.steady() - failing.since >= timedelta(seconds=DEGRADED_AFTER_S)
        return failing.count >= DEGRADED_AFTER or (failing.retried and waited)

    def _recovered(self, kind: str) -> None:
        failing = self._failing.pop(kind, None)
        if failing is not None and failing.told:
            self._signals.note("recovered", extension=self._extension, call=kind, failures=failing.count)

    def _tell(self, one: Ended[Task], kind: str, next_try_at: datetime | None) -> None:
        fields: dict[str, object] = {
            "extension": self._extension,
            "call": kind,
            "order_id": order_of(one.token.kind, one.token.key),
            "attempt": one.token.attempts,
            "next_try_at": next_try_at.isoformat() if next_try_at else None,
        }
        if one.error is None:
            fields["error"], fields["detail"] = _name(one), storable_text(getattr(one.answer, "detail", ""))
        self._signals.failure("call failed", one.error, **fields)


def count_error(signals: Signals, extension: str, error: str) -> None:
    """Count an error of a shop's own code, by whose it is and by its type's name."""
    signals.count("extension_errors", extension=extension, error=storable_text(error, 64))


def _failed(one: Ended[Task]) -> bool:
    return one.error is not None or isinstance(one.answer, NotAttempted | Unanswered)


def _name(one: Ended[Task]) -> str:
    return storable_text(type(one.error if one.error is not None else one.answer).__name__, 64)


def _kind(task: Task) -> str:
    return call_of(task.key)[0] if task.kind is TaskKind.CALL else task.kind.value
