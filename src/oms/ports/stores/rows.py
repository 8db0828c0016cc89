"""The rows that every store has besides its aggregates: outbox, tasks, dead letters, idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

import attrs

from oms.domain.tasks import TaskKey, TaskKind, TaskRequest
from oms.domain.text import storable_text
from oms.ports import limits
from oms.ports.messages import Headers, Outgoing

A = TypeVar("A")


@attrs.frozen
class OutboxRow:
    """A message that is committed and not published yet. Its first lease belongs to the process that wrote it."""

    id: str
    message: Outgoing
    leased_until: datetime | None = None


@attrs.frozen
class Task:
    """A claimed task. `lease` is the fencing token with which the owner finishes it.

    `attempts` is the number of claims, including this one. `called_at` is the time of the first claim for the current
    call. If `repeat` is true, the task was claimed before, so its call may have been sent and its outcome is unknown.
    """

    kind: TaskKind
    key: str
    payload: str
    lease: str
    attempts: int
    created_at: datetime
    called_at: datetime
    repeat: bool
    trace: str | None = None
    id: TaskKey = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: TaskKey(self.kind, self.key), takes_self=True)
    )
    """Kind and key together, which identify the task."""


@attrs.frozen
class Postponed:
    """A claimed task that isn't done and is due again at `due_at`.

    With `afresh`, its next claim is treated as the first one for its call: `repeat` is then false.
    """

    task: Task
    due_at: datetime
    afresh: bool = False
    note: str = attrs.field(default="", converter=storable_text)


class DeadLetterState(Enum):
    """The state of a dead letter: PARKED until an operator redrives or discards it."""

    PARKED = "PARKED"
    REDRIVEN = "REDRIVEN"
    DISCARDED = "DISCARDED"


def _group(text: object) -> str:
    return storable_text(text, limits.ID)


def _message_id(text: object) -> str:
    return storable_text(text, limits.TASK_KEY)


def _topic(text: object) -> str:
    return storable_text(text, limits.TOPIC)


def _cause(text: object) -> str:
    return storable_text(text, limits.CAUSE)


def _order_id(text: object) -> str | None:
    return None if text is None else storable_text(text, limits.ID)


def _storable_names(headers: Headers) -> Headers:
    return tuple((storable_text(name, limits.HEADER), value) for name, value in headers)


@attrs.frozen
class DeadLetter:
    """A message or task that couldn't be handled, with everything needed to redrive it.

    For a task, `topic` is `task:<kind>`. Texts may come from any source, such as the error of a shop's own code. They
    are made storable here, so that no text can keep a store from writing a dead letter.
    """

    id: str
    group: str = attrs.field(converter=_group)
    message_id: str = attrs.field(converter=_message_id)
    topic: str = attrs.field(converter=_topic)
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = attrs.field(converter=_storable_names)
    cause: str = attrs.field(converter=_cause)
    detail: str = attrs.field(converter=storable_text)
    attempts: int
    parked_at: datetime
    state: DeadLetterState = DeadLetterState.PARKED
    order_id: str | None = attrs.field(default=None, converter=_order_id)


@attrs.frozen
class DeadLetterSummary:
    """A dead letter without its content (key, value, headers), for lists."""

    id: str
    group: str
    topic: str
    partition: int
    offset: int
    cause: str
    detail: str
    attempts: int
    parked_at: datetime
    state: DeadLetterState
    order_id: str | None


def summary_of(letter: DeadLetter) -> DeadLetterSummary:
    """Return the summary of a dead letter."""
    return DeadLetterSummary(**{field.name: getattr(letter, field.name) for field in attrs.fields(DeadLetterSummary)})


@attrs.frozen
class StoredResponse:
    """The response to a command with an idempotency key: `body` is the command's result as JSON."""

    scope: str
    key: str
    fingerprint: str
    body: str


@attrs.frozen
class Delivery:
    """The rows that a transaction writes in addition to its aggregates, in bulk.

    A store removes the tasks `ended` before it writes the new `tasks`.
    """

    outbox: Sequence[OutboxRow] = ()
    tasks: Sequence[TaskRequest] = ()
    ended: Sequence[TaskKey] = ()
    postponed: Sequence[Postponed] = ()
    parked: Sequence[DeadLetter] = ()


@attrs.frozen
class Backlog:
    """The work that waits in a store: the numbers of rows, and the times since which they wait."""

    oldest_outbox_at: datetime | None
    outbox: int
    tasks_due: int
    parked: int
    oldest_open_at: datetime | None = None
    """Order service: the time of creation of the oldest order for which inventory hasn't sent a result yet."""


@attrs.frozen
class Page(Generic[A]):
    """One page of a list. `number` counts pages from 0; `total` is the number of items in all pages."""

    content: tuple[A, ...]
    number: int
    size: int
    total: int
