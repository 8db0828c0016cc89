"""The batch consumer: at-least-once delivery in, each message's effect exactly once out.

A batch always goes through these phases: drop repeats; gate phase; begin; claim the inbox, which finds the messages
that were handled before; load and lock; handlers; flush; commit; offsets. A handler is written for one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Generic, NamedTuple

import attrs

from oms.domain.errors import OmsError
from oms.engine.careful_reading import ReadingGuard
from oms.engine.deliveries import ReceivedMessage, WaitingBatch, first_offsets
from oms.engine.dependencies import ServiceDependencies
from oms.engine.group_start import LostOffsets
from oms.engine.health import Condition, ServiceHealth
from oms.engine.message_handling import MessageHandling
from oms.engine.offsets import Offsets
from oms.engine.parking import last_resort
from oms.engine.poison_guard import MAX_ATTEMPTS, MAX_DEATHS, plan_batch
from oms.engine.retries import Failed, Succeeded, bisect, next_try
from oms.engine.service import Runnable, W
from oms.engine.unit_of_work import UnitOfWorkFactory
from oms.ports.broker import Subscription
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.ports.messages import Cause, Message, Record, Undecodable, Unread

CAREFUL = timedelta(seconds=10)
"""How long after its first batch of a partition a process notes the beginning of each batch.

A process that lived longer writes no notes. If a message kills it later, the next process that gets the partition
notes its batches again, and starts from the offset that was committed just before.
"""

MAX_DEFERRED = 1000
"""Messages that wait for their next try; no more are polled above that."""


class ConsumerState(NamedTuple):
    """The messages that a consumer keeps in memory: the batch that backs off, and the deferred messages."""

    held: WaitingBatch | None
    deferred: tuple[WaitingBatch, ...]


class Consumer(Runnable, Generic[W]):
    """One member of a service's consumer group."""

    def __init__(
        self,
        units: UnitOfWorkFactory[W],
        subscription: Subscription,
        shared: ServiceDependencies,
        health: ServiceHealth,
    ) -> None:
        self._service, self._subscription = units.service, subscription
        self._codec, self._clock, self._telemetry = shared.codec, shared.clock, shared.telemetry
        self._batch, self._health = shared.batch, health
        self._handling = MessageHandling(units, shared)
        self._offsets = Offsets()
        store, group = units.service.store, units.service.group
        self._offsets_lost = LostOffsets(store, group, subscription, shared.telemetry)
        self._reading = ReadingGuard(store, group, subscription, shared.clock, shared.telemetry)
        self._held: WaitingBatch | None = None
        self._deferred: list[WaitingBatch] = []

    def run_once(self) -> int:
        """Handle one batch; returns the number of messages that are done: handled, parked or skipped."""
        self._forget_lost()
        self._report_access()
        batch = self._next_batch()
        if batch is None:
            return 0
        try:
            if not batch.is_noted:
                batch = self._guarded(batch)
            done = self._handle(batch.messages)
        except (Retryable, OutcomeUnknown) as error:
            self._hold(batch, error)
            return 0
        self._health.succeeded(Condition.WORK_FAILING, "batch")
        self._commit()
        return done

    def next_due(self) -> datetime | None:
        """Return when a waiting batch is tried again. Deferred messages wait until no batch is held."""
        if self._held:
            return self._held.due_at
        dues = [self._reading.next_due(), *(waiting.due_at for waiting in self._deferred)]
        return min((due for due in dues if due is not None), default=None)

    def holds_messages(self) -> bool:
        """Whether messages wait in memory for their next try."""
        return self._held is not None or bool(self._deferred)

    def inspect(self) -> ConsumerState:
        """Return the messages that wait in memory, for tests and the simulator."""
        return ConsumerState(self._held, tuple(self._deferred))

    def wait(self, timeout_s: float) -> bool:
        """Wait for records or changes of the group, as `Subscription.wait`."""
        return self._reading.wait(timeout_s)

    def stop(self) -> None:
        """Give the partitions back. No batch is under way, so the notes of their beginnings are removed."""
        open_partitions = sorted(self._offsets.partitions())
        try:
            self._reading.stop()
            if open_partitions:
                self._service.store.clear_attempts(self._service.group, open_partitions)
        finally:
            self._subscription.close()

    def _next_batch(self) -> WaitingBatch | None:
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
                return attrs.evolve(waiting, is_noted=False)
        return self._polled(now)

    def _polled(self, now: datetime) -> WaitingBatch | None:
        room = self._batch if sum(len(waiting.messages) for waiting in self._deferred) < MAX_DEFERRED else 0
        unread = self._open_partitions() if room else ()
        if unread:
            self._offsets.give_out(unread, now)
            fault = Unread(f"{MAX_DEATHS} processes died reading the message, which is in the log")
            return WaitingBatch(now, [self._without_event(record, fault) for record in unread], is_noted=False)
        records = self._reading.poll(room)
        if not records:
            return None
        self._offsets.give_out(records, now)
        return WaitingBatch(now, [self._decoded(record) for record in records], is_noted=False)

    def _open_partitions(self) -> Sequence[Record]:
        """Open newly assigned partitions; returns records that are to be parked without being read."""
        try:
            self._offsets_lost.look(self._clock.now())
            return self._reading.before_poll()
        except (Retryable, OutcomeUnknown):
            self._subscription.poll(0)  # the group removes a member that doesn't poll
            raise

    def _guarded(self, found: WaitingBatch) -> WaitingBatch:
        """Note in the store that a batch begins, and reduce it if earlier processes died at its beginning.

        Only for partitions that were assigned lately. If writing the note fails, the note may be stored nevertheless;
        such a try doesn't count as a death.
        """
        group, store = self._service.group, self._service.store
        careful = self._offsets.begun_after(self._clock.steady() - CAREFUL)
        first = {at: offset for at, offset in first_offsets(found.messages).items() if at in careful} if careful else {}
        if not first:
            return found
        plan = plan_batch(found.messages, store.start_attempts(group, first), found.failures)
        if plan.cleared:
            store.clear_attempts(group, plan.cleared)
        if plan.later:
            self._deferred.append(WaitingBatch(self._clock.steady(), plan.later))
        return WaitingBatch(found.due_at, plan.now)

    def _decoded(self, record: Record) -> ReceivedMessage:
        try:
            message = self._codec.decode(record)
        except Undecodable as error:
            return self._without_event(record, error)
        return ReceivedMessage(message, self._service.inbox_id(message))

    def _without_event(self, record: Record, fault: Undecodable) -> ReceivedMessage:
        message = Message(self._codec.name(record), None, Cause(), record)
        return ReceivedMessage(message, message.id, fault=fault)

    def _handle(self, messages: Sequence[ReceivedMessage]) -> int:
        """Handle messages, and skip those of the Spring system that name no order; returns how many are done."""
        legacy = [one for one in messages if one.message.event is None and one.fault is None]
        if legacy:
            self._telemetry.count("messages_legacy", len(legacy), group=self._service.group)
            self._offsets.done(one.message.record for one in legacy)
            messages = [one for one in messages if one.message.event is not None or one.fault is not None]
        return len(legacy) + self._settle(messages)

    def _settle(self, messages: Sequence[ReceivedMessage]) -> int:
        """Handle messages, defer those that fail for the time being, and bisect a batch that the store refuses."""
        done = 0
        for outcome in bisect(messages, self._handling.handle) if messages else ():
            match outcome:
                case Succeeded(items, later):
                    done += self._settle_others(items, later) if later else self._done(items)
                case Failed(item, error):
                    done += self._refused(item, error)
        return done

    def _settle_others(self, messages: Sequence[ReceivedMessage], later: Sequence[ReceivedMessage]) -> int:
        """Handle the messages of a batch again without those that are to be tried later."""
        records = {one.message.record for one in later}
        self._defer(later)
        return self._settle([one for one in messages if one.message.record not in records])

    def _done(self, messages: Sequence[ReceivedMessage]) -> int:
        self._offsets.done(one.message.record for one in messages)
        self._telemetry.count("messages_handled", len(messages), group=self._service.group)
        self._telemetry.count("batches_handled", group=self._service.group)
        return len(messages)

    def _refused(self, one: ReceivedMessage, error: Exception) -> int:
        """Deal with a single message that the store or the gate refuses: parked for a clear error, else tried again."""
        if one.fault is not None:  # the store refuses its dead letter
            bare = [attrs.evolve(one, is_bare=True)]
            last_resort(lambda: self._park_bare(bare), error)
            return self._done([one])
        is_parked = isinstance(error, OmsError) or one.attempts >= MAX_ATTEMPTS
        due_at = None if is_parked else next_try(self._clock.now(), one.attempts + 1)
        self._handling.report("message refused", one, error, due_at)
        if is_parked:
            self._deferred.append(WaitingBatch(self._clock.steady(), [attrs.evolve(one, fault=error)]))
        else:
            self._defer([attrs.evolve(one, attempts=one.attempts + 1, runs=one.runs + 1)])
        return 0

    def _park_bare(self, bare: Sequence[ReceivedMessage]) -> None:
        self._handling.handle(bare)

    def _defer(self, messages: Sequence[ReceivedMessage]) -> None:
        """Try messages again later. Their process is alive, so the notes of their batch are removed."""
        self._service.store.clear_attempts(self._service.group, sorted(first_offsets(messages)))
        now = self._clock.steady()
        self._deferred += [WaitingBatch(next_try(now, one.attempts), [one]) for one in messages]
        self._telemetry.count("messages_deferred", len(messages), group=self._service.group)

    def _hold(self, batch: WaitingBatch, error: Exception) -> None:
        failures = batch.failures + 1
        due_at, is_noted = next_try(self._clock.steady(), failures), batch.is_noted
        if (is_noted or isinstance(error, OutcomeUnknown)) and self._removed_note(batch):
            is_noted = False
        self._held = attrs.evolve(batch, due_at=due_at, failures=failures, is_noted=is_noted)
        self._telemetry.count("batches_held", 1, group=self._service.group, cause=type(error).__name__)
        self._health.failed(Condition.WORK_FAILING, "batch", f"a batch of messages waits: {error}")

    def _removed_note(self, batch: WaitingBatch) -> bool:
        """Remove the note of a batch that failed without a death, so that no later process counts one."""
        try:
            self._service.store.clear_attempts(self._service.group, sorted(first_offsets(batch.messages)))
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
            self._held = self._held.without(lost)
            if self._held is None:  # the partitions' new reader has the batch
                self._health.succeeded(Condition.WORK_FAILING, "batch")
        self._deferred = [kept for waiting in self._deferred if (kept := waiting.without(lost))]
