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
    """A message that a committed transaction owes to the log. Leased from birth to whoever committed it."""

    id: str
    message: Outgoing
    leased_until: datetime | None = None


@attrs.frozen
class Task:
    """A claimed task. `lease` is the fencing token by which it is finished.

    `attempts` counts the claims, this one included. `called_at` is when the call under way was first claimed: a
    task whose `repeat` is true was claimed before and its call may have gone out: its outcome is unknown.
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
    """Kind and key."""


@attrs.frozen
class Postponed:
    """A claimed task that isn't done: due again later. `afresh` forgets that a call went out."""

    task: Task
    due_at: datetime
    afresh: bool = False
    note: str = attrs.field(default="", converter=storable_text)


class DeadLetterState(Enum):
    """What became of a dead letter."""

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
    """A message (or a task: `topic` is then `task:<kind>`) that couldn't be handled, with all it takes to redo it.

    Its texts may come from anywhere, such as the error of a shop's own code. They are made storable here, so that no
    text can keep a store from taking a dead letter.
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
    """A dead letter without its content (key, value, headers): what a list shows."""

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
    """The summary of a dead letter."""
    return DeadLetterSummary(**{field.name: getattr(letter, field.name) for field in attrs.fields(DeadLetterSummary)})


@attrs.frozen
class StoredAnswer:
    """What an idempotency key was answered with: `body` is the command's result as JSON."""

    scope: str
    key: str
    fingerprint: str
    body: str


@attrs.frozen
class Delivery:
    """What a transaction owes beside its aggregates; flushed in bulk. `ended` goes before `tasks`."""

    outbox: Sequence[OutboxRow] = ()
    tasks: Sequence[TaskRequest] = ()
    ended: Sequence[TaskKey] = ()
    postponed: Sequence[Postponed] = ()
    parked: Sequence[DeadLetter] = ()


@attrs.frozen
class Backlog:
    """Work that waits in a store: since when, and how much of it."""

    oldest_outbox_at: datetime | None
    outbox: int
    tasks_due: int
    parked: int
    oldest_open_at: datetime | None = None
    """Order service: when the oldest order was created that inventory hasn't answered for."""


@attrs.frozen
class Page(Generic[A]):
    """One page of a listing, `number` from 0; `total` counts all of it."""

    content: tuple[A, ...]
    number: int
    size: int
    total: int
