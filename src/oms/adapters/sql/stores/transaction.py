"""The part of a transaction that every service has: inbox, outbox, tasks and dead letters, written in bulk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, select

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.stores import delivery_statements as statements
from oms.adapters.sql.stores import task_statements
from oms.adapters.sql.stores.delivery_tables import KeyedTables, Tables
from oms.adapters.sql.stores.rows import dump_headers, letter_of, letter_row, response_of
from oms.domain.tasks import TaskKey, TaskKind, TaskRequest
from oms.ports.limits import IDEMPOTENCY_KEYS_KEPT
from oms.ports.messages import MessageId
from oms.ports.stores.rows import DeadLetter, DeadLetterState, Delivery, OutboxRow, Postponed, StoredResponse, Task
from oms.ports.stores.store import KeyedTransaction, Transaction

T_ = TypeVar("T_", bound=Tables)
K_ = TypeVar("K_", bound=KeyedTables)


class SqlTransaction(Transaction, Generic[T_]):
    """A transaction on a connection of its own, or (`joined`) part of one that the caller ends."""

    def __init__(self, database: Database, tables: T_, connection: SqlConnection, *, joined: bool = False) -> None:
        self._database, self._tables, self._connection, self._joined = database, tables, connection, joined
        self._locked: set[tuple[TaskKey, str]] = set()
        """Tasks that this transaction has locked and found under these leases; no other one can take them."""

    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        if not self._connection.on_postgres:
            return self._claim_as_only_writer(group, messages)
        wanted = [(message,) for message in set(messages)]
        claim, at = statements.claim_inbox(self._tables), self._connection.known_time
        new = self._connection.fetch_for_rows(claim, wanted, consumer=group, at=at)
        return [MessageId(message) for (message,) in new]

    def _claim_as_only_writer(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        """SQLite has one writer at a time. One query for all messages saves 7% of the work for an order."""
        known = self._connection.fetch(statements.handled_messages(self._tables), messages, consumer=group)
        new = sorted(set(messages) - {row.message_id for row in known})
        insert, rows = statements.insert_inbox(self._tables), [(message,) for message in new]
        self._connection.run_for_rows(insert, rows, consumer=group, at=self._connection.now)
        return new

    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        leases: dict[TaskKey, str] = {}
        for kind, keys in _by_kind(task.id for task in tasks):
            rows = self._connection.fetch(task_statements.lock_tasks(self._tables), keys, kind=kind.value)
            leases |= {TaskKey(kind, row.key): row.lease for row in rows}
        held = [task for task in tasks if leases.get(task.id) == task.lease]
        self._locked.update((task.id, task.lease) for task in held)
        return [task.id for task in held]

    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        locked = [task.id for task in tasks if (task.id, task.lease) in self._locked]
        others = [task for task in tasks if (task.id, task.lease) not in self._locked]
        ours = [*locked, *(self.held_tasks(others) if others else ())]
        self._delete_tasks(ours)
        self._locked.clear()
        return ours

    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        return [letter_of(row) for row in self._connection.fetch(statements.lock_dead_letters(self._tables), ids)]

    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        self._connection.run(statements.mark_dead_letters(self._tables), ids, state=state.value)

    def park_again(self, letters: Sequence[DeadLetter]) -> None:
        rows = [letter_row(letter) for letter in letters]
        self._connection.run_for_rows(statements.overwrite_dead_letters(self._tables), rows)

    def flush(self, delivery: Delivery) -> None:
        """Write the delivery; a task that it both ends and starts is started anew."""
        connection, tables, now = self._connection, self._tables, self._connection.now
        self._locked.clear()  # some of them are deleted or postponed here
        outbox = [_outbox_columns(row, now) for row in delivery.outbox]
        connection.run_for_rows(statements.insert_outbox(tables), outbox, at=now, owner=self._database.owner)
        self._delete_tasks(delivery.ended)
        tasks = [_task_columns(task, now) for task in delivery.tasks]
        connection.run_for_rows(task_statements.insert_tasks(tables), tasks, attempts=0, created_at=now, note="")
        self._postpone(delivery.postponed)
        letters = [letter_row(letter) for letter in delivery.parked]
        connection.run_for_rows(statements.insert_dead_letters(tables), letters)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._connection.drop()
        self.rollback()

    def commit(self) -> None:
        """Make it durable; a joined transaction is only sent, and the caller commits it."""
        if self._joined:
            self._connection.flush()
            self._connection.end()
        else:
            self._database.commit(self._connection)

    def rollback(self) -> None:
        """Roll back, unless the transaction has ended.

        The caller rolls a joined transaction back: `Permanent` if that would lose statements that were never sent.
        """
        if self._joined:
            self._connection.end()
        else:
            self._database.abandon(self._connection)

    def _postpone(self, postponed: Sequence[Postponed]) -> None:
        """Postpone with one statement for all tasks that fail for the same reason and become due together."""
        keys_by_change = defaultdict[tuple[Any, ...], list[str]](list)
        for later in postponed:
            task = later.task
            change = task.kind.value, task.lease, later.due_at, later.note, int(later.afresh)
            keys_by_change[change].append(task.key)
        postpone = task_statements.postpone_tasks(self._tables)
        for (kind, lease, due_at, note, afresh), keys in sorted(keys_by_change.items()):
            self._connection.run(postpone, keys, kind=kind, lease=lease, due_at=due_at, note=note, afresh=afresh)

    def _delete_tasks(self, tasks: Collection[TaskKey]) -> None:
        for kind, keys in _by_kind(tasks):
            self._connection.run(task_statements.delete_tasks(self._tables), keys, kind=kind.value)


class SqlKeyedTransaction(SqlTransaction[K_], KeyedTransaction):
    """A transaction of commands that carry idempotency keys."""

    def find_responses(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredResponse]:
        wanted = set(keys)
        since = self._connection.now - IDEMPOTENCY_KEYS_KEPT
        found = self._connection.fetch(statements.responses_since(self._tables), [key for _, key in wanted], at=since)
        return {(row.scope, row.key): response_of(row) for row in found if (row.scope, row.key) in wanted}

    def save_responses(self, responses: Sequence[StoredResponse]) -> None:
        """Store responses, and replace those that are older than 24 h."""
        now = self._connection.now
        rows = [(response.key, response.scope, response.fingerprint, response.body) for response in responses]
        save = statements.save_responses(self._tables)
        self._connection.change_every_row(save, rows, at=now, over=now - IDEMPOTENCY_KEYS_KEPT)


def unexpired_responses(tables: KeyedTables, now: datetime) -> Select[Any]:
    """Select the responses that are no older than 24 h."""
    return select(tables.responses).where(tables.responses.c.at > now - IDEMPOTENCY_KEYS_KEPT)


def _by_kind(tasks: Iterable[TaskKey]) -> list[tuple[TaskKind, list[str]]]:
    """Keys of tasks by kind, in the order in which all transactions lock them."""
    keys = defaultdict[TaskKind, list[str]](list)
    for task in tasks:
        keys[task.kind].append(task.key)
    return sorted(keys.items(), key=lambda pair: pair[0].value)


def _outbox_columns(row: OutboxRow, now: datetime) -> tuple[Any, ...]:
    message = row.message
    headers = dump_headers(message.headers)
    return row.id, message.topic, message.key, message.value, headers, row.leased_until or now


def _task_columns(task: TaskRequest, now: datetime) -> tuple[Any, ...]:
    return task.key, task.kind.value, task.payload, task.due_at or now, task.trace
