"""The unit of work of any service: inbox, outbox, tasks and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import attrs

from oms.adapters.memory.call_hooks import CallHooks, port_call
from oms.adapters.memory.service_tables import ResponseRow, ServiceTables, StoredOutboxRow, TaskRow
from oms.adapters.memory.tables import K, Table, TableTransaction, TransactionState, V
from oms.domain.tasks import TaskKey, TaskRequest
from oms.ports.errors import Retryable
from oms.ports.limits import IDEMPOTENCY_KEYS_KEPT
from oms.ports.messages import MessageId
from oms.ports.stores.rows import DeadLetter, DeadLetterState, Delivery, Postponed, StoredResponse, Task
from oms.ports.stores.store import KeyedTransaction, Transaction

Key = TypeVar("Key", bound="str | tuple[str, str]")


def _task_order(task: Task | TaskKey | TaskRequest) -> tuple[str, str]:
    return task.kind.value, task.key


class MemoryTransaction(Transaction):
    """A unit of work on the tables that every service has."""

    def __init__(self, tables: ServiceTables, hooks: CallHooks) -> None:
        self._tables = tables
        self._hooks = hooks
        self.work = TableTransaction(hooks)
        tables.open[self.work] = None

    @port_call
    def claim_inbox(self, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
        work = self._open()
        now = self._tables.clock.now()
        inbox = self._tables.inbox
        return [name for name in sorted(set(messages)) if work.insert(inbox, (group, name), now)]

    @port_call
    def finish_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        held = self._held(tasks)
        for key in held:
            self.work.put(self._tables.tasks, key, None)
        return held

    @port_call
    def held_tasks(self, tasks: Sequence[Task]) -> Collection[TaskKey]:
        return self._held(tasks)

    @port_call
    def lock_dead_letters(self, ids: Collection[str]) -> Sequence[DeadLetter]:
        return list(self._lock_rows(self._tables.dead_letters, ids).values())

    @port_call
    def mark_dead_letters(self, ids: Collection[str], state: DeadLetterState) -> None:
        for name, letter in self._lock_rows(self._tables.dead_letters, ids).items():
            self.work.put(self._tables.dead_letters, name, attrs.evolve(letter, state=state))

    @port_call
    def park_again(self, letters: Sequence[DeadLetter]) -> None:
        known = self._lock_rows(self._tables.dead_letters, [letter.id for letter in letters])
        for letter in letters:
            if letter.id in known:
                self.work.put(self._tables.dead_letters, letter.id, letter)

    @port_call
    def flush(self, delivery: Delivery) -> None:
        self._open()
        self._flush_outbox(delivery)
        self._flush_tasks(delivery)
        for postponed in delivery.postponed:
            self._postpone(postponed)
        for letter in delivery.parked:
            self._insert(self._tables.dead_letters, letter.id, letter)

    @port_call
    def commit(self) -> None:
        self._open()
        self.end()

    def rollback(self) -> None:
        """Undo everything; has no effect after `commit`, or for a worker that was killed."""
        if self._hooks.owner in self._tables.dead:
            return
        if self.work.state is TransactionState.OPEN:
            self._hooks.before("rollback")
            self.work.undo()
            self._hooks.after("rollback")
        self._tables.open.pop(self.work, None)

    def end(self) -> None:
        """Commit within a port call that is a transaction of its own, without a point before the commit."""
        self.work.commit()
        del self._tables.open[self.work]

    def _open(self) -> TableTransaction:
        self.work.ensure_open()
        return self.work

    def _lock_rows(self, table: Table[Key, V], keys: Collection[Key]) -> dict[Key, V]:
        """The rows that exist, locked in sorted order."""
        work = self._open()
        rows = ((key, work.lock_row(table, key)) for key in sorted(set(keys)))
        return {key: row for key, row in rows if row is not None}

    def _insert(self, table: Table[K, V], key: K, row: V) -> None:
        """Insert a row; `Retryable` if another transaction inserted it first."""
        if not self.work.insert(table, key, row):
            self.work.refuse(Retryable(f"{table.name} {key} was inserted by another transaction"))

    def _update(self, table: Table[K, V], key: K, row: V, same: Callable[[V], bool]) -> None:
        """Replace a row if `same` accepts it; `Retryable` if another transaction has changed it."""
        known = self.work.lock_row(table, key)
        if known is None or not same(known):
            self.work.refuse(Retryable(f"{table.name} {key} was changed by another transaction"))
        self.work.put(table, key, row)

    def _held(self, tasks: Sequence[Task]) -> list[TaskKey]:
        work = self._open()
        held = []
        for task in sorted(tasks, key=_task_order):
            row = work.lock_row(self._tables.tasks, task.id)
            if row is not None and row.lease == task.lease:
                held.append(task.id)
        return held

    def _flush_outbox(self, delivery: Delivery) -> None:
        now = self._tables.clock.now()
        for row in delivery.outbox:
            self._insert(
                self._tables.outbox,
                row.id,
                StoredOutboxRow(row.message, row.leased_until or now, now, self._hooks.owner),
            )

    def _flush_tasks(self, delivery: Delivery) -> None:
        work, tasks, now = self.work, self._tables.tasks, self._tables.clock.now()
        for key in sorted(delivery.ended, key=_task_order):
            if work.lock_row(tasks, key) is not None:
                work.put(tasks, key, None)
        for request in sorted(delivery.tasks, key=_task_order):
            work.insert(tasks, TaskKey(request.kind, request.key), _new_row(request, now))

    def _postpone(self, postponed: Postponed) -> None:
        task = postponed.task
        row = self.work.lock_row(self._tables.tasks, task.id)
        if row is None or row.lease != task.lease:
            return
        called_at, note = None if postponed.afresh else row.called_at, postponed.note or row.note
        later = attrs.evolve(row, due_at=postponed.due_at, lease=None, called_at=called_at, note=note)
        self.work.put(self._tables.tasks, task.id, later)


class MemoryKeyedTransaction(MemoryTransaction, KeyedTransaction):
    """A unit of work whose commands have idempotency keys."""

    @port_call
    def find_responses(self, keys: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StoredResponse]:
        work = self._open()
        since = self._tables.clock.now() - IDEMPOTENCY_KEYS_KEPT
        rows = ((key, work.find(self._tables.responses, key)) for key in keys)
        return {key: row.response for key, row in rows if row is not None and row.at > since}

    @port_call
    def save_responses(self, responses: Sequence[StoredResponse]) -> None:
        work = self._open()
        now = self._tables.clock.now()
        for response in sorted(responses, key=lambda response: (response.scope, response.key)):
            key = (response.scope, response.key)
            work.lock(self._tables.responses, key)
            known = work.find(self._tables.responses, key)
            if known is not None and known.at > now - IDEMPOTENCY_KEYS_KEPT:
                work.refuse(Retryable(f"a response is stored for {response.key} already"))
            work.put(self._tables.responses, key, ResponseRow(response, now))


def _new_row(request: TaskRequest, now: datetime) -> TaskRow:
    return TaskRow(request.payload, now, request.due_at or now, trace=request.trace)
