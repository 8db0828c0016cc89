"""The part of a store that every service has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Table, func, select, update

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.statements import Statement
from oms.adapters.sql.stores import delivery_statements as statements
from oms.adapters.sql.stores.claims import Claims
from oms.adapters.sql.stores.delivery_tables import Tables
from oms.adapters.sql.stores.evidence import SqlServiceEvidence
from oms.adapters.sql.stores.rows import LETTER_SUMMARY, letter_of, letter_summary_of
from oms.adapters.sql.stores.transaction import K_, T_, SqlTransaction
from oms.domain.tasks import TaskKind
from oms.ports.broker import TopicPartition
from oms.ports.clock import Ids
from oms.ports.stores.rows import Backlog, DeadLetter, DeadLetterState, DeadLetterSummary, OutboxRow, Task
from oms.ports.stores.store import Store

CURRENCY = "currency"
"""The name of the pinned currency."""

ACKNOWLEDGED = "acknowledged"
"""The name of the log's end at the latest removal of sent rows; only on SQLite."""

Expired = tuple[Table, ColumnElement[bool]]
"""A table, and which of its rows are to be purged."""


class SqlStore(SqlServiceEvidence[T_], Store):
    """The store of one service. Any thread may read; write transactions wait for the write lock.

    `log_end`, if it is set, returns how many records the log has had; the removal of sent rows records that number.
    """

    log_end: Callable[[], int] | None = None

    def __init__(self, database: Database, tables: T_, ids: Ids) -> None:
        self._database, self._tables = database, tables
        self._claims = Claims(database, tables, ids)

    def begin(self) -> SqlTransaction[T_]:
        return SqlTransaction(self._database, self._tables, self._database.begin())

    # -- attempts

    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Count attempts without waiting for the disk. Not for a thread that is in a transaction."""
        rows = [(place.topic, place.partition, offset) for place, offset in first.items()]
        count = statements.count_attempts(self._tables)
        with self._database.autocommit(synced=False) as connection:
            counted = connection.fetch_for_rows(count, rows, consumer=group, tries=1)
        tries = {TopicPartition(topic, partition): times for topic, partition, times in counted}
        return {place: tries[place] for place in first}

    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        rows = [(group, place.topic, place.partition) for place in partitions]
        with self._database.autocommit(synced=False) as connection:
            connection.run_for_rows(statements.delete_attempts(self._tables), rows)

    # -- tasks and outbox

    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        return self._claims.tasks(kinds, limit, lease_s)

    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        return self._claims.outbox(limit, lease_s, without)

    def mark_sent(self, ids: Collection[str]) -> None:
        if not ids:
            return
        with self._database.autocommit(synced=False) as connection:
            connection.run(statements.delete_outbox(self._tables), ids)
            if self.log_end is not None:
                end = [(ACKNOWLEDGED, str(self.log_end()))]
                connection.run_for_rows(statements.overwrite_pinned(self._tables), end)

    def return_outbox(self, ids: Collection[str]) -> None:
        if ids:
            with self._database.writing() as connection:
                connection.run(statements.return_outbox(self._tables), ids)

    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        tasks, outbox = self._tables.tasks, self._tables.outbox
        leases = select(func.min(outbox.c.leased_until))
        if without:
            leases = leases.where(outbox.c.topic.not_in(sorted(without)))
        with self._database.snapshot() as connection:
            dues = connection.first(select(func.min(tasks.c.due_at))), connection.first(leases)
        return min((due for (due,) in dues if due is not None), default=None)

    def backlog(self) -> Backlog:
        with self._database.reading() as connection:
            (fields,) = connection.fetch(self._backlog(), now=self._claims.time())
        return Backlog(*fields)

    def _backlog(self) -> Statement:
        return statements.backlog(self._tables)

    # -- dead letters

    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetterSummary]:
        table = self._tables.dead_letters
        columns = [table.c[name] for name in LETTER_SUMMARY]
        found = select(*columns).order_by(table.c.parked_at, table.c.id).limit(limit).offset(offset)
        if state is not None:
            found = found.where(table.c.state == state.value)
        with self._database.reading() as connection:
            return [letter_summary_of(row) for row in connection.all(found)]

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the field's name
        table = self._tables.dead_letters
        with self._database.reading() as connection:
            row = connection.first(select(table).where(table.c.id == id))
        return letter_of(row) if row else None

    # -- retention

    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        gone = 0
        with self._database.writing() as connection:
            for table, condition in self._expired(older_than, keys_older_than):
                gone += _delete(connection, table, condition, limit - gone)
        return gone

    def _expired(self, older_than: datetime, _keys_older_than: datetime) -> Sequence[Expired]:
        inbox, letters = self._tables.inbox, self._tables.dead_letters
        ended = letters.c.state != DeadLetterState.PARKED.value
        return [(inbox, inbox.c.at < older_than), (letters, ended & (letters.c.parked_at < older_than))]

    def first_handled(self, group: str) -> datetime | None:
        inbox = self._tables.inbox
        oldest = select(inbox.c.at).where(inbox.c.consumer == group).order_by(inbox.c.at).limit(1)
        with self._database.reading() as connection:
            row = connection.first(oldest)
        return row.at if row else None

    # -- pinned settings

    def currency(self) -> str | None:
        return self._pinned(CURRENCY)

    def pin_currency(self, code: str) -> str:
        self._pin(CURRENCY, code)
        return self.currency() or code

    def _pinned(self, name: str) -> str | None:
        pinned = self._tables.pinned
        with self._database.reading() as connection:
            row = connection.first(select(pinned.c.value).where(pinned.c.name == name))
        return row[0] if row else None

    def _pin(self, name: str, value: str) -> None:
        with self._database.writing() as connection:
            connection.run_for_rows(statements.pin(self._tables), [(name, value)])

    # -- the process

    def register(self, instance: str) -> int:
        registration = self._database.registration
        if registration is not None:
            return registration.register(instance)
        with self._database.writing() as connection:
            return _release_all(connection, self._tables)

    def keep_registration(self) -> None:
        if self._database.registration is not None:
            self._database.registration.keep()

    def ping(self) -> None:
        with self._database.reading() as connection:
            connection.all(select(1))

    def close(self) -> None:
        self._database.close()


class SqlKeyedStore(SqlStore[K_]):
    """The store of a service whose commands carry idempotency keys."""

    def _expired(self, older_than: datetime, keys_older_than: datetime) -> Sequence[Expired]:
        responses = self._tables.responses
        return [*super()._expired(older_than, keys_older_than), (responses, responses.c.at < keys_older_than)]


def _release_all(connection: SqlConnection, tables: Tables) -> int:
    """Release every lease of a file and return how many. The caller knows that no other process has the file."""
    tasks, outbox = tables.tasks, tables.outbox
    # A lease is a due time. By the time of its creation, a row is due whatever the clock says.
    claimed, leased = tasks.c.lease.is_not(None), outbox.c.leased_until > outbox.c.at
    counts = (
        select(func.count()).select_from(tasks).where(claimed),
        select(func.count()).select_from(outbox).where(leased),
    )
    released = sum(connection.first(count)[0] for count in counts)
    connection.execute(update(tasks).where(claimed).values(due_at=tasks.c.created_at))
    connection.execute(update(outbox).where(leased).values(leased_until=outbox.c.at))
    return int(released)


def _delete(connection: SqlConnection, table: Table, condition: ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the rows, except those that another transaction has locked; return how many."""
    if limit <= 0:
        return 0
    keys = list(table.primary_key.columns)
    rows = connection.all(select(*keys).where(condition).limit(limit).with_for_update(skip_locked=True))
    connection.change_every_row(statements.delete_rows(table), [tuple(row) for row in rows])
    return len(rows)
