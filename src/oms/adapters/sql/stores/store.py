"""The part of a store that every service has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Generic

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Double,
    Integer,
    ScalarSelect,
    Table,
    case,
    delete,
    func,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)

from oms.adapters.sql.core.bulk import Bulk, Given, of, stamp
from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.query import Query, given, place
from oms.adapters.sql.core.types import Instant
from oms.adapters.sql.stores.rows import LETTER_SUMMARY, letter_of, letter_summary_of, outbox_row
from oms.adapters.sql.stores.tables import KeyedTables, Tables
from oms.adapters.sql.stores.transaction import T_, SqlTransaction
from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.broker import TopicPartition
from oms.ports.clock import Ids
from oms.ports.evidence import ServiceEvidence
from oms.ports.messages import MessageId
from oms.ports.stores.rows import Backlog, DeadLetter, DeadLetterState, DeadLetterSummary, OutboxRow, Task
from oms.ports.stores.store import Store

_REPLAYED = text("SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()")
_NOTHING_REPLAYED = datetime(1970, 1, 1, tzinfo=UTC)

CURRENCY = "currency"
"""The name of the pinned currency."""

ACKNOWLEDGED = "acknowledged"
"""The name of the log's end as of the latest removal of sent rows; in files only."""


class StoreBulks:
    """What a store writes for many rows outside of the services' transactions."""

    def __init__(self, tables: Tables) -> None:
        attempts, tasks, outbox = tables.attempts, tables.tasks, tables.outbox
        self.leased = Query(
            update(outbox).values(leased_until=given(outbox.c.leased_until), owner=given(outbox.c.owner)),
            outbox.c.id,
            of(outbox, "leased_until", "owner"),
        )
        self.sent = Query(delete(outbox), outbox.c.id)
        self.returned = Query(update(outbox).values(leased_until=outbox.c.at), outbox.c.id)
        self.attempts = Bulk(
            lambda new: _counted(new, attempts),
            of(attempts, "topic", "part", "position"),
            of(attempts, "consumer", "tries"),
            key=2,
        )
        self.cleared = Bulk(
            lambda one: delete(attempts).where(
                attempts.c.consumer == one.consumer, attempts.c.topic == one.topic, attempts.c.part == one.part
            ),
            of(attempts, "consumer", "topic", "part"),
            key=3,
        )
        self.claimed = Bulk(
            lambda one: (
                update(tasks)
                .where(tasks.c.key == one.key, tasks.c.kind == one.kind)
                .values(
                    lease=one.lease,
                    due_at=one.due_at,
                    attempts=tasks.c.attempts + 1,
                    called_at=func.coalesce(tasks.c.called_at, one.called_at),
                )
            ),
            of(tasks, "key", "kind"),
            of(tasks, "lease", "due_at", "called_at"),
            key=2,
        )
        pinned = tables.pinned
        self.pinned = Bulk(lambda new: new.into(pinned).on_conflict_do_nothing(), of(pinned, "name", "value"))
        self.acknowledged = Bulk(lambda new: _replaced(new.into(pinned), pinned), of(pinned, "name", "value"))


def _counted(given: Given, attempts: Table) -> Any:
    new = given.into(attempts)
    again = attempts.c.position == new.excluded.position
    counted = new.on_conflict_do_update(
        index_elements=[attempts.c.consumer, attempts.c.topic, attempts.c.part],
        set_={"tries": case((again, attempts.c.tries + 1), else_=1), "position": new.excluded.position},
    )
    return counted.returning(attempts.c.topic, attempts.c.part, attempts.c.tries)


def _replaced(new: Any, pinned: Table) -> Any:
    return new.on_conflict_do_update(index_elements=[pinned.c.name], set_={"value": new.excluded.value})


@cache
def store_bulks(tables: Tables) -> StoreBulks:
    """The bulk statements of a service."""
    return StoreBulks(tables)


@cache
def due_tasks(tables: Tables, kinds: tuple[str, ...]) -> Query:
    """The tasks of these kinds that are due, the longest due first; for the only writer."""
    tasks = tables.tasks
    due = select(tasks).where(tasks.c.kind.in_(kinds), tasks.c.due_at <= given(tasks.c.due_at, "now"))
    first = due.order_by(tasks.c.due_at).limit(place("limit", Integer()))
    return Query(first, once={"now": tasks.c.due_at, "limit": tasks.c.attempts})


@cache
def claimed_at_once(tables: Tables, kinds: tuple[str, ...]) -> Query:
    """Leases due tasks of these kinds that nobody else is at; for PostgreSQL.

    What it has locked it finds again by place, not by key: by a table's statistics of a moment when it was empty, any
    index is as good as the right one. A row that changed since the look isn't there; it is due next time.
    """
    tasks = tables.tasks
    ctid: ColumnElement[Any] = literal_column("ctid")
    now = stamp(given(tasks.c.due_at, "now"))
    due = select(ctid.label("place"), tasks.c.due_at).where(tasks.c.kind.in_(kinds), tasks.c.due_at <= now)
    first = due.order_by(tasks.c.due_at).limit(place("limit", Integer()))
    free = first.with_for_update(skip_locked=True).cte("due")
    until = type_coerce(now, DateTime(timezone=True)) + func.make_interval(0, 0, 0, 0, 0, 0, _LEASE_S)
    claim = update(tasks).where(ctid == free.c.place)
    claimed = claim.values(
        lease=given(tasks.c.lease),
        owner=given(tasks.c.owner),
        due_at=type_coerce(until, Instant()),
        attempts=tasks.c.attempts + 1,
        called_at=func.coalesce(tasks.c.called_at, now),
    )
    again = (tasks.c.called_at < now).label("again")
    return Query(
        claimed.returning(tasks, again, free.c.due_at.label("was_due_at")),
        once={
            **of(tasks, "lease", "owner"),
            "now": tasks.c.due_at,
            "limit": tasks.c.attempts,
            "lease_s": tasks.c.attempts,
        },
    )


_LEASE_S: ColumnElement[float] = place("lease_s", Double())


@cache
def lapsed(tables: Tables) -> Query:
    """A row whose lease has expired; in the order of the index, which a planner without statistics would pass over."""
    until = tables.outbox.c.leased_until
    over = select(until).where(until <= stamp(given(until, "now")))
    return Query(over.order_by(until).limit(1), once={"now": until})


@cache
def waiting(tables: Tables, oldest_open: ScalarSelect[datetime] | None = None) -> Query:
    """The fields of a `Backlog` in one statement: each process asks once a second, however little there is to do."""
    outbox, tasks, letters = tables.outbox, tables.tasks, tables.dead_letters
    count = select(func.count())
    now = stamp(given(tasks.c.due_at, "now"))
    fields = {
        "oldest_outbox_at": select(func.min(outbox.c.at)),
        "outbox": count.select_from(outbox),
        "tasks_due": count.select_from(tasks).where(tasks.c.due_at <= now),
        "parked": count.select_from(letters).where(letters.c.state == DeadLetterState.PARKED.value),
    }
    found = [one.scalar_subquery().label(name) for name, one in fields.items()]
    if oldest_open is not None:
        found.append(oldest_open.label("oldest_open_at"))
    return Query(select(*found), once={"now": tasks.c.due_at})


class SqlStore(Store, ServiceEvidence, Generic[T_]):
    """One service's record. Any thread may read; write transactions queue for the write lock.

    `log_end`, where it is set, tells how many records the log has had: the removal of sent rows notes it.
    """

    log_end: Callable[[], int] | None = None

    def __init__(self, database: Database, tables: T_, ids: Ids) -> None:
        self._database, self._tables, self._ids = database, tables, ids
        self._bulks = store_bulks(tables)

    def begin(self) -> SqlTransaction[T_]:
        """Start a write transaction."""
        return SqlTransaction(self._database, self._tables, self._database.begin())

    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Count the beginning of a batch, without waiting for the disk; not while this thread is in a transaction."""
        rows = [(place.topic, place.partition, offset) for place, offset in first.items()]
        with self._database.alone(side=True) as link:
            counted = link.answers(self._bulks.attempts, rows, consumer=group, tries=1)
        tries = {TopicPartition(topic, part): times for topic, part, times in counted}
        return {place: tries[place] for place in first}

    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        """Forget counters."""
        with self._database.alone(side=True) as link:
            gone = [(group, place.topic, place.partition) for place in partitions]
            link.many(self._bulks.cleared, gone)

    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        """Lease due tasks, the longest due first. A lease is a due time: when it lapses, the task is due again."""
        if limit <= 0:
            return ()
        wanted = tuple(sorted(kind.value for kind in kinds))
        if self._database.in_one_trip:
            return self._claim_at_once(wanted, limit, lease_s)
        due, lease = due_tasks(self._tables, wanted), self._ids.token()
        with self._database.reading() as link:
            if not link.found(due, now=link.now, limit=1):  # a claim would take the write lock for nothing
                return ()
        with self._database.writing() as link:
            rows = link.found(due, now=link.now, limit=limit)
            until = link.now + timedelta(seconds=lease_s)
            names = [(row.key, row.kind) for row in rows]
            link.many(self._bulks.claimed, names, lease=lease, due_at=until, called_at=link.now)
        return [
            _claimed(row, lease, row.attempts + 1, row.called_at or link.now, row.called_at is not None) for row in rows
        ]

    def _claim_at_once(self, kinds: tuple[str, ...], limit: int, lease_s: float) -> Sequence[Task]:
        """One statement: whoever finds nothing has waited for nobody, and whoever finds something asked once."""
        lease, owner, now = self._ids.token(), self._database.owner, self._now()
        claim = claimed_at_once(self._tables, kinds)
        with self._database.alone() as link:
            rows = link.found(claim, limit=limit, lease=lease, owner=owner, lease_s=lease_s, now=now)
        rows = sorted(rows, key=lambda row: (row.was_due_at, row.key))
        return [_claimed(row, lease, row.attempts, row.called_at, row.again) for row in rows]

    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Lease rows whose lease has expired, whatever their id."""
        if limit <= 0:
            return ()
        table = self._tables.outbox
        over = table.c.leased_until <= self._database.time
        if without:
            over &= table.c.topic.not_in(sorted(without))
        with self._database.reading() as link:  # a claim would take the write lock for nothing
            if without:
                found = link.rows(select(table.c.id).where(over).order_by(table.c.leased_until).limit(1))
            else:
                found = link.found(lapsed(self._tables), now=self._now())
            if not found:
                return ()
        free = select(table).where(over).order_by(table.c.leased_until, table.c.at).limit(limit)
        with self._database.writing() as link:
            rows = link.rows(free.with_for_update(skip_locked=True))
            until = link.now + timedelta(seconds=lease_s)
            link.change(self._bulks.leased, [row.id for row in rows], leased_until=until, owner=self._database.owner)
        return [OutboxRow(row.id, outbox_row(row).message, until) for row in rows]

    def mark_sent(self, ids: Collection[str]) -> None:
        """Remove what was delivered."""
        if ids:
            with self._database.alone(side=True) as link:
                link.change(self._bulks.sent, ids)
                if self.log_end is not None:
                    link.many(self._bulks.acknowledged, [(ACKNOWLEDGED, str(self.log_end()))])

    def return_outbox(self, ids: Collection[str]) -> None:
        """Give leases back."""
        if ids:
            with self._database.writing() as link:
                link.change(self._bulks.returned, ids)

    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetterSummary]:
        """Summaries of dead letters, the oldest first."""
        table = self._tables.dead_letters
        columns = [table.c[name] for name in LETTER_SUMMARY]
        found = select(*columns).order_by(table.c.parked_at, table.c.id).limit(limit).offset(offset)
        if state is not None:
            found = found.where(table.c.state == state.value)
        with self._database.reading() as link:
            return [letter_summary_of(row) for row in link.rows(found)]

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the field's name
        """One dead letter."""
        table = self._tables.dead_letters
        with self._database.reading() as link:
            row = link.first(select(table).where(table.c.id == id))
        return letter_of(row) if row else None

    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        """When the next task or outbox lease falls due."""
        tasks, outbox = self._tables.tasks, self._tables.outbox
        leases = select(func.min(outbox.c.leased_until))
        if without:
            leases = leases.where(outbox.c.topic.not_in(sorted(without)))
        with self._database.snapshot() as link:
            dues = link.first(select(func.min(tasks.c.due_at))), link.first(leases)
        return min((due for (due,) in dues if due is not None), default=None)

    def backlog(self) -> Backlog:
        """What waits here."""
        with self._database.reading() as link:
            (waiting,) = link.found(self._waiting(), now=self._now())
        return Backlog(*waiting)

    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        """Remove what has been kept for its time."""
        inbox, letters = self._tables.inbox, self._tables.dead_letters
        ended = letters.c.state != DeadLetterState.PARKED.value
        with self._database.writing() as link:
            gone = _remove(link, inbox, inbox.c.at < older_than, limit)
            gone += _remove(link, letters, ended & (letters.c.parked_at < older_than), limit - gone)
            if isinstance(self._tables, KeyedTables):
                answers = self._tables.answers
                gone += _remove(link, answers, answers.c.at < keys_older_than, limit - gone)
        return gone

    def ping(self) -> None:
        """Raise unless the database answers."""
        with self._database.reading() as link:
            link.rows(select(1))

    def first_handled(self, group: str) -> datetime | None:
        """When the oldest message in the inbox was handled."""
        inbox = self._tables.inbox
        oldest = select(inbox.c.at).where(inbox.c.consumer == group).order_by(inbox.c.at).limit(1)
        with self._database.reading() as link:
            row = link.first(oldest)
        return row.at if row else None

    def currency(self) -> str | None:
        """The currency that was pinned."""
        return self._pinned(CURRENCY)

    def pin_currency(self, code: str) -> str:
        """Keep a currency, unless there is one."""
        self._pin(CURRENCY, code)
        return self.currency() or code

    def register(self, instance: str) -> int:
        """Release the leases that an ended process of this instance left."""
        registration = self._database.registration
        if registration is not None:
            return registration.register(instance)
        with self._database.writing() as link:
            return _released(link, self._tables)

    def keep_registration(self) -> None:
        """Register anew where the registration was lost with its connection."""
        if self._database.registration is not None:
            self._database.registration.keep()

    def _pinned(self, name: str) -> str | None:
        pinned = self._tables.pinned
        with self._database.reading() as link:
            row = link.first(select(pinned.c.value).where(pinned.c.name == name))
        return row[0] if row else None

    def _pin(self, name: str, value: str) -> None:
        with self._database.writing() as link:
            link.many(self._bulks.pinned, [(name, value)])

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def at_one_moment(self) -> AbstractContextManager[None]:
        """A snapshot for what is shown in the block."""
        return self._database.at_one_moment()

    def as_of(self) -> datetime | None:
        """The time of the last transaction that a standby of PostgreSQL has replayed; None on a primary and SQLite."""
        with self._database.reading() as link:
            if not link.on_postgres:
                return None
            is_standby, replayed = link.first(_REPLAYED)
        return (replayed or _NOTHING_REPLAYED) if is_standby else None

    def all_inbox(self) -> Iterable[tuple[str, MessageId]]:
        """Each (group, message); of the index alone, as the rows come in no order of the disk's."""
        consumer, message = self._tables.inbox.c.consumer, self._tables.inbox.c.message_id
        rows = self._database.stream(select(consumer, message).order_by(consumer, message))
        return ((group, MessageId(name)) for group, name in rows)

    def all_outbox(self) -> Iterable[OutboxRow]:
        """Rows that aren't sent yet."""
        return map(outbox_row, self._database.stream(select(self._tables.outbox)))

    def all_tasks(self) -> Iterable[TaskKey]:
        """Tasks that aren't done yet."""
        rows = self._database.stream(select(self._tables.tasks))
        return (TaskKey(TaskKind(row.kind), row.key) for row in rows)

    def all_dead_letters(self) -> Iterable[DeadLetter]:
        """Every dead letter."""
        return map(letter_of, self._database.stream(select(self._tables.dead_letters)))

    def _waiting(self) -> Query:
        return waiting(self._tables)

    def _now(self) -> datetime | None:
        """The time that a statement alone is given; None for the server's own."""
        return self._database.clock.now() if self._database.clock else None


def _claimed(row: Any, lease: str, attempts: int, called_at: datetime, repeat: bool) -> Task:  # noqa: FBT001
    kind = TaskKind(row.kind)
    return Task(kind, row.key, row.payload, lease, attempts, row.created_at, called_at, repeat, row.trace)


def _released(link: SqlConnection, tables: Tables) -> int:
    """Release every lease of a file; how many. The caller knows that no other process has the file."""
    tasks, outbox = tables.tasks, tables.outbox
    # A lease is a due time: by its own creation, a row is due whatever the clock says.
    claimed, owed = tasks.c.lease.is_not(None), outbox.c.leased_until > outbox.c.at
    counts = (
        select(func.count()).select_from(tasks).where(claimed),
        select(func.count()).select_from(outbox).where(owed),
    )
    released = sum(link.first(count)[0] for count in counts)
    link.do(update(tasks).where(claimed).values(due_at=tasks.c.created_at))
    link.do(update(outbox).where(owed).values(leased_until=outbox.c.at))
    return int(released)


def _remove(link: SqlConnection, table: Table, which: ColumnElement[bool], limit: int) -> int:
    if limit <= 0:
        return 0
    keys = list(table.primary_key.columns)
    rows = link.rows(select(*keys).where(which).limit(limit).with_for_update(skip_locked=True))
    link.each(_removed(table), [tuple(row) for row in rows])
    return len(rows)


@cache
def _removed(table: Table) -> Bulk:
    key = of(table, *table.primary_key.columns.keys())
    return Bulk(
        lambda one: delete(table).where(*(column == getattr(one, name) for name, column in key.items())),
        key,
        key=len(key),
    )
