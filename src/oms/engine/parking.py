"""Builds dead letters, and makes sure that one can always be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID, uuid5

import attrs

from oms.domain.tasks import TaskKey, TaskKind, order_of
from oms.domain.text import storable_text
from oms.engine.dead_letter_copies import UNPUBLISHABLE
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.ports.messages import Message, MessageId, Record
from oms.ports.stores.rows import DeadLetter, DeadLetterState, OutboxRow, Task
from oms.ports.stores.store import Transaction

_TASKS = UUID("0d9fb1f0-5c2f-5a76-9d43-7c2a4b8e6f15")
"""Namespace of the ids of tasks' dead letters. It never changes, because stored letters have these ids."""

REFUSED_BY_STORE = "the store refused the full dead letter"


@attrs.frozen
class Failure:
    """Why something is parked: the error, how often it was tried, and when the last try failed.

    `detail` is kept as text; None means the text of the error itself.
    """

    error: Exception
    attempts: int
    at: datetime
    detail: object = None


def message_letter(
    message: Message, failure: Failure, group: str, *, letter_id: str, inbox_id: MessageId, order_id: str | None
) -> DeadLetter:
    """Return the dead letter of a message: its original bytes, its place in the log, and the failure."""
    record = message.record
    if record.oversized is not None:
        record = attrs.evolve(record, headers=record.oversized.headers())
    return _letter(record, failure, group, letter_id, inbox_id, order_id)


def task_letter(task: Task, failure: Failure, group: str, letter_id: str) -> DeadLetter:
    """Return the dead letter of a task: its topic is `task:<kind>`, key and value are the task's own."""
    kind = task.kind.value
    record = Record(f"task:{kind}", -1, -1, task.key.encode(), task.payload.encode())
    return _letter(record, failure, group, letter_id, f"{kind}:{task.key}", order_of(task.kind, task.key))


def outbox_letter(row: OutboxRow, failure: Failure, group: str, order_id: str | None) -> DeadLetter:
    """Return the dead letter of a message that the broker refused: it has the id of its outbox row.

    A redrive writes the outbox row again under this id, so that a second refusal parks the same letter again.
    """
    message = row.message
    record = Record(message.topic, -1, -1, message.key, message.value, message.headers)
    letter = _letter(record, failure, group, row.id, row.id, order_id)
    return attrs.evolve(letter, cause=UNPUBLISHABLE)


def _letter(
    record: Record, failure: Failure, group: str, letter_id: str, message_id: str, order_id: str | None
) -> DeadLetter:
    return DeadLetter(
        id=letter_id,
        group=group,
        message_id=message_id,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        cause=type(failure.error).__name__,
        detail=failure.error if failure.detail is None else failure.detail,
        attempts=failure.attempts,
        parked_at=failure.at,
        order_id=order_id,
    )


def park(transaction: Transaction, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Return the letters for the caller to insert; parks those again that were redriven and have failed once more.

    The letter of a task, or of a message that the broker refused, has an id that a redrive finds again. A redriven
    letter is parked again under this id, with the new cause, the time at which it was first parked, and the attempts of
    both added. If the letter of a task is in another state, the task gets a further letter; a refused message doesn't.
    """
    ids = {letter.id: found for letter in letters if (found := _lasting_id(letter)) is not None}
    known = {one.id: one for one in transaction.lock_dead_letters(list(ids.values()))} if ids else {}
    fresh: list[DeadLetter] = []
    again: list[DeadLetter] = []
    for letter in letters:
        lasting_id = ids.get(letter.id, letter.id)
        before = known.get(lasting_id)
        if before is None:
            fresh.append(attrs.evolve(letter, id=lasting_id))
        elif before.state is DeadLetterState.REDRIVEN:
            attempts = before.attempts + letter.attempts
            again.append(attrs.evolve(letter, id=lasting_id, parked_at=before.parked_at, attempts=attempts))
        elif lasting_id != letter.id:
            fresh.append(letter)
    if again:
        transaction.park_again(again)
    return fresh


def _lasting_id(letter: DeadLetter) -> str | None:
    if letter.cause == UNPUBLISHABLE:
        return letter.id  # the outbox row's
    if task_of(letter) is not None:
        return str(uuid5(_TASKS, f"{letter.group}/{letter.message_id}"))
    return None


def failed_again(letter: DeadLetter, error: Exception) -> DeadLetter:
    """Return the letter as it stays parked after a redrive that failed with `error`."""
    return attrs.evolve(letter, cause=type(error).__name__, detail=error, attempts=letter.attempts + 1)


def task_of(letter: DeadLetter) -> TaskKey | None:
    """Return the task that a dead letter parked; None for the dead letter of a message."""
    kind = letter.topic.removeprefix("task:")
    if kind == letter.topic or letter.key is None:
        return None
    return TaskKey(TaskKind(kind), letter.key.decode())


def without_texts(letter: DeadLetter) -> DeadLetter:
    """Return the letter without headers and error text, for a store that refuses the full one."""
    return attrs.evolve(letter, headers=(), detail=REFUSED_BY_STORE)


def write_letter(letter: DeadLetter, write: Callable[[DeadLetter], None]) -> None:
    """Write a letter; `without_texts` if the store refuses the full one. Raises `Retryable` as `last_resort` does."""
    try:
        write(letter)
    except (Retryable, OutcomeUnknown):
        raise
    except Exception as refusal:  # noqa: BLE001 - of the letter: its texts are left out
        last_resort(lambda: write(without_texts(letter)), refusal)


def last_resort(write: Callable[[], None], refusal: Exception) -> None:
    """Write a letter `without_texts`, after the store refused the full one with `refusal`.

    Raises `Retryable` if the store refuses this one too. The caller then keeps the message or task and tries again: a
    worker never ends because a dead letter can't be written.
    """
    try:
        write()
    except (Retryable, OutcomeUnknown):
        raise
    except Exception as error:
        raise Retryable(f"a dead letter can't be stored: {storable_text(refusal)}") from error
