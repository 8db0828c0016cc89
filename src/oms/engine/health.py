"""The health of one process: what fails at the moment, since when, and why.

This is the only record of it. Workers, relay, tasks, probes and watchers write to it; `/readyz`, the log, metrics
and `App.health` read it. A problem opens after several failures of one kind in a row, or a few seconds after the
first one, and ends only with a success of the same kind: no time that passes closes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum

import attrs

from oms.domain.text import storable_text
from oms.ports.clock import Clock
from oms.ports.telemetry import Telemetry

OPENS_AFTER = 3
"""Failures in a row, of one kind, until they are a problem."""

OPENS_AFTER_S = 3.0
"""A problem opens also this long after its first failure, in seconds: calls that hang fail slowly."""

MAX_SUBJECTS = 100
"""Subjects of one condition and service that are tracked at once; a step may name any number of topics and calls."""

MAX_DETAIL = 500
"""Characters of a detail that are kept."""

PROCESS = "process"
"""The `service` of conditions that concern all services of the process."""


class Condition(Enum):
    """Conditions that may fail. The value is a stable code: it is a metric's label, and `/readyz` shows it.

    A process with one of them isn't ready; with one of the last two alone, it is degraded and does all its other work.
    """

    STARTING = "starting"
    """The system isn't started, or waits for a server that it needs."""
    WORKER_FAILED = "worker_failed"
    """A worker ended with an error; so do the others, and the process."""
    WORKER_STUCK = "worker_stuck"
    """A step of a worker doesn't return."""
    WORK_FAILING = "work_failing"
    """A step of a worker fails each time, and backs off."""
    LOG_UNAVAILABLE = "log_unavailable"
    """The log (Kafka, or `broker.db`) doesn't respond, or can't be written."""
    LOCKED_OUT = "locked_out"
    """The log responds, but the service can't read: its group or a topic is refused, or missing."""
    STORE_UNAVAILABLE = "store_unavailable"
    """A service's database doesn't respond."""
    STORE_NOT_WRITABLE = "store_not_writable"
    """A service's database can be read but not written: a full disk, a standby, a missing right."""
    GATE_UNAVAILABLE = "gate_unavailable"
    """Redis doesn't respond, or refuses writes."""
    OUTBOX_BLOCKED = "outbox_blocked"
    """Messages of a topic, or the oldest message of all, can't be sent."""
    CALLS_FAILING = "calls_failing"
    """Calls of a gateway, a notifier or a step keep failing."""
    CALLS_BLOCKED = "calls_blocked"
    """Too many abandoned calls haven't returned, so no further call is made."""

    @property
    def degrades_only(self) -> bool:
        """Whether the process does all its other work meanwhile."""
        return self in (Condition.CALLS_FAILING, Condition.CALLS_BLOCKED)


@attrs.frozen
class Problem:
    """Something that fails at the moment. `detail` is for operators: it may hold addresses, names and paths.

    `subject` is what fails among its kind: a topic, a call, a worker. `since` is the first failure, in UTC; `failures`
    counts those in a row.
    """

    condition: Condition
    service: str
    subject: str
    detail: str
    since: datetime
    failures: int

    @property
    def text(self) -> str:
        """One line for an operator."""
        return self.detail if self.service == PROCESS else f"{self.service}: {self.detail}"


@attrs.frozen
class HealthReport:
    """The health of a process at one moment: `not_ready` problems stop its work, `degraded` ones don't."""

    not_ready: tuple[Problem, ...] = ()
    degraded: tuple[Problem, ...] = ()

    @property
    def status(self) -> str:
        """`ready`, `degraded` or `not ready`."""
        if self.not_ready:
            return "not ready"
        return "degraded" if self.degraded else "ready"


Key = tuple[Condition, str, str]


@attrs.frozen
class _Failing:
    """Failures in a row of one kind. `first` is steady time; `opens_after` None: not by their number."""

    count: int
    first: datetime
    since: datetime
    detail: str
    opens_after: int
    waits: bool
    fields: Mapping[str, object]


class HealthRecord:
    """The problems of one process. Safe on any thread, if each kind of failure is reported by one thread at a time.

    No method raises, and none waits: each changes one entry of a dictionary. The thread that adds or removes the entry
    of an open problem also logs it.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock, self._telemetry = clock, telemetry
        self._failing: dict[Key, _Failing] = {}
        self._open: dict[Key, Mapping[str, object]] = {}

    def of(self, service: str) -> ServiceHealth:
        """Return the part of the record for one service, and set its gauges to 0."""
        for condition in Condition:
            self._telemetry.gauge("health_problems", 0, condition=condition.value, service=service)
        return ServiceHealth(self, service)

    def failed(
        self,
        condition: Condition,
        service: str,
        subject: str,
        detail: object,
        *,
        opens_after: int = OPENS_AFTER,
        waits: bool = True,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Record a failure. The `opens_after`-th in a row is a problem, or if it `waits`, one for `OPENS_AFTER_S`.

        `fields` are those of the log lines, in place of the subject.
        """
        key, detail = (condition, service, subject), storable_text(detail, MAX_DETAIL)
        before = self._failing.get(key)
        if before is None:
            if sum(other[:2] == key[:2] for other in list(self._failing)) >= MAX_SUBJECTS:
                return
            before = _Failing(0, self._clock.steady(), self._clock.now(), detail, opens_after, waits, fields or {})
        self._failing[key] = attrs.evolve(before, count=before.count + 1, detail=detail, waits=waits)
        if before.count + 1 >= opens_after:
            self.look()

    def succeeded(self, condition: Condition, service: str, subject: str) -> None:
        """Record a success, which ends a problem of the same condition, service and subject."""
        if not self._failing:
            return
        key = (condition, service, subject)
        ended = self._failing.pop(key, None)
        if ended is not None:
            self._close(key, ended)

    def replace(self, condition: Condition, service: str, details: Mapping[str, str]) -> None:
        """Record the subjects that fail now; all other subjects of this condition have recovered."""
        for key in [key for key in list(self._failing) if key[:2] == (condition, service) and key[2] not in details]:
            self.succeeded(*key)
        for subject, detail in details.items():
            self.failed(condition, service, subject, detail, opens_after=1)

    def forget(self, service: str | None = None) -> None:
        """Drop all entries of a service, or of all services, before it starts again."""
        for key in [key for key in list(self._failing) if service in (None, key[1])]:
            self.succeeded(*key)

    def look(self) -> None:
        """Log the problems that have opened. Called regularly, because some open by time alone."""
        if not (self._failing or self._open):
            return
        for key, one in list(self._failing.items()):
            if key not in self._open and self._is_open(one):
                self._log_opened(key, one)
        for key in [key for key in list(self._open) if key not in self._failing]:
            self._close(key, None)

    def report(self) -> HealthReport:
        """Return the problems at this moment."""
        found = [
            Problem(*key, one.detail, one.since, one.count)
            for key, one in list(self._failing.items())
            if self._is_open(one)
        ]
        return HealthReport(
            tuple(one for one in found if not one.condition.degrades_only),
            tuple(one for one in found if one.condition.degrades_only),
        )

    def _is_open(self, one: _Failing) -> bool:
        waited = self._clock.steady() - one.first >= timedelta(seconds=OPENS_AFTER_S)
        return one.count >= one.opens_after or (one.waits and waited)

    def _log_opened(self, key: Key, one: _Failing) -> None:
        condition, service, subject = key
        fields = {"condition": condition.value, "service": service, **(one.fields or {"subject": subject})}
        if self._open.setdefault(key, fields) is not fields:
            return  # another thread logs it
        self._set_gauge(key)
        event = "degraded" if condition.degrades_only else "not ready"
        self._telemetry.failure(event, None, **fields, failures=one.count, cause=one.detail)

    def _close(self, key: Key, ended: _Failing | None) -> None:
        fields = self._open.pop(key, None)
        if fields is None:
            return
        self._set_gauge(key)
        lasted = {} if ended is None else {"failures": ended.count, "seconds": self._seconds_since(ended.first)}
        self._telemetry.note("recovered", **fields, **lasted)

    def _seconds_since(self, first: datetime) -> float:
        return round((self._clock.steady() - first).total_seconds(), 3)

    def _set_gauge(self, key: Key) -> None:
        condition, service, _ = key
        number = sum(other[:2] == (condition, service) for other in list(self._open))
        self._telemetry.gauge("health_problems", number, condition=condition.value, service=service)


@attrs.frozen
class ServiceHealth:
    """The part of the health record for one service."""

    record: HealthRecord
    service: str

    def failed(
        self,
        condition: Condition,
        subject: str,
        detail: object,
        *,
        opens_after: int = OPENS_AFTER,
        waits: bool = True,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """As `HealthRecord.failed`."""
        self.record.failed(
            condition, self.service, subject, detail, opens_after=opens_after, waits=waits, fields=fields
        )

    def succeeded(self, condition: Condition, subject: str) -> None:
        """As `HealthRecord.succeeded`."""
        self.record.succeeded(condition, self.service, subject)
