"""The part of a transaction that every service has: inbox, outbox, tasks and dead letters, all in bulk."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Executable, bindparam, delete, insert, select, update
from sqlalchemy.dialects import sqlite

from oms.adapters.sql.engine import border
from oms.adapters.sql.rows import chunks, dump_headers, letter_of, letter_row
from oms.adapters.sql.schema import KeyedTables, Tables
from oms.adapters.sql.types import EPOCH
from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.ports.messages import MessageId
from oms.ports.store import (
    DeadLetter,
    DeadLetterState,
    Delivery,
    KeyedTransaction,
    StoredAnswer,
    Task,
    Transaction,
)

T_ = TypeVar("T_", bound=Tables)
K_ = TypeVar("K_", bound=KeyedTables)

ANSWERS_KEPT = timedelta(hours=24)


class SqlTransaction(Transaction, Generic[T_]):
    """A transaction on a connection of its own, or (`joined`) within one that its caller ends."""

    def __init__(self, connection: Connection, tables: T_, now: datetime, *, joined: bool = False) -> None:
        self._connection, self._tables, self._now, self._joined = connection, tables, now, joined
        self._open = True
        if not joined:
            try:
                with border():
                    connection.begin()
            except BaseException:
                connection.close()
                raise

    # -- the port

    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """Mark messages as handled by `group`; those returned are new."""
        inbox = self._tables.inbox
        known: set[MessageId] = set()
        for part in chunks(messages):
            found = select(inbox.c.message_id).where(inbox.c.consumer == group, inbox.c.message_id.in_(part))
            known.update(row.message_id for row in self._rows(found))
        fresh = [message for message in dict.fromkeys(messages) if message not in known]
        self._many(insert(inbox), [{"consumer": group, "message_id": name, "at": self._now} for name in fresh])
        return fresh

    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """The tasks whose lease is still ours."""
        table = self._tables.tasks
        rows: set[tuple[str, str, str]] = set()
        for leases in chunks(sorted({task.lease for task in tasks})):
            found = select(table.c.kind, table.c.key, table.c.lease).where(table.c.lease.in_(leases))
            rows.update((row.kind, row.key, row.lease) for row in self._rows(found))
        return [task.id for task in tasks if (task.kind.value, task.key, task.lease) in rows]

    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        """Remove the tasks whose lease is still ours."""
        ours = list(self.held_tasks(tasks))
        self._delete_tasks(ours)
        return ours

    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        """The dead letters with these ids."""
        letters = self._tables.dead_letters
        found = select(letters).where(letters.c.id.in_(sorted(ids))).order_by(letters.c.id)
        return [letter_of(row) for row in self._rows(found)]

    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        """Change the state of dead letters."""
        letters = self._tables.dead_letters
        self._do(update(letters).where(letters.c.id.in_(sorted(ids))).values(state=state.value))

    def flush(self, delivery: Delivery) -> None:
        """Write what is owed."""
        self._flush_outbox(delivery)
        self._flush_tasks(delivery)
        self._many(insert(self._tables.dead_letters), [letter_row(letter) for letter in delivery.parked])
        attempts = self._tables.attempts
        if delivery.cleared:
            self._many(
                delete(attempts).where(
                    attempts.c.consumer == bindparam("g"),
                    attempts.c.topic == bindparam("t"),
                    attempts.c.part == bindparam("p"),
                ),
                [{"g": group, "t": place.topic, "p": place.partition} for group, place in delivery.cleared],
            )

    def commit(self) -> None:
        """Make it durable, unless the caller will."""
        self._check_open()
        if self._joined:
            self._open = False
            return
        try:
            with border(committing=True):
                self._connection.commit()
        except OutcomeUnknown:
            self._open = False
            self._connection.invalidate()
            self._connection.close()
            raise
        self._end()

    def rollback(self) -> None:
        """Undo everything, unless it has ended."""
        if self._open and not self._joined:
            with border():
                self._connection.rollback()
            self._end()
        self._open = False

    # -- for the services' own transactions

    def _do(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        self._check_open()
        with border():
            return self._connection.execute(statement, parameters)

    def _rows(self, statement: Executable) -> Sequence[Any]:
        rows: Sequence[Any] = self._do(statement).all()
        return rows

    def _many(self, statement: Executable, parameters: Sequence[Mapping[str, Any]]) -> int:
        """Run it for each set of parameters; how many rows that touched."""
        self._check_open()
        if not parameters:
            return 0
        with border():
            count: int = self._connection.execute(statement, parameters).rowcount
        return count

    def _cas(self, statement: Executable, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run an update that must find every row as it was read."""
        if self._many(statement, parameters) != len(parameters):
            raise Retryable("another transaction was first")

    # -- inside

    def _flush_outbox(self, delivery: Delivery) -> None:
        rows = [
            {
                "id": row.id,
                "topic": row.message.topic,
                "key": row.message.key,
                "value": row.message.value,
                "headers": dump_headers(row.message.headers),
                "leased_until": row.leased_until or EPOCH,
                "at": self._now,
            }
            for row in delivery.outbox
        ]
        self._many(insert(self._tables.outbox), rows)

    def _flush_tasks(self, delivery: Delivery) -> None:
        table = self._tables.tasks
        self._delete_tasks(delivery.ended)
        rows = [
            {
                "kind": task.kind.value,
                "key": task.key,
                "payload": task.payload,
                "due_at": task.due_at or self._now,
                "lease": None,
                "attempts": 0,
                "created_at": self._now,
                "called_at": None,
                "note": "",
            }
            for task in delivery.tasks
        ]
        self._many(sqlite.insert(table).on_conflict_do_nothing(), rows)
        if delivery.postponed:
            self._postpone(delivery)

    def _postpone(self, delivery: Delivery) -> None:
        """Give leased tasks a new due time, where the lease is still ours."""
        table = self._tables.tasks
        mine = (table.c.kind == bindparam("k")) & (table.c.key == bindparam("n")) & (table.c.lease == bindparam("l"))
        later = update(table).where(mine).values(due_at=bindparam("d"), lease=None, note=bindparam("t"))
        for afresh in (False, True):
            rows = [
                {"k": p.task.kind.value, "n": p.task.key, "l": p.task.lease, "d": p.due_at, "t": p.note}
                for p in delivery.postponed
                if p.afresh is afresh
            ]
            self._many(later.values(called_at=None) if afresh else later, rows)

    def _delete_tasks(self, keys: Collection[TaskKey]) -> None:
        table = self._tables.tasks
        statement = delete(table).where(table.c.kind == bindparam("k"), table.c.key == bindparam("n"))
        self._many(statement, [{"k": key.kind.value, "n": key.key} for key in keys])

    def _check_open(self) -> None:
        if not self._open:
            raise Permanent("the transaction has ended")

    def _end(self) -> None:
        self._open = False
        self._connection.close()


class SqlKeyedTransaction(SqlTransaction[K_], KeyedTransaction):
    """A transaction of commands that carry idempotency keys."""

    def find_answers(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredAnswer]:
        """The answers kept under (scope, key) within the last 24 h."""
        table = self._tables.answers
        since = self._now - ANSWERS_KEPT
        found = {}
        for part in chunks(sorted({key for _, key in keys})):
            rows = self._rows(select(table).where(table.c.key.in_(part), table.c.at > since))
            found.update({(row.scope, row.key): answer_of(row) for row in rows})
        return {key: found[key] for key in sorted(keys) if key in found}

    def save_answers(self, answers: Sequence[StoredAnswer]) -> None:
        """Keep answers, over those whose time has passed."""
        table = self._tables.answers
        old = delete(table).where(
            table.c.scope == bindparam("s"), table.c.key == bindparam("k"), table.c.at <= bindparam("a")
        )
        since = self._now - ANSWERS_KEPT
        self._many(old, [{"s": answer.scope, "k": answer.key, "a": since} for answer in answers])
        rows = [
            {
                "scope": answer.scope,
                "key": answer.key,
                "fingerprint": answer.fingerprint,
                "body": answer.body,
                "at": self._now,
            }
            for answer in answers
        ]
        self._many(insert(table), rows)


def answer_of(row: Any) -> StoredAnswer:
    """The answer of a row."""
    return StoredAnswer(row.scope, row.key, row.fingerprint, row.body)


def kinds(values: Collection[TaskKind]) -> list[str]:
    """The stored names of task kinds."""
    return sorted(kind.value for kind in values)
