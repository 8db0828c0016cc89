"""Handles messages in one unit of work: inbox, handlers, and the dead letters of messages that can't be handled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic

import attrs

from oms.domain.errors import OmsError
from oms.engine.call_health import LOG_EVERY, count_error
from oms.engine.deliveries import ReceivedMessage
from oms.engine.dependencies import ServiceDependencies
from oms.engine.parking import Failure, message_letter, without_texts
from oms.engine.poison_guard import MAX_ATTEMPTS
from oms.engine.retries import next_try
from oms.engine.service import W
from oms.engine.unit_of_work import UnitOfWork, UnitOfWorkFactory
from oms.ports.errors import Permanent, Retryable
from oms.ports.messages import Cause, MessageId


class MessageHandling(Generic[W]):
    """Runs the handlers of one service. Errors of a handler concern its message alone; all others are raised."""

    def __init__(self, units: UnitOfWorkFactory[W], shared: ServiceDependencies) -> None:
        self._units, self._service = units, units.service
        self._codec, self._clock, self._ids, self._telemetry = shared.codec, shared.clock, shared.ids, shared.telemetry

    def handle(self, messages: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
        """Handle messages in one transaction. Returns those that have to be tried again later.

        If there are any, the transaction is rolled back: no message of the batch has taken effect.
        """
        copies: dict[MessageId, ReceivedMessage] = {}
        for one in messages:
            copies.setdefault(one.inbox_id, one)
        open_work = self._service.open
        if self._service.prepare is not None:
            open_work = self._service.prepare([one.message for one in copies.values() if one.fault is None])
        with self._units.open(open_work) as unit:
            claimed = frozenset(unit.transaction.claim_inbox(self._service.group, sorted(copies)))
            later = self._run_handlers(unit, [one for name, one in copies.items() if name in claimed])
            if later:
                unit.roll_back()
        return later

    def report(self, event: str, one: ReceivedMessage, error: Exception, next_try_at: datetime | None) -> None:
        """Log an error at the first try, at each tenth, and when its message is parked (`next_try_at` None)."""
        if self._service.own_handlers:
            count_error(self._telemetry, self._service.extension, type(error).__name__)
        if next_try_at is not None and one.runs != 1 and one.runs % LOG_EVERY != 0:
            return
        fields: dict[str, object] = {
            "group": self._service.group,
            "topic": one.message.record.topic,
            "order_id": one.message.event.order_id if one.message.event is not None else None,
            "attempt": one.runs,
            "next_try_at": next_try_at.isoformat() if next_try_at else None,
        }
        self._telemetry.failure(event, error, **fields)

    def _run_handlers(self, unit: UnitOfWork[W], messages: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
        unit.work.load([one.message.event for one in messages if one.message.event is not None and one.fault is None])
        later = []
        for one in messages:
            if one.fault is not None:
                self._park(unit, one, one.fault)
                continue
            failed = self._try(unit, one)
            if failed is not None:
                later.append(failed)
        return later

    def _try(self, unit: UnitOfWork[W], one: ReceivedMessage) -> ReceivedMessage | None:
        """Run one handler. It saves only at its end, so a failed handler leaves no change in the unit of work."""
        message = one.message
        unit.work.changes.cause = Cause(message.id, message.cause.traceparent)
        handler = self._service.routes[message.record.topic]
        try:
            handler(message.event, unit.work)  # type: ignore[arg-type]
        except Retryable as error:
            return self._again(one, error, one.attempts)
        except (OmsError, Permanent) as error:
            self.report("handler failed", one, error, None)
            self._park(unit, one, error)
        except Exception as error:  # noqa: BLE001 - the cause is unclear: tried again, and finally parked
            if one.attempts < MAX_ATTEMPTS:
                return self._again(one, error, one.attempts + 1)
            self.report("handler failed", one, error, None)
            self._park(unit, one, error)
        return None

    def _again(self, one: ReceivedMessage, error: Exception, attempts: int) -> ReceivedMessage:
        self.report("handler failed", one, error, next_try(self._clock.now(), attempts))
        return attrs.evolve(one, attempts=attempts, runs=one.runs + 1)

    def _park(self, unit: UnitOfWork[W], one: ReceivedMessage, error: Exception) -> None:
        event = one.message.event
        letter = message_letter(
            one.message,
            Failure(error, one.attempts, self._clock.now()),
            self._service.group,
            letter_id=self._ids.token(),
            inbox_id=one.inbox_id,
            order_id=event.order_id if event is not None else self._codec.order_of(one.message.record),
        )
        if one.is_bare:
            letter = without_texts(letter)
        unit.work.changes.parked.append(letter)
        fields = {"topic": letter.topic, "cause": letter.cause, "dead_letter": letter.id, "order_id": letter.order_id}
        unit.work.changes.alerts.append(("message parked", fields))
