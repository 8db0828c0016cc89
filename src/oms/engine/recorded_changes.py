"""The changes that a unit of work has recorded so far, and the identity map that its handlers use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import attrs

from oms.domain.state_machine import Transition
from oms.domain.tasks import TaskKey, TaskRequest
from oms.ports.messages import AnyEvent, Cause
from oms.ports.stores.rows import DeadLetter, OutboxRow, Postponed

A = TypeVar("A")
K = TypeVar("K")


@attrs.define
class RecordedChanges:
    """Events, tasks and log lines of a batch, in the order in which its handlers decided them.

    `cause` is the message that is handled at present; every event records it. `notes`, `alerts` and `counts` reach the
    telemetry after the commit, and never for a batch that was rolled back.
    """

    cause: Cause = attrs.field(factory=Cause)
    events: list[tuple[AnyEvent, Cause]] = attrs.field(factory=list)
    tasks: list[TaskRequest] = attrs.field(factory=list)
    ended: list[TaskKey] = attrs.field(factory=list)
    postponed: list[Postponed] = attrs.field(factory=list)
    parked: list[DeadLetter] = attrs.field(factory=list)
    resent: list[OutboxRow] = attrs.field(factory=list)
    """Messages to publish once more, unchanged; each row has the id of its dead letter."""

    notes: list[tuple[str, Mapping[str, object]]] = attrs.field(factory=list)
    alerts: list[tuple[str, Mapping[str, object]]] = attrs.field(factory=list)
    counts: list[str] = attrs.field(factory=list)
    """Names of counters without labels; each entry adds one."""

    def publish(self, event: AnyEvent) -> None:
        """Publish an event after the commit."""
        self.events.append((event, self.cause))

    def owe(self, task: TaskRequest) -> None:
        """Start a task after the commit, in the same trace."""
        self.tasks.append(attrs.evolve(task, trace=self.cause.traceparent) if self.cause.traceparent else task)

    def take(self, transition: Transition[A], order_id: str) -> A:
        """Record what a transition decided; returns its aggregate."""
        for event in transition.events:
            self.publish(event)
        for task in transition.tasks:
            self.owe(task)
        self.ended.extend(transition.ended)
        if transition.ended and self.tasks:  # a timer that starts and ends in one unit of work was never there
            self.tasks = [task for task in self.tasks if TaskKey(task.kind, task.key) not in transition.ended]
        if transition.alert:
            self.alerts.append((transition.alert, {"order_id": order_id, **transition.alert_fields}))
        return transition.aggregate

    def note(self, event: str, **fields: object) -> None:
        """Log an event after the commit."""
        self.notes.append((event, fields))

    def count(self, name: str) -> None:
        """Add one to a counter without labels after the commit; `Service.counters` must name it."""
        self.counts.append(name)


class IdentityMap(Generic[K, A]):
    """One object for each key within a unit of work: as it was loaded, and as it is now."""

    def __init__(self, absent: Callable[[K], A]) -> None:
        self._absent = absent
        self._before: dict[K, A] = {}
        self._now: dict[K, A] = {}

    def load(self, rows: Mapping[K, A]) -> None:
        """Add rows as they were read under lock."""
        self._before.update(rows)
        self._now.update(rows)

    def __getitem__(self, key: K) -> A:
        found = self._now.get(key)
        if found is None:
            found = self._before[key] = self._now[key] = self._absent(key)
        return found

    def __setitem__(self, key: K, value: A) -> None:
        _ = self[key]
        self._now[key] = value

    def changes(self) -> list[tuple[A, A]]:
        """Return (before, after) of every object that has changed."""
        return [(self._before[key], now) for key, now in self._now.items() if now is not self._before[key]]
