"""The part of a transaction that every service has: inbox, outbox, tasks and dead letters, all in bulk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, Table, case, delete, select, update

from oms.adapters.sql.core.bulk import Bulk, Given, of, stamp
from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.query import Query, given
from oms.adapters.sql.stores.rows import LETTER, answer_of, dump_headers, letter_of, letter_row
from oms.adapters.sql.stores.tables import KeyedTables, Tables
from oms.domain.tasks import TaskKey, TaskKind, TaskRequest
from oms.ports.messages import MessageId
from oms.ports.stores.rows import DeadLetter, DeadLetterState, Delivery, OutboxRow, Postponed, StoredAnswer, Task
from oms.ports.stores.store import KeyedTransaction, Transaction

T_ = TypeVar("T_", bound=Tables)
K_ = TypeVar("K_", bound=KeyedTables)

ANSWERS_KEPT = timedelta(hours=24)


class DeliveryBulks:
    """What is written for many rows into the delivery tables of one service."""

    def __init__(self, tables: Tables) -> None:
        inbox, outbox, tasks = tables.inbox, tables.outbox, tables.tasks
        self.inbox = Bulk(
            lambda new: new.into(inbox, at=stamp(new.at)).on_conflict_do_nothing().returning(inbox.c.message_id),
            of(inbox, "message_id"),
            of(inbox, "consumer", "at"),
        )
        self.new_inbox = Bulk(lambda new: new.into(inbox), of(inbox, "message_id"), of(inbox, "consumer", "at"))
        self.outbox = Bulk(
            lambda new: new.into(outbox),
            of(outbox, "id", "topic", "key", "value", "headers", "leased_until"),
            of(outbox, "at", "owner"),
        )
        self.tasks = Bulk(
            lambda new: new.into(tasks).on_conflict_do_nothing(),
            of(tasks, "key", "kind", "payload", "due_at", "trace"),
            of(tasks, "attempts", "created_at", "note"),
            key=2,
        )
        of_kind = tasks.c.kind == given(tasks.c.kind)
        held = select(tasks.c.key, tasks.c.lease).where(of_kind).order_by(tasks.c.key).with_for_update()
        self.held = Query(held, tasks.c.key, of(tasks, "kind"))
        # These aren't joined with the keys: by statistics of a moment when there was no task, the server went through
        # all of them for each key, 14 s for 500 of 60,000 (`benchmarks/postponed.py`).
        self.postponed = _postponed(tasks)
        self.ended = Query(delete(tasks).where(of_kind), tasks.c.key, of(tasks, "kind"))
        letters = tables.dead_letters
        self.locked_letters = Query(select(letters).order_by(letters.c.id).with_for_update(), letters.c.id)
        self.marked_letters = Query(
            update(letters).values(state=given(letters.c.state)), letters.c.id, of(letters, "state")
        )
        self.reparked = Bulk(
            lambda one: (
                update(letters)
                .where(letters.c.id == one.id)
                .values({name: getattr(one, name) for name in LETTER if name != "id"})
            ),
            of(letters, *LETTER),
        )
        self.parked = Bulk(lambda new: new.into(tables.dead_letters), of(tables.dead_letters, *LETTER))


@cache
def _handled(tables: Tables) -> Query:
    """Which of these messages a group has handled."""
    inbox = tables.inbox
    handled = select(inbox.c.message_id).where(inbox.c.consumer == given(inbox.c.consumer))
    return Query(handled, inbox.c.message_id, of(inbox, "consumer"))


def _postponed(tasks: Table) -> Query:
    note, afresh = given(tasks.c.note), given(tasks.c.attempts, "afresh")
    values = {
        "due_at": given(tasks.c.due_at),
        "lease": None,
        "called_at": case((afresh == 1, None), else_=tasks.c.called_at),
        "note": case((note == "", tasks.c.note), else_=note),
    }
    ours = (tasks.c.kind == given(tasks.c.kind)) & (tasks.c.lease == given(tasks.c.lease))
    once = {**of(tasks, "kind", "lease", "due_at", "note"), "afresh": tasks.c.attempts}
    return Query(update(tasks).where(ours).values(values), tasks.c.key, once)


@cache
def delivery_bulks(tables: Tables) -> DeliveryBulks:
    """The bulk statements of a service."""
    return DeliveryBulks(tables)


class SqlTransaction(Transaction, Generic[T_]):
    """A transaction on a connection of its own, or (`joined`) within one that its caller ends."""

    def __init__(self, database: Database, tables: T_, link: SqlConnection, *, joined: bool = False) -> None:
        self._database, self._tables, self._link, self._joined = database, tables, link, joined
        self._bulks = delivery_bulks(tables)
        self._held: set[tuple[TaskKey, str]] = set()
        """Tasks that this transaction has locked and found under these leases: nobody can take them from it."""

    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """Mark messages as handled by `group`; those returned are new."""
        if not self._link.on_postgres:
            return self._claimed_alone(group, messages)
        wanted = [(message,) for message in set(messages)]
        new = self._link.answers(self._bulks.inbox, wanted, consumer=group, at=self._link.stamp)
        return [MessageId(message) for (message,) in new]

    def _claimed_alone(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """SQLite has one writer at a time: what isn't there now is new. To ask for each was 7% of an order's work."""
        there = {row.message_id for row in self._link.found(_handled(self._tables), messages, consumer=group)}
        new = sorted(set(messages) - there)
        self._link.many(self._bulks.new_inbox, [(message,) for message in new], consumer=group, at=self._link.now)
        return new

    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Lock the tasks whose lease is still ours."""
        leases: dict[TaskKey, str] = {}
        for kind, keys in _by_kind(task.id for task in tasks):
            rows = self._link.found(self._bulks.held, keys, kind=kind.value)
            leases |= {TaskKey(kind, row.key): row.lease for row in rows}
        held = [task for task in tasks if leases.get(task.id) == task.lease]
        self._held.update((task.id, task.lease) for task in held)
        return [task.id for task in held]

    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Remove the tasks whose lease is still ours."""
        known = [task.id for task in tasks if (task.id, task.lease) in self._held]
        unknown = [task for task in tasks if (task.id, task.lease) not in self._held]
        ours = [*known, *(self.held_tasks(unknown) if unknown else ())]
        self._end_tasks(ours)
        self._held.clear()
        return ours

    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        """The dead letters with these ids, by id."""
        return [letter_of(row) for row in self._link.found(self._bulks.locked_letters, ids)]

    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        """Change the state of dead letters."""
        self._link.change(self._bulks.marked_letters, ids, state=state.value)

    def park_again(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters over those with the same ids."""
        self._link.many(self._bulks.reparked, [letter_row(letter) for letter in letters])

    def flush(self, delivery: Delivery) -> None:
        """Write what is owed; a task that it both ends and starts is started anew."""
        link, now = self._link, self._link.now
        self._held.clear()  # some of them end here, or are postponed
        owed = [_outbox(row, now) for row in delivery.outbox]
        link.many(self._bulks.outbox, owed, at=now, owner=self._database.owner)
        self._end_tasks(delivery.ended)
        tasks = [_task(task, now) for task in delivery.tasks]
        link.many(self._bulks.tasks, tasks, attempts=0, created_at=now, note="")
        self._postpone(delivery.postponed)
        link.many(self._bulks.parked, [letter_row(letter) for letter in delivery.parked])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._link.drop()
        self.rollback()

    def commit(self) -> None:
        """Make it durable, unless the caller will."""
        if self._joined:
            self._link.settle()
            self._link.end()
        else:
            self._database.commit(self._link)

    def rollback(self) -> None:
        """Undo everything, unless it has ended.

        A joined transaction is the caller's to undo: `Permanent` where it would lose statements that were never sent.
        """
        if self._joined:
            self._link.end()
        else:
            self._database.abandon(self._link)

    def _postpone(self, postponed: Sequence[Postponed]) -> None:
        """A statement for all that become due at once, for the same reason: what met the same trouble."""
        alike = defaultdict[tuple[Any, ...], list[str]](list)
        for later in postponed:
            task = later.task
            alike[task.kind.value, task.lease, later.due_at, later.note, int(later.afresh)].append(task.key)
        for (kind, lease, due_at, note, afresh), keys in sorted(alike.items()):
            self._link.change(
                self._bulks.postponed, keys, kind=kind, lease=lease, due_at=due_at, note=note, afresh=afresh
            )

    def _end_tasks(self, keys: Collection[TaskKey]) -> None:
        for kind, ended in _by_kind(keys):
            self._link.change(self._bulks.ended, ended, kind=kind.value)


class SqlKeyedTransaction(SqlTransaction[K_], KeyedTransaction):
    """A transaction of commands that carry idempotency keys."""

    def find_answers(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredAnswer]:
        """The answers kept under (scope, key) within the last 24 h."""
        wanted = set(keys)
        kept, over = _answers_found(self._tables), self._link.now - ANSWERS_KEPT
        rows = self._link.found(kept, [key for _, key in wanted], at=over)
        return {(row.scope, row.key): answer_of(row) for row in rows if (row.scope, row.key) in wanted}

    def save_answers(self, answers: Sequence[StoredAnswer]) -> None:
        """Keep answers, in the place of those whose time has passed."""
        now, over = self._link.now, self._link.now - ANSWERS_KEPT
        rows = [(one.key, one.scope, one.fingerprint, one.body) for one in answers]
        self._link.each(_answers(self._tables), rows, at=now, over=over)


def answers_kept(tables: KeyedTables, now: datetime) -> Select[Any]:
    """The answers that are still within their time."""
    return select(tables.answers).where(tables.answers.c.at > now - ANSWERS_KEPT)


@cache
def _answers_found(tables: KeyedTables) -> Query:
    table = tables.answers
    return Query(select(table).where(table.c.at > given(table.c.at)), table.c.key, of(table, "at"))


def _by_kind(tasks: Iterable[TaskKey]) -> list[tuple[TaskKind, list[str]]]:
    """Keys of tasks by kind, in the order in which everybody locks them."""
    found = defaultdict[TaskKind, list[str]](list)
    for task in tasks:
        found[task.kind].append(task.key)
    return sorted(found.items(), key=lambda one: one[0].value)


@cache
def _answers(tables: KeyedTables) -> Bulk:
    table = tables.answers

    def statement(new: Given) -> Any:
        kept = new.into(table)
        return kept.on_conflict_do_update(
            index_elements=[table.c.key, table.c.scope],
            set_={name: kept.excluded[name] for name in ("fingerprint", "body", "at")},
            where=table.c.at <= new.over,
        )

    given, once = of(table, "key", "scope", "fingerprint", "body"), of(table, "at")
    return Bulk(statement, given, {**once, "over": table.c.at}, key=2)


def _outbox(row: OutboxRow, now: datetime) -> tuple[Any, ...]:
    message = row.message
    headers = dump_headers(message.headers)
    return row.id, message.topic, message.key, message.value, headers, row.leased_until or now


def _task(task: TaskRequest, now: datetime) -> tuple[Any, ...]:
    return task.key, task.kind.value, task.payload, task.due_at or now, task.trace
