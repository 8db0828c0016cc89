"""The part of a store that every service has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Generic

import attrs
from sqlalchemy import Connection, Engine, Executable, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects import sqlite

from oms.adapters.sql.engine import border
from oms.adapters.sql.rows import chunks, letter_of, load_headers
from oms.adapters.sql.transaction import T_, SqlTransaction, kinds
from oms.adapters.sql.types import EPOCH
from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.broker import TopicPartition
from oms.ports.clock import Clock, Ids
from oms.ports.evidence import ServiceEvidence
from oms.ports.messages import MessageId, Outgoing
from oms.ports.store import Backlog, DeadLetter, DeadLetterState, OutboxRow, Store, Task


@attrs.frozen
class Engines:
    """The ways into one database: write, read, and note without waiting for the disk."""

    write: Engine
    read: Engine
    side: Engine

    def close(self) -> None:
        """Close every connection that isn't in use."""
        for engine in (self.write, self.read, self.side):
            engine.dispose()


class SqlStore(Store, ServiceEvidence, Generic[T_]):
    """One service's record. Any thread may read; write transactions queue for the write lock."""

    def __init__(self, engines: Engines, tables: T_, clock: Clock, ids: Ids) -> None:
        self._engines, self._tables, self._clock, self._ids = engines, tables, clock, ids

    def begin(self) -> SqlTransaction[T_]:
        """Start a write transaction."""
        return SqlTransaction(self._connect(), self._tables, self._clock.now())

    def seen(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """Those that `group` has handled."""
        inbox, found = self._tables.inbox, []
        for part in chunks(messages):
            statement = select(inbox.c.message_id).where(inbox.c.consumer == group, inbox.c.message_id.in_(part))
            found += [row.message_id for row in self._read(statement)]
        return found

    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Count the beginning of a batch, without waiting for the disk."""
        table = self._tables.attempts
        with self._writing(self._engines.side) as connection:
            rows = connection.execute(select(table).where(table.c.consumer == group)).all()
            known = {TopicPartition(row.topic, row.part): (row.position, row.tries) for row in rows}
            tries = {
                place: known[place][1] + 1 if place in known and known[place][0] == offset else 1
                for place, offset in first.items()
            }
            upsert = sqlite.insert(table)
            upsert = upsert.on_conflict_do_update(
                index_elements=[table.c.consumer, table.c.topic, table.c.part],
                set_={"position": upsert.excluded.position, "tries": upsert.excluded.tries},
            )
            new = [
                {
                    "consumer": group,
                    "topic": place.topic,
                    "part": place.partition,
                    "position": offset,
                    "tries": tries[place],
                }
                for place, offset in first.items()
            ]
            connection.execute(upsert, new)
        return tries

    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        """Forget counters."""
        table = self._tables.attempts
        gone = delete(table).where(
            table.c.consumer == group, table.c.topic == bindparam("t"), table.c.part == bindparam("p")
        )
        rows = [{"t": place.topic, "p": place.partition} for place in sorted(partitions)]
        if rows:
            with self._writing(self._engines.side) as connection:
                connection.execute(gone, rows)

    def claim_tasks(self, kinds_: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        """Lease due tasks, the longest due first. A lease is a due time: when it lapses, the task is due again."""
        table, now = self._tables.tasks, self._clock.now()
        due = (
            select(table)
            .where(table.c.kind.in_(kinds(kinds_)), table.c.due_at <= now)
            .order_by(table.c.due_at, table.c.kind, table.c.key)
            .limit(limit)
        )
        if limit <= 0 or not self._read(due.limit(1)):
            return ()
        lease = self._ids.token()
        with self._writing(self._engines.write) as connection:
            rows = connection.execute(due).all()
            if rows:
                connection.execute(
                    update(table)
                    .where(table.c.kind == bindparam("k"), table.c.key == bindparam("n"))
                    .values(
                        lease=lease,
                        due_at=now + timedelta(seconds=lease_s),
                        attempts=table.c.attempts + 1,
                        called_at=func.coalesce(table.c.called_at, bindparam("c", now, table.c.called_at.type)),
                    ),
                    [{"k": row.kind, "n": row.key} for row in rows],
                )
        return [
            Task(
                TaskKind(row.kind),
                row.key,
                row.payload,
                lease,
                row.attempts + 1,
                row.created_at,
                row.called_at or now,
                repeat=row.called_at is not None,
            )
            for row in rows
        ]

    def claim_outbox(self, limit: int, lease_s: float) -> Sequence[OutboxRow]:
        """Lease rows whose lease has expired, whatever their id."""
        table, now = self._tables.outbox, self._clock.now()
        free = select(table).where(table.c.leased_until <= now).order_by(table.c.leased_until).limit(limit)
        if not self._read(free.limit(1)):
            return ()
        until = now + timedelta(seconds=lease_s)
        with self._writing(self._engines.write) as connection:
            rows = connection.execute(free).all()
            for part in chunks(row.id for row in rows):
                connection.execute(update(table).where(table.c.id.in_(part)).values(leased_until=until))
        return [_outbox_row(row, until) for row in rows]

    def mark_sent(self, ids: Collection[str]) -> None:
        """Remove what was delivered."""
        table = self._tables.outbox
        with self._writing(self._engines.write) as connection:
            for part in chunks(ids):
                connection.execute(delete(table).where(table.c.id.in_(part)))

    def return_outbox(self, ids: Collection[str]) -> None:
        """Give leases back."""
        table = self._tables.outbox
        if not ids:
            return
        with self._writing(self._engines.write) as connection:
            for part in chunks(ids):
                connection.execute(update(table).where(table.c.id.in_(part)).values(leased_until=EPOCH))

    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetter]:
        """Dead letters, the oldest first."""
        table = self._tables.dead_letters
        found = select(table).order_by(table.c.parked_at, table.c.id).limit(limit).offset(offset)
        if state is not None:
            found = found.where(table.c.state == state.value)
        return [letter_of(row) for row in self._read(found)]

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the field's name
        """One dead letter."""
        table = self._tables.dead_letters
        return next((letter_of(row) for row in self._read(select(table).where(table.c.id == id))), None)

    def next_due(self) -> datetime | None:
        """When the next task or outbox lease falls due."""
        (tasks,) = self._read(select(func.min(self._tables.tasks.c.due_at)))
        (outbox,) = self._read(select(func.min(self._tables.outbox.c.leased_until)))
        return min((due for due in (tasks[0], outbox[0]) if due is not None), default=None)

    def backlog(self) -> Backlog:
        """What waits here."""
        outbox, tasks, letters = self._tables.outbox, self._tables.tasks, self._tables.dead_letters
        (waiting,) = self._read(select(func.min(outbox.c.at), func.count()).select_from(outbox))
        (due,) = self._read(select(func.count()).select_from(tasks).where(tasks.c.due_at <= self._clock.now()))
        parked = select(func.count()).select_from(letters).where(letters.c.state == DeadLetterState.PARKED.value)
        return Backlog(waiting[0], waiting[1], due[0], self._read(parked)[0][0], self._oldest_open())

    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        """Remove what has been kept for its time."""
        letters, inbox = self._tables.dead_letters, self._tables.inbox
        ended = letters.c.state != DeadLetterState.PARKED.value
        with self._writing(self._engines.write) as connection:
            gone = _remove(connection, inbox, inbox.c.at < older_than, limit)
            gone += _remove(connection, letters, (letters.c.parked_at < older_than) & ended, limit - gone)
            answers = getattr(self._tables, "answers", None)
            if answers is not None:
                gone += _remove(connection, answers, answers.c.at < keys_older_than, limit - gone)
        return gone

    def ping(self) -> None:
        """Raise unless the database answers."""
        self._read(select(1))

    def close(self) -> None:
        """Close the connections."""
        self._engines.close()

    # -- evidence

    def all_inbox(self) -> Iterable[tuple[str, MessageId]]:
        """Each (group, message)."""
        return ((row.consumer, row.message_id) for row in self._stream(select(self._tables.inbox)))

    def all_outbox(self) -> Iterable[OutboxRow]:
        """Rows that aren't sent yet."""
        return (_outbox_row(row, row.leased_until) for row in self._stream(select(self._tables.outbox)))

    def all_tasks(self) -> Iterable[TaskKey]:
        """Tasks that aren't done yet."""
        return (TaskKey(TaskKind(row.kind), row.key) for row in self._stream(select(self._tables.tasks)))

    def all_dead_letters(self) -> Iterable[DeadLetter]:
        """Every dead letter."""
        return (letter_of(row) for row in self._stream(select(self._tables.dead_letters)))

    # -- for the services' own stores

    def _oldest_open(self) -> datetime | None:
        return None

    def _connect(self) -> Connection:
        with border():
            return self._engines.write.connect()

    def _read(self, statement: Executable) -> Sequence[Any]:
        with border(), self._engines.read.connect() as connection:
            rows: Sequence[Any] = connection.execute(statement).all()
        return rows

    def _stream(self, statement: Executable) -> Iterator[Any]:
        with border(), self._engines.read.connect() as connection:
            yield from connection.execution_options(yield_per=1000).execute(statement)

    @contextmanager
    def _writing(self, engine: Engine) -> Iterator[Connection]:
        with border():
            connection = engine.connect()
        try:
            with border():
                connection.begin()
                yield connection
            with border(committing=True):
                connection.commit()
        finally:
            connection.close()


def _remove(connection: Connection, table: Table, which: Any, limit: int) -> int:
    if limit <= 0:
        return 0
    keys = list(table.primary_key.columns)
    rows = connection.execute(select(*keys).where(which).limit(limit)).all()
    if not rows:
        return 0
    one = delete(table)
    for number, key in enumerate(keys):
        one = one.where(key == bindparam(f"k{number}"))
    connection.execute(one, [{f"k{number}": value for number, value in enumerate(row)} for row in rows])
    return len(rows)


def _outbox_row(row: Any, until: datetime) -> OutboxRow:
    return OutboxRow(row.id, Outgoing(row.topic, row.key, row.value, load_headers(row.headers)), until)
