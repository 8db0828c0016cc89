"""The batch consumer: at-least-once delivery in, each message's effect exactly once out.

The order of things in a batch is fixed: drop repeats; gate phase; begin; claim the inbox, which finds what was handled
before; load and lock; handlers; flush; commit; offsets. A handler is written for one message and never knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Generic

import attrs

from oms.domain.errors import OmsError
from oms.engine.backoff import next_try
from oms.engine.call_health import TELL_EVERY, count_error
from oms.engine.careful_reading import MAX_DEATHS, ReadingGuard
from oms.engine.group_start import LostOffsets
from oms.engine.health import Condition, HealthRecord, ServiceHealth
from oms.engine.offsets import Offsets, place, runs
from oms.engine.parking import last_resort, message_letter, without_texts
from oms.engine.service import W
from oms.engine.unit_of_work import UnitOfWork, UnitOfWorkFactory
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.clock import Clock, Ids
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.ports.messages import Cause, Codec, Message, MessageId, Record, Undecodable, Unread
from oms.ports.telemetry import Telemetry

MAX_ATTEMPTS = 5
"""Tries of a message whose handler fails for an unclear reason, or that kills its process, before it is parked."""

CAREFUL = timedelta(seconds=10)
"""So long after its first batch of a partition a process notes each one. One that has survived that no longer does:
should a message kill it, whoever gets the partition next notes again, and reads on from what was kept just before."""

MAX_DEFERRED = 1000
"""Messages that wait for their next try; no more are polled above that."""


@attrs.frozen
class Delivered:
    """A message on its way through: `fault` is why it is to be parked instead of handled.

    `bare`: the store refused its dead letter, so it is parked with one that has no texts.
    """

    message: Message
    inbox_id: MessageId
    attempts: int = 1
    fault: Exception | None = None
    bare: bool = False
    tries: int = 1
    """How often its handler has run; `attempts` doesn't count those that ended in `Retryable`."""


@attrs.frozen
class Held:
    """Messages that wait until `due_at`."""

    due_at: datetime
    batch: Sequence[Delivered]
    failures: int = 0
    noted: bool = True
    """Whether it is on record that this batch began."""


class _Deferred(Exception):
    """Rolls a unit back: some of its messages have to wait, the others are handled without them."""

    def __init__(self, messages: Sequence[Delivered]) -> None:
        super().__init__(f"{len(messages)} messages wait")
        self.messages = messages


class Consumer(Generic[W]):
    """One member of a service's consumer group."""

    def __init__(
        self,
        units: UnitOfWorkFactory[W],
        subscription: Subscription,
        codec: Codec,
        clock: Clock,
        ids: Ids,
        telemetry: Telemetry,
        *,
        batch: int = 500,
        health: ServiceHealth | None = None,
    ) -> None:
        self._service, self._subscription, self._codec = units.service, subscription, codec
        self._clock, self._ids, self._telemetry = clock, ids, telemetry
        self._units = units
        self._batch = batch
        self._health = health or HealthRecord(clock, telemetry).of(units.service.name)
        self._offsets = Offsets()
        self._offsets_lost = LostOffsets(units.service.store, units.service.group, subscription, telemetry)
        self._reading = ReadingGuard(units.service.store, units.service.group, subscription, clock, telemetry)
        self._held: Held | None = None
        self._deferred: list[Held] = []

    def run_once(self) -> int:
        """Handle one batch; answers how many messages are done with."""
        self._forget_lost()
        self._report_access()
        batch = self._next_batch()
        if batch is None:
            return 0
        try:
            if not batch.noted:
                batch = self._guarded(batch)
            done = self._handle(batch.batch)
        except (Retryable, OutcomeUnknown) as error:
            self._hold(batch, error)
            return 0
        self._health.succeeded(Condition.WORK_FAILING, "batch")
        self._commit()
        return done

    def next_due(self) -> datetime | None:
        """When something that waits here is to be tried again; what was deferred waits behind a batch that is held."""
        if self._held:
            return self._held.due_at
        dues = [self._reading.next_due(), *(held.due_at for held in self._deferred)]
        return min((due for due in dues if due is not None), default=None)

    def wait(self, timeout_s: float) -> bool:
        """Wait for records or news of the group, as `Subscription.wait`."""
        return self._reading.wait(timeout_s)

    def stop(self) -> None:
        """Give the partitions back in good order: no batch is under way, so no counter stays."""
        open_partitions = sorted(self._offsets.partitions())
        try:
            self._reading.stop()
            if open_partitions:
                self._service.store.clear_attempts(self._service.group, open_partitions)
        finally:
            self._subscription.close()

    def _next_batch(self) -> Held | None:
        now = self._clock.steady()
        if self._held:
            if self._held.due_at > now:
                self._subscription.poll(0)
                return None
            held, self._held = self._held, None
            return held
        for waiting in self._deferred:
            if waiting.due_at <= now:
                self._deferred.remove(waiting)
                return attrs.evolve(waiting, noted=False)
        room = self._batch if sum(len(held.batch) for held in self._deferred) < MAX_DEFERRED else 0
        unread = self._open_partitions() if room else ()
        if unread:
            self._offsets.give_out(unread, now)
            fault = Unread(f"{MAX_DEATHS} processes died reading the message, which is in the log")
            return Held(now, [self._without_event(record, fault) for record in unread], noted=False)
        records = self._reading.poll(room)
        if not records:
            return None
        self._offsets.give_out(records, now)
        return Held(now, [self._decoded(record) for record in records], noted=False)

    def _open_partitions(self) -> Sequence[Record]:
        """Open newly assigned partitions; returns records that are to be parked without being read."""
        try:
            self._offsets_lost.look(self._clock.now())
            return self._reading.before_poll()
        except (Retryable, OutcomeUnknown):
            self._subscription.poll(0)  # the group takes a member for dead that doesn't poll
            raise

    def _guarded(self, found: Held) -> Held:
        """Note that a batch begins, in partitions that came lately; where it began before and died, take half of it.

        Halving goes on until one message is left, and at its fifth try it is parked. The counters of the partitions
        that the smaller batch leaves out start anew, so that nobody is blamed for being in the neighbourhood. Where
        the note failed, or its answer was lost, it may be on record nevertheless: such a try isn't a death.
        """
        group, store, batch = self._service.group, self._service.store, found.batch
        careful = self._offsets.begun_after(self._clock.steady() - CAREFUL)
        first = {at: offset for at, offset in _first_offsets(batch).items() if at in careful} if careful else {}
        if not first:
            return found
        tries = store.start_attempts(group, first)
        suspect = max(sorted(tries), key=lambda partition: tries[partition])
        worst = max(1, tries[suspect] - found.failures)
        if worst == 1:
            return attrs.evolve(found, failures=0, noted=True)
        batch = sorted(batch, key=lambda one: place(one.message.record) != suspect)
        size = max(1, len(batch) >> (worst - 1))
        now_run = batch[:size]
        if size == 1 and worst >= MAX_ATTEMPTS:
            crashed = OmsError(f"the process died {worst - 1} times while it was handled")
            now_run = [attrs.evolve(batch[0], fault=crashed, attempts=worst)]
        left_out = sorted(first.keys() - _first_offsets(now_run).keys())
        if left_out:
            store.clear_attempts(group, left_out)
        if len(batch) > size:
            self._deferred.append(Held(self._clock.steady(), batch[size:]))
        return Held(found.due_at, now_run)

    def _decoded(self, record: Record) -> Delivered:
        try:
            message = self._codec.decode(record)
        except Undecodable as error:
            return self._without_event(record, error)
        return Delivered(message, self._service.inbox_id(message))

    def _without_event(self, record: Record, fault: Undecodable) -> Delivered:
        message = Message(self._codec.name(record), None, Cause(), record)
        return Delivered(message, message.id, fault=fault)

    def _handle(self, batch: Sequence[Delivered]) -> int:
        """Handle a batch; where the store refuses it for good, its halves, so that only the bad message is parked."""
        legacy = [one for one in batch if one.message.event is None and one.fault is None]
        if legacy:
            self._telemetry.count("messages_legacy", len(legacy), group=self._service.group)
            self._offsets.done(one.message.record for one in legacy)
            batch = [one for one in batch if one.message.event is not None or one.fault is not None]
        return len(legacy) + self._settle(batch)

    def _settle(self, batch: Sequence[Delivered]) -> int:
        if not batch:
            return 0
        try:
            self._unit(batch)
        except _Deferred as later:
            waiting = {one.message.record for one in later.messages}
            self._defer(later.messages)
            return self._settle([one for one in batch if one.message.record not in waiting])
        except (Retryable, OutcomeUnknown):
            raise
        except Exception as error:  # noqa: BLE001 - the store or the gate refused: find the message that is to blame
            if len(batch) > 1:
                middle = len(batch) // 2
                return self._settle(batch[:middle]) + self._settle(batch[middle:])
            if batch[0].fault is None:
                self._blame(batch[0], error)
                return 0
            last_resort(lambda: self._unit([attrs.evolve(batch[0], bare=True)]), error)
        self._offsets.done(one.message.record for one in batch)
        self._telemetry.count("messages_handled", len(batch), group=self._service.group)
        self._telemetry.count("batches_handled", group=self._service.group)
        return len(batch)

    def _unit(self, batch: Sequence[Delivered]) -> None:
        copies: dict[MessageId, Delivered] = {}
        for one in batch:
            copies.setdefault(one.inbox_id, one)
        prepared = None
        if self._service.prepare is not None:
            prepared = self._service.prepare([one.message for one in copies.values() if one.fault is None])
        with self._units.open(prepared) as unit:
            claimed = frozenset(unit.transaction.claim_inbox(self._service.group, sorted(copies)))
            self._run_handlers(unit, [one for name, one in copies.items() if name in claimed])

    def _run_handlers(self, unit: UnitOfWork[W], batch: Sequence[Delivered]) -> None:
        work = unit.work
        work.load([one.message.event for one in batch if one.message.event is not None and one.fault is None])
        later = []
        for one in batch:
            if one.fault is not None:
                self._park(unit, one, one.fault)
                continue
            failed = self._try(unit, one)
            if failed is not None:
                later.append(failed)
        if later:
            raise _Deferred(later)

    def _try(self, unit: UnitOfWork[W], one: Delivered) -> Delivered | None:
        """Run one handler. It saves as its last act, so a failure leaves nothing of it in the unit."""
        message = one.message
        unit.work.changes.cause = Cause(message.id, message.cause.traceparent)
        handler = self._service.routes[message.record.topic]
        try:
            handler(message.event, unit.work)  # type: ignore[arg-type]
        except Retryable as error:
            return self._again(one, error, one.attempts)
        except (OmsError, Permanent) as error:
            self._tell("handler failed", one, error, None)
            self._park(unit, one, error)
        except Exception as error:  # noqa: BLE001 - unclear: tried again, and parked with its cause in the end
            if one.attempts < MAX_ATTEMPTS:
                return self._again(one, error, one.attempts + 1)
            self._tell("handler failed", one, error, None)
            self._park(unit, one, error)
        return None

    def _again(self, one: Delivered, error: Exception, attempts: int) -> Delivered:
        self._tell("handler failed", one, error, next_try(self._clock.now(), attempts))
        return attrs.evolve(one, attempts=attempts, tries=one.tries + 1)

    def _tell(self, event: str, one: Delivered, error: Exception, next_try_at: datetime | None) -> None:
        """Log an error at the first try, at each tenth, and when its message is parked (`next_try_at` None)."""
        if self._service.own_handlers:
            count_error(self._telemetry, self._service.extension, type(error).__name__)
        if next_try_at is not None and one.tries != 1 and one.tries % TELL_EVERY != 0:
            return
        fields: dict[str, object] = {
            "group": self._service.group,
            "topic": one.message.record.topic,
            "order_id": one.message.event.order_id if one.message.event is not None else None,
            "attempt": one.tries,
            "next_try_at": next_try_at.isoformat() if next_try_at else None,
        }
        self._telemetry.failure(event, error, **fields)

    def _park(self, unit: UnitOfWork[W], one: Delivered, error: Exception) -> None:
        letter = message_letter(
            one.message, error, self._service.group, one.attempts, self._ids.token(), self._clock.now()
        )
        order_id = letter.order_id or self._codec.order_of(one.message.record)
        letter = attrs.evolve(letter, message_id=one.inbox_id, order_id=order_id)
        if one.bare:
            letter = without_texts(letter)
        unit.work.changes.parked.append(letter)
        fields = {"topic": letter.topic, "cause": letter.cause, "dead_letter": letter.id, "order_id": letter.order_id}
        unit.work.changes.alerts.append(("message parked", fields))

    def _blame(self, one: Delivered, error: Exception) -> None:
        """A single message that the store refuses: parked for a clear error, tried again for an unclear one."""
        is_parked = isinstance(error, OmsError) or one.attempts >= MAX_ATTEMPTS
        due_at = None if is_parked else next_try(self._clock.now(), one.attempts + 1)
        self._tell("message refused", one, error, due_at)
        if is_parked:
            self._deferred.append(Held(self._clock.steady(), [attrs.evolve(one, fault=error)]))
        else:
            self._defer([attrs.evolve(one, attempts=one.attempts + 1, tries=one.tries + 1)])

    def _defer(self, messages: Sequence[Delivered]) -> None:
        """They failed in good order, so their process isn't counted as dead."""
        self._service.store.clear_attempts(self._service.group, sorted(_first_offsets(messages)))
        now = self._clock.steady()
        self._deferred += [Held(next_try(now, one.attempts), [one]) for one in messages]
        self._telemetry.count("messages_deferred", len(messages), group=self._service.group)

    def _hold(self, batch: Held, error: Exception) -> None:
        failures = batch.failures + 1
        due_at, noted = next_try(self._clock.steady(), failures), batch.noted
        if (noted or isinstance(error, OutcomeUnknown)) and self._told_alive(batch):
            noted = False
        self._held = attrs.evolve(batch, due_at=due_at, failures=failures, noted=noted)
        self._telemetry.count("batches_held", 1, group=self._service.group, cause=type(error).__name__)
        self._health.failed(Condition.WORK_FAILING, "batch", f"a batch of messages waits: {error}")

    def _told_alive(self, batch: Held) -> bool:
        """Take its note off the record: it failed in good order, and whoever gets it next mustn't count a death."""
        try:
            self._service.store.clear_attempts(self._service.group, sorted(_first_offsets(batch.batch)))
        except (Retryable, OutcomeUnknown):
            return False
        return True

    def _commit(self) -> None:
        offsets = self._offsets.to_commit()
        if offsets:
            self._subscription.commit(offsets)

    def _report_access(self) -> None:
        refusal = self._subscription.refusal()
        if refusal is None:
            self._health.succeeded(Condition.LOCKED_OUT, "group")
        else:
            self._health.failed(Condition.LOCKED_OUT, "group", f"{self._service.group}: {refusal}", opens_after=1)

    def _forget_lost(self) -> None:
        lost = frozenset(self._subscription.lost())
        if not lost:
            return
        self._offsets.forget(lost)
        self._reading.forget(lost)
        if self._held:
            self._held = _without(self._held, lost)
            if self._held is None:  # whoever reads the partitions now has the batch
                self._health.succeeded(Condition.WORK_FAILING, "batch")
        self._deferred = [kept for held in self._deferred if (kept := _without(held, lost))]


def _first_offsets(batch: Sequence[Delivered]) -> dict[TopicPartition, int]:
    first: dict[TopicPartition, int] = {}
    for partition, some in runs(one.message.record for one in batch):
        offset = min(record.offset for record in some)
        first[partition] = min(offset, first.get(partition, offset))
    return first


def _without(held: Held, lost: frozenset[TopicPartition]) -> Held | None:
    batch = [one for one in held.batch if place(one.message.record) not in lost]
    return attrs.evolve(held, batch=batch) if batch else None
