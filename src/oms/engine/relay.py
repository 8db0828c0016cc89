"""The reader's side of the transactional outbox: sends committed rows to the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from oms.engine.blocked_topics import BlockedTopics
from oms.engine.dependencies import ServiceDependencies
from oms.engine.health import ServiceHealth
from oms.engine.outbox import OutboxWriter
from oms.engine.parking import Failure, outbox_letter, park, write_letter
from oms.engine.service import Runnable
from oms.ports.errors import Permanent, PortError
from oms.ports.messages import Record
from oms.ports.stores.rows import DeadLetter, Delivery, OutboxRow
from oms.ports.stores.store import Store

QUEUE_LIMIT = 10_000
"""Rows that wait in memory; more are left to the sweeper, so a slow broker can't fill the process."""

EXPECTED_S, LOOK_EVERY_S = 1.0, 0.02
"""How long, and how often, to look for rows that a caller was about to commit. Later, the sweeper finds them."""

MARGIN = 0.2
"""A row is sent from memory only while this share of its lease is left; afterwards a sweeper may have claimed it."""


class RelayState(NamedTuple):
    """The rows that a relay keeps in memory, to compare two relays."""

    queued: tuple[str, ...]
    """The topics of the committed rows that wait to be sent, in order."""

    sent: int
    """Rows that are in the log and still in the outbox."""

    blocked: Sequence[tuple[str, datetime, int, Sequence[str]]]
    """The blocked topics, as `BlockedTopics.state` returns them."""


class Relay(Runnable):
    """Sends a service's outbox rows: first those that this process committed, then any whose lease has expired.

    A row counts as sent only by the broker's delivery report. Sending a row twice is harmless, losing one isn't. A
    topic for which the broker accepts no messages backs off alone; rows of all other topics are still sent.
    """

    def __init__(
        self,
        store: Store,
        group: str,
        outbox: OutboxWriter,
        shared: ServiceDependencies,
        health: ServiceHealth,
        woken: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._group, self._outbox, self._woken = store, group, outbox, woken
        self._broker, self._codec, self._clock = shared.broker, shared.codec, shared.clock
        self._telemetry, self._published = shared.telemetry, shared.published
        self._lease_s, self._batch, self._sweep_every_s = shared.outbox_lease_s, shared.batch, shared.look_every_s
        self._forget_after_s, self._forget_at = shared.forget_after_s, shared.clock.steady()
        self._queue: deque[OutboxRow] = deque()
        self._sent: list[str] = []
        self._expected = ExpectedRows(shared.clock.steady())
        self._sweep_at: datetime | None = None
        self._blocked = BlockedTopics(group, shared.clock, shared.telemetry, health)

    @property
    def patience_s(self) -> float:
        """How long a batch may wait for its delivery reports, in seconds: while it is leased."""
        return self._lease_s

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Take rows that were just committed; rows beyond `QUEUE_LIMIT` are left to the sweeper. Any thread."""
        room = QUEUE_LIMIT - len(self._queue)
        self._queue.extend(rows[:room])
        if rows:
            self._woken()

    def expect(self, rows: Sequence[OutboxRow]) -> None:
        """Look often, for a second, for rows that a caller is about to commit on its own connection. Any thread."""
        self._expected.announce(row.id for row in rows)
        if rows:
            self._woken()

    def run_once(self) -> int:
        """Send one batch; returns the number of rows that were sent or parked."""
        now = self._clock.steady()
        self._forget_sent(now)
        if self._expected.begin(now):
            self._sweep_at = None
        first = self._swept(now) if self._expected else ()
        rows = first or self._from_memory(now) or self._swept(now)
        return self._send(rows) if rows else 0

    def next_due(self) -> datetime | None:
        """Return when to try a blocked topic again, remove the rows of sent messages, or look for expected rows."""
        looks = (self._forget_at if self._sent else None, self._sweep_at if self._expected else None)
        waits = (self._blocked.next_due(), *looks)
        return min((due for due in waits if due is not None), default=None)

    def holds_rows(self) -> bool:
        """Whether rows in memory wait to be sent, or to be removed from the outbox."""
        return bool(self._queue or self._sent)

    def due_times(self) -> tuple[datetime | None, datetime | None]:
        """When the relay looks for rows with an expired lease (None: at the next run), and retries a blocked topic."""
        return self._sweep_at, self._blocked.next_due() if self._blocked else None

    def inspect(self) -> RelayState:
        """Return the rows in memory, for tests and the simulator."""
        queued = tuple([row.message.topic for row in self._queue])
        return RelayState(queued, len(self._sent), tuple(self._blocked.state()))

    def waiting_topics(self) -> Sequence[str]:
        """Return the topics that back off at present: their rows stay in the outbox."""
        return self._blocked.waiting(self._clock.steady()) if self._blocked else ()

    def give_back(self) -> None:
        """Give up the leases of all rows in memory, because the process stops: another one may send them at once."""
        self._forget_sent(self._forget_at)
        self._store.return_outbox([row.id for row in (*self._queue, *self._blocked.give_up())])

    def _from_memory(self, now: datetime) -> list[OutboxRow]:
        leased_after = self._clock.now() + timedelta(seconds=self._lease_s * MARGIN)
        if not self._blocked:
            return self._popped(self._batch, leased_after)
        rows = self._blocked.take_due(now, leased_after)
        while self._queue and len(rows) < self._batch:
            rows += self._blocked.admit(self._popped(self._batch - len(rows), leased_after), now, rows)
        return rows

    def _popped(self, limit: int, leased_after: datetime) -> list[OutboxRow]:
        rows: list[OutboxRow] = []
        while self._queue and len(rows) < limit:
            row = self._queue.popleft()
            if row.leased_until is not None and row.leased_until > leased_after:
                rows.append(row)
        return rows

    def _swept(self, now: datetime) -> Sequence[OutboxRow]:
        early = self._sweep_at is not None and now < self._sweep_at
        if early and not (self._blocked and self._blocked.wants_look(now)):
            return ()
        rows = self._store.claim_outbox(self._batch, self._lease_s, self.waiting_topics())
        more = len(rows) == self._batch
        self._expected.found(rows)
        every_s = min(LOOK_EVERY_S, self._sweep_every_s) if self._expected else self._sweep_every_s
        self._sweep_at = None if more else now + timedelta(seconds=every_s)
        if not self._blocked:
            return rows
        if not more:
            self._blocked.looked(now, rows)
        return self._blocked.admit(rows, now)

    def _send(self, rows: Sequence[OutboxRow]) -> int:
        reports = list(zip(rows, self._broker.publish([row.message for row in rows]), strict=True))
        self._note_sent([row.id for row, error in reports if error is None])
        again: list[tuple[OutboxRow, PortError]] = []
        for row, error in reports:
            if isinstance(error, Permanent):
                self._park(row, error)
            elif error is not None:
                again.append((row, error))
        if again or self._blocked:
            self._note_topics(rows, again)
        self._count(sent=sum(error is None for _, error in reports), again=len(again))
        self._forget_sent(self._clock.steady())
        return len(rows) - len(again)

    def _count(self, sent: int, again: int) -> None:
        if again:
            self._telemetry.count("publish_retries", again, group=self._group)
        if sent:
            self._published()
            self._telemetry.count("messages_published", sent, group=self._group)

    def _note_topics(self, rows: Sequence[OutboxRow], again: Sequence[tuple[OutboxRow, PortError]]) -> None:
        errors = {row.message.topic: error for row, error in reversed(again)}
        for topic, error in errors.items():
            self._blocked.failed(topic, error, [row for row, _ in again if row.message.topic == topic])
        for topic in {row.message.topic: None for row in rows}:
            if topic not in errors:
                self._blocked.succeeded(topic)

    def _note_sent(self, ids: Sequence[str]) -> None:
        if ids and not self._sent:
            self._forget_at = self._clock.steady() + timedelta(seconds=self._forget_after_s)
        self._sent += ids

    def _forget_sent(self, now: datetime) -> None:
        """Remove the rows of sent messages, many at a time. After a crash before that, they are sent twice."""
        if self._sent and (now >= self._forget_at or len(self._sent) >= self._batch):
            self._store.mark_sent(self._sent)
            self._sent = []

    def _park(self, row: OutboxRow, error: Exception) -> None:
        """Replace a row that the broker refuses permanently by a dead letter with the row's id.

        The row is removed at once, because a redrive writes a row with the same id.
        """
        message = row.message
        order_id = self._codec.order_of(Record(message.topic, -1, -1, message.key, message.value, message.headers))
        letter = outbox_letter(row, Failure(error, 1, self._clock.now()), self._group, order_id)
        write_letter(letter, self._write)
        self._store.mark_sent([row.id])
        self._telemetry.alert("message can't be published", topic=letter.topic, detail=letter.detail)

    def _write(self, letter: DeadLetter) -> None:
        with self._store.begin() as transaction:
            fresh = park(transaction, [letter])
            copies = self._outbox.copy_rows(fresh, letter.parked_at)
            transaction.flush(Delivery(parked=fresh, outbox=copies))
            transaction.commit()
        self.offer(copies)


class ExpectedRows:
    """Ids of rows that a caller is about to commit on its own connection. True while the relay looks for some."""

    def __init__(self, now: datetime) -> None:
        self._announced: deque[str] = deque(maxlen=QUEUE_LIMIT)
        self._expected: set[str] = set()
        self._until = now

    def __bool__(self) -> bool:
        return bool(self._expected)

    def announce(self, ids: Iterable[str]) -> None:
        """Add rows, on any thread."""
        self._announced.extend(ids)

    def begin(self, now: datetime) -> bool:
        """Expect the announced rows for `EXPECTED_S` from now on; returns whether there are any new ones."""
        if not self._announced:
            if self._expected and now >= self._until:
                self._expected.clear()
            return False
        while self._announced:
            self._expected.add(self._announced.popleft())
        self._until = now + timedelta(seconds=EXPECTED_S)
        return True

    def found(self, rows: Sequence[OutboxRow]) -> None:
        """Stop expecting rows that were claimed."""
        self._expected.difference_update(row.id for row in rows)


class PublishBatcher(Runnable):
    """Holds the rows of new orders until it runs, and hands them to the relay together.

    All other services can then take each group as one batch. The thread that runs it pauses between two groups; other
    rows that the relay has to send don't wait. A sweeper finds the rows that are lost here with their process.
    """

    def __init__(self, relay: Relay, woken: Callable[[], None]) -> None:
        self._relay, self._woken = relay, woken
        self._rows: deque[OutboxRow] = deque()

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Add rows to the next group; rows beyond `QUEUE_LIMIT` are left to the sweeper. Any thread."""
        self._rows.extend(rows[: QUEUE_LIMIT - len(self._rows)])
        if rows:
            self._woken()

    def run_once(self) -> int:
        """Hand the group to the relay; returns its number of rows."""
        group = [self._rows.popleft() for _ in range(len(self._rows))]
        self._relay.offer(group)
        return len(group)
