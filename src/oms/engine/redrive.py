"""Redrives and discards dead letters: in the service that owns them, through the same handlers."""

from __future__ import annotations

from typing import Generic

import attrs

from oms.domain.errors import Conflict, NotFound
from oms.domain.tasks import TaskRequest
from oms.domain.text import storable_text
from oms.engine.dead_letter_copies import UNPUBLISHABLE
from oms.engine.parking import failed_again, task_of
from oms.engine.service import OpenWork, Service, W
from oms.engine.unit_of_work import UnitOfWork
from oms.ports.errors import Retryable
from oms.ports.messages import Cause, Codec, Message, Outgoing, Record, TooLarge, Undecodable, Unread
from oms.ports.stores.rows import DeadLetter, DeadLetterState, OutboxRow
from oms.ports.telemetry import Telemetry


class DeadLetterActions(Generic[W]):
    """Redrives and discards the dead letters of one service."""

    def __init__(self, service: Service[W], codec: Codec, telemetry: Telemetry) -> None:
        self.service = service
        self._codec, self._telemetry = codec, telemetry

    def prepare(self, letter_id: str) -> OpenWork[W] | None:
        """Run the gate phase of a redrive, before its transaction; None if the letter needs none."""
        letter = self.service.store.dead_letter(letter_id)
        if letter is None or letter.cause == UNPUBLISHABLE or task_of(letter) is not None or _lacks_content(letter):
            return None
        phase = self.service.prepare
        if phase is None:
            return None
        try:
            message = self._message(letter)
        except Undecodable:
            return None  # `redrive` records the failure
        return phase([message])

    def redrive(self, unit: UnitOfWork[W], letter_id: str) -> DeadLetter:
        """Handle the message once more (its inbox row exists already), or have the task run again.

        A task, and a message that the broker refused, are tried again after this has returned. If that fails, the
        letter is PARKED again under the same id, with the new cause.

        Raises `Conflict` if the message's handler fails again: the letter stays PARKED, with the new cause and one more
        attempt. Raises `Conflict` also if the letter doesn't have the message's content.
        """
        letter = self._locked(unit, letter_id)
        task = task_of(letter)
        if task is not None:
            payload = (letter.value or b"").decode()
            unit.work.changes.tasks.append(TaskRequest(task.kind, task.key, payload=payload))
        elif letter.cause == UNPUBLISHABLE:
            message = Outgoing(letter.topic, letter.key, letter.value or b"", letter.headers)
            unit.work.changes.resent.append(OutboxRow(letter.id, message))
        elif _lacks_content(letter):
            raise Conflict("content_not_kept", _where(letter))
        else:
            self._handle(unit, letter)
        return self._ended(unit, letter, DeadLetterState.REDRIVEN)

    def failed(self, unit: UnitOfWork[W], letter_id: str, error: Exception) -> Exception:
        """Record in a transaction of its own that the store or the gate refused a redrive permanently.

        Returns the error for the caller.
        """
        return self._failed_again(unit, self._locked(unit, letter_id), error)

    def discard(self, unit: UnitOfWork[W], letter_id: str) -> DeadLetter:
        """Discard a dead letter: it is kept as DISCARDED until its retention ends."""
        return self._ended(unit, self._locked(unit, letter_id), DeadLetterState.DISCARDED)

    def _ended(self, unit: UnitOfWork[W], letter: DeadLetter, state: DeadLetterState) -> DeadLetter:
        unit.transaction.mark_dead_letters([letter.id], state)
        return attrs.evolve(letter, state=state)

    def _locked(self, unit: UnitOfWork[W], letter_id: str) -> DeadLetter:
        for letter in unit.transaction.lock_dead_letters([letter_id]):
            if letter.state is not DeadLetterState.PARKED:
                detail = f"dead letter {letter_id} is {letter.state.value} already"
                raise Conflict("dead_letter_ended", detail)
            return letter
        raise NotFound("dead_letter_not_found", f"there is no dead letter {letter_id}")

    def _handle(self, unit: UnitOfWork[W], letter: DeadLetter) -> None:
        try:
            message = self._message(letter)
        except Undecodable as error:
            raise self._failed_again(unit, letter, error) from error
        if message.event is None:
            raise Conflict("redrive_failed", "the message names no order")
        unit.work.load([message.event])
        try:
            unit.work.changes.cause = Cause(message.id, message.cause.traceparent)
            self.service.routes[letter.topic](message.event, unit.work)
        except Retryable:
            raise
        except Exception as error:
            raise self._failed_again(unit, letter, error) from error

    def _failed_again(self, unit: UnitOfWork[W], letter: DeadLetter, error: Exception) -> Conflict:
        fields = {"group": letter.group, "topic": letter.topic, "order_id": letter.order_id}
        self._telemetry.failure("redrive failed", error, **fields)
        unit.transaction.park_again([failed_again(letter, error)])
        return Conflict("redrive_failed", f"it fails again: {storable_text(error)}")

    def _message(self, letter: DeadLetter) -> Message:
        record = Record(letter.topic, letter.partition, letter.offset, letter.key, letter.value, letter.headers)
        return self._codec.decode(record)


def _lacks_content(letter: DeadLetter) -> bool:
    """Whether the message exceeded the limits or was never read, so that its dead letter only names it."""
    return letter.value is None and letter.cause in (TooLarge.__name__, Unread.__name__)


def _where(letter: DeadLetter) -> str:
    place = f"{letter.topic}, partition {letter.partition}, offset {letter.offset}"
    return f"the dead letter doesn't hold the message, which is in the log at {place}: {letter.detail}"
