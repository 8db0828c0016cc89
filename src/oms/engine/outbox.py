"""From decided events to outbox rows, and from committed rows to the log: the transactional outbox."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import attrs

from oms.engine.blocked_topics import BlockedTopics
from oms.engine.dead_letter_copies import UNPUBLISHABLE, copy_of
from oms.engine.health import HealthRecord, ServiceHealth
from oms.engine.parking import last_resort, park, without_texts
from oms.engine.recorded_changes import RecordedChanges
from oms.ports.broker import Broker
from oms.ports.clock import Clock, Ids
from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable
from oms.ports.messages import Codec, Outgoing, Record
from oms.ports.stores.rows import DeadLetter, Delivery, OutboxRow
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry

QUEUE_LIMIT = 10_000
"""Rows that wait in memory; more are left to the sweeper, so a slow broker can't fill the process."""

EXPECTED_S, LOOK_EVERY_S = 1.0, 0.02
"""How long, and how often, to look for rows that a caller was about to commit. Later, the sweeper finds them."""

MARGIN = 0.2
"""A row is sent from memory only while so much of its lease is left; else a sweeper may have it."""


class Relay:
    """Sends a service's outbox rows, first those that this process committed, then any whose lease expired.

    A row counts as sent by the broker's delivery report alone. Sending one twice is harmless, losing one isn't.
    A topic that the broker doesn't accept messages for backs off by itself; rows of all other topics go on.
    `copies` is the topic for copies of the service's dead letters.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        codec: Codec,
        clock: Clock,
        ids: Ids,
        telemetry: Telemetry,
        *,
        lease_s: float = 10.0,
        batch: int = 500,
        sweep_every_s: float = 1.0,
        forget_after_s: float = 0.0,
        group: str = "",
        copies: str = "",
        published: Callable[[], None] = lambda: None,
        woken: Callable[[], None] = lambda: None,
        health: ServiceHealth | None = None,
    ) -> None:
        self._store, self._broker, self._codec = store, broker, codec
        self._clock, self._ids, self._telemetry = clock, ids, telemetry
        self._lease_s, self._batch, self._group, self._copies = lease_s, batch, group, copies
        self._sweep_every_s, self._published, self._woken = sweep_every_s, published, woken
        self._forget_after_s, self._forget_at = forget_after_s, clock.steady()
        self._queue: deque[OutboxRow] = deque()
        self._sent: list[str] = []
        self._announced: deque[str] = deque(maxlen=QUEUE_LIMIT)
        self._expected: set[str] = set()
        self._expected_until = clock.steady()
        self._sweep_at: datetime | None = None
        self._blocked = BlockedTopics(group, clock, telemetry, health or HealthRecord(clock, telemetry).of(group))

    def rows(self, changes: RecordedChanges, *, leased: bool = True) -> list[OutboxRow]:
        """The rows of what was decided, born leased to this process unless somebody else commits them.

        A dead letter owes its copy to the topic `copies`.
        """
        if not (changes.events or changes.parked or changes.resent):
            return []
        now = self._clock.now()
        messages = [self._codec.encode(event, cause, now) for event, cause in changes.events]
        owed = self._owed([*messages, *self._copies_of(changes.parked)], now, leased=leased)
        return [*owed, *(attrs.evolve(row, leased_until=self._until(now, leased=leased)) for row in changes.resent)]

    @property
    def patience_s(self) -> float:
        """How long a batch may wait for its delivery reports: while it is leased."""
        return self._lease_s

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Rows that were just committed, on any thread; what doesn't fit is left to the sweeper."""
        room = QUEUE_LIMIT - len(self._queue)
        self._queue.extend(rows[:room])
        if rows:
            self._woken()

    def expect(self, rows: Sequence[OutboxRow]) -> None:
        """Look often, for a second, for rows that a caller is about to commit on its own connection; on any thread."""
        self._announced.extend(row.id for row in rows)
        if rows:
            self._woken()

    def run_once(self) -> int:
        """Send one batch; answers how many rows were sent."""
        now = self._clock.steady()
        self._forget_sent(now)
        self._note_announced(now)
        first = self._swept(now) if self._expected else ()
        rows = first or self._from_memory(now) or self._swept(now)
        return self._send(rows) if rows else 0

    def next_due(self) -> datetime | None:
        """When to try a blocked topic again, remove the rows of sent messages, or look for expected rows."""
        looks = (self._forget_at if self._sent else None, self._sweep_at if self._expected else None)
        waits = (self._blocked.next_due(), *looks)
        return min((due for due in waits if due is not None), default=None)

    def waiting_topics(self) -> Sequence[str]:
        """The topics that back off at present: their rows stay where they are."""
        return self._blocked.waiting(self._clock.steady()) if self._blocked else ()

    def give_back(self) -> None:
        """The process stops: another one may send at once the rows that this one holds."""
        self._forget_sent(self._forget_at)
        self._store.return_outbox([row.id for row in (*self._queue, *self._blocked.give_up())])
        self._queue.clear()

    def _copies_of(self, letters: Sequence[DeadLetter]) -> list[Outgoing]:
        copies = (copy_of(letter, self._copies) for letter in letters)
        return [copy for copy in copies if copy is not None]

    def _owed(self, messages: Sequence[Outgoing], now: datetime, *, leased: bool = True) -> list[OutboxRow]:
        until = self._until(now, leased=leased)
        return [OutboxRow(self._ids.token(), message, until) for message in messages]

    def _until(self, now: datetime, *, leased: bool) -> datetime | None:
        return now + timedelta(seconds=self._lease_s) if leased else None

    def _from_memory(self, now: datetime) -> list[OutboxRow]:
        still = self._clock.now() + timedelta(seconds=self._lease_s * MARGIN)
        if not self._blocked:
            return self._popped(self._batch, still)
        rows = self._blocked.take_due(now, still)
        while self._queue and len(rows) < self._batch:
            rows += self._blocked.admit(self._popped(self._batch - len(rows), still), now, rows)
        return rows

    def _popped(self, limit: int, still: datetime) -> list[OutboxRow]:
        rows: list[OutboxRow] = []
        while self._queue and len(rows) < limit:
            row = self._queue.popleft()
            if row.leased_until is not None and row.leased_until > still:
                rows.append(row)
        return rows

    def _swept(self, now: datetime) -> Sequence[OutboxRow]:
        early = self._sweep_at is not None and now < self._sweep_at
        if early and not (self._blocked and self._blocked.wants_look(now)):
            return ()
        rows = self._store.claim_outbox(self._batch, self._lease_s, self.waiting_topics())
        more = len(rows) == self._batch
        self._expected.difference_update(row.id for row in rows)
        every_s = min(LOOK_EVERY_S, self._sweep_every_s) if self._expected else self._sweep_every_s
        self._sweep_at = None if more else now + timedelta(seconds=every_s)
        if not self._blocked:
            return rows
        if not more:
            self._blocked.looked(now, rows)
        return self._blocked.admit(rows, now)

    def _note_announced(self, now: datetime) -> None:
        if self._announced:
            while self._announced:
                self._expected.add(self._announced.popleft())
            self._expected_until, self._sweep_at = now + timedelta(seconds=EXPECTED_S), None
        elif self._expected and now >= self._expected_until:
            self._expected.clear()

    def _send(self, rows: Sequence[OutboxRow]) -> int:
        reports = self._broker.publish([row.message for row in rows])
        refused = [(row, error) for row, error in zip(rows, reports, strict=True) if isinstance(error, Permanent)]
        sent = [row.id for row, error in zip(rows, reports, strict=True) if error is None]
        self._note_sent(sent)
        again = [
            (row, error)
            for row, error in zip(rows, reports, strict=True)
            if error is not None and not isinstance(error, Permanent)
        ]
        for row, error in refused:
            self._park(row, error)
        if again or self._blocked:
            self._note_topics(rows, again)
        if again:
            self._telemetry.count("publish_retries", len(again), group=self._group)
        if sent:
            self._published()
            self._telemetry.count("messages_published", len(sent), group=self._group)
        self._forget_sent(self._clock.steady())
        return len(rows) - len(again)

    def _note_topics(self, rows: Sequence[OutboxRow], again: Sequence[tuple[OutboxRow, PortError]]) -> None:
        errors = {row.message.topic: error for row, error in reversed(again)}
        for topic, error in errors.items():
            self._blocked.failed(topic, error, [row for row, _ in again if row.message.topic == topic])
        for topic in {row.message.topic: None for row in rows}:
            if topic not in errors:
                self._blocked.succeeded(topic)

    def _note_sent(self, names: Sequence[str]) -> None:
        if names and not self._sent:
            self._forget_at = self._clock.steady() + timedelta(seconds=self._forget_after_s)
        self._sent += names

    def _forget_sent(self, now: datetime) -> None:
        """Their rows go some at a time: whoever finds one meanwhile, after a crash, sends it twice."""
        if self._sent and (now >= self._forget_at or len(self._sent) >= self._batch):
            self._store.mark_sent(self._sent)
            self._sent = []

    def _park(self, row: OutboxRow, error: Exception) -> None:
        """The broker refused it for good: a dead letter with the row's id takes the row's place.

        A redrive owes the message again under this id, so that a second refusal parks the same letter again. The row
        goes at once, because a later row of a redrive has its id.
        """
        message = row.message
        record = Record(message.topic, -1, -1, message.key, message.value, message.headers)
        letter = DeadLetter(
            id=row.id,
            group=self._group,
            message_id=row.id,
            topic=row.message.topic,
            partition=-1,
            offset=-1,
            key=row.message.key,
            value=row.message.value,
            headers=row.message.headers,
            cause=UNPUBLISHABLE,
            detail=error,
            attempts=1,
            parked_at=self._clock.now(),
            order_id=self._codec.order_of(record),
        )
        try:
            self._write(letter)
        except (Retryable, OutcomeUnknown):
            raise
        except Exception as refusal:  # noqa: BLE001 - of the letter: its texts are left out
            last_resort(lambda: self._write(without_texts(letter)), refusal)
        self._store.mark_sent([row.id])
        self._telemetry.alert("message can't be published", topic=letter.topic, detail=letter.detail)

    def _write(self, letter: DeadLetter) -> None:
        with self._store.begin() as transaction:
            fresh = park(transaction, [letter])
            copies = self._owed(self._copies_of(fresh), letter.parked_at)
            transaction.flush(Delivery(parked=fresh, outbox=copies))
            transaction.commit()
        self.offer(copies)
