"""Logs and counts errors of a shop's own code that a service calls, and reports which of its calls keep failing."""

from __future__ import annotations

from datetime import datetime

from oms.domain.tasks import TaskKind, call_of, order_of
from oms.domain.text import storable_text
from oms.engine.health import Condition, ServiceHealth
from oms.engine.service import NOT_CALLED
from oms.ports.call_executor import Ended
from oms.ports.extensions import NotAttempted, Unanswered
from oms.ports.stores.rows import Task
from oms.ports.telemetry import Telemetry

LOG_EVERY = 10
"""An error is logged at a task's first attempt, and again at each tenth."""


class CallHealth:
    """Records the outcomes of one service's outside calls. With an empty `extension`, it records nothing."""

    def __init__(self, extension: str, telemetry: Telemetry, health: ServiceHealth) -> None:
        self._extension, self._telemetry, self._health = extension, telemetry, health
        self._blocked = False

    def ended(self, one: Ended[Task], next_try_at: datetime | None) -> None:
        """Record the outcome of a task; `next_try_at` is None if the task is finished.

        An answer that leaves its task open is no success: a look-up that finds nothing doesn't hide that the call which
        it is about keeps failing.
        """
        if not self._extension or one.answer is NOT_CALLED:
            return
        kind, task = _kind(one.token), one.token
        if not _failed(one):
            if next_try_at is None:
                self._health.succeeded(Condition.CALLS_FAILING, kind)
            return
        error = _name(one)
        count_error(self._telemetry, self._extension, error)
        if task.attempts == 1 or task.attempts % LOG_EVERY == 0 or next_try_at is None:
            self._log(one, kind, next_try_at)
        detail = f"{self._extension}: calls of {kind!r} fail ({error})"
        fields = {"extension": self._extension, "call": kind, "error": error}
        self._health.failed(Condition.CALLS_FAILING, kind, detail, waits=next_try_at is not None, fields=fields)

    def parked(self, one: Ended[Task], error: Exception) -> None:
        """Record that a task is parked: its call failed permanently, or its result can't be applied."""
        if _failed(one):
            self.ended(one, None)
            return
        if self._extension:
            count_error(self._telemetry, self._extension, type(error).__name__)
        task = one.token
        fields = {"task": task.kind.value, "order_id": order_of(task.kind, task.key), "attempt": task.attempts}
        self._telemetry.failure("result not applied", error, **fields)

    def look(self, *, blocked: bool) -> None:
        """Record whether calls are blocked, and raise an alert when that begins."""
        self._health.record.look()
        if blocked == self._blocked:
            return
        self._blocked = blocked
        if not blocked:
            self._health.succeeded(Condition.CALLS_BLOCKED, self._extension)
            self._telemetry.note("calls are made again", extension=self._extension)
            return
        self._telemetry.alert("calls blocked", extension=self._extension)
        detail = f"{self._extension}: no call is made until some of the abandoned ones return"
        self._health.failed(Condition.CALLS_BLOCKED, self._extension, detail, opens_after=1)

    def _log(self, one: Ended[Task], kind: str, next_try_at: datetime | None) -> None:
        fields: dict[str, object] = {
            "extension": self._extension,
            "call": kind,
            "order_id": order_of(one.token.kind, one.token.key),
            "attempt": one.token.attempts,
            "next_try_at": next_try_at.isoformat() if next_try_at else None,
        }
        if one.error is None:
            fields["error"], fields["detail"] = _name(one), storable_text(getattr(one.answer, "detail", ""))
        self._telemetry.failure("call failed", one.error, **fields)


def count_error(telemetry: Telemetry, extension: str, error: str) -> None:
    """Count an error of a shop's own code, by extension and by the name of its type."""
    telemetry.count("extension_errors", extension=extension, error=storable_text(error, 64))


def _failed(one: Ended[Task]) -> bool:
    return one.error is not None or isinstance(one.answer, NotAttempted | Unanswered)


def _name(one: Ended[Task]) -> str:
    return storable_text(type(one.error if one.error is not None else one.answer).__name__, 64)


def _kind(task: Task) -> str:
    return call_of(task.key)[0] if task.kind is TaskKind.CALL else task.kind.value
