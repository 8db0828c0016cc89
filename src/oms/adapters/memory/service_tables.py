"""The tables that every service has: inbox, outbox, tasks, dead letters, attempts and stored responses."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from itertools import islice

import attrs

from oms.adapters.memory import column_limits
from oms.adapters.memory.due_queue import DueQueue
from oms.adapters.memory.tables import K, Table, TableTransaction, V
from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.broker import TopicPartition
from oms.ports.clock import Clock, Ids
from oms.ports.messages import MessageId, Outgoing
from oms.ports.stores.rows import DeadLetter, DeadLetterState, OutboxRow, StoredResponse, Task


@attrs.frozen
class StoredOutboxRow:
    """A stored outbox row."""

    message: Outgoing
    leased_until: datetime
    created_at: datetime
    owner: str = ""
    """The worker that holds the lease, or held it last."""


@attrs.frozen
class TaskRow:
    """A stored task. While it is leased, `due_at` is the time at which the lease expires."""

    payload: str
    created_at: datetime
    due_at: datetime
    lease: str | None = None
    attempts: int = 0
    called_at: datetime | None = None
    note: str = ""
    trace: str | None = None
    owner: str = ""
    """The worker that holds the lease, or held it last."""


@attrs.frozen
class ResponseRow:
    """The stored response of an idempotency key, and when it was stored."""

    response: StoredResponse
    at: datetime


class ServiceTables:
    """The tables of one service, its open transactions, and the workers that died."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self.clock = clock
        self.ids = ids
        self.dead: dict[str, None] = {}
        self.instances: dict[str, str] = {}
        """The instance under which each worker is registered."""

        self.released_while_alive: dict[str, None] = {}
        """Workers whose leases were released while they lived, for the simulator to report."""

        self.open: dict[TableTransaction, None] = {}
        self.inbox: Table[tuple[str, MessageId], datetime] = Table("inbox", check_row=column_limits.check_inbox)
        self.outbox: Table[str, StoredOutboxRow] = Table("outbox", self._outbox_changed, column_limits.check_outbox)
        self.tasks: Table[TaskKey, TaskRow] = Table("tasks", self._task_changed, column_limits.check_task)
        self.dead_letters: Table[str, DeadLetter] = Table("dead_letters", check_row=column_limits.check_dead_letter)
        self.attempts: Table[tuple[str, TopicPartition], tuple[int, int]] = Table(
            "attempts", check_row=column_limits.check_attempt
        )
        self.responses: Table[tuple[str, str], ResponseRow] = Table("responses", check_row=column_limits.check_response)
        self.currency: str | None = None
        self._outbox_due: DueQueue[str] = DueQueue(self._lease_of)
        self._tasks_due: dict[TaskKind, DueQueue[TaskKey]] = {}

    def kill(self, owner: str) -> None:
        """Kill a worker: its open transactions are rolled back, and its later calls raise `WorkerKilled`."""
        self.dead[owner] = None
        for work in [work for work in self.open if work.owner == owner]:
            work.undo()
            del self.open[work]

    def release(self, owners: Collection[str]) -> int:
        """Release the leases of these workers, so that their tasks and outbox rows are due now; returns how many."""
        left = [(key, row) for key, row in self.tasks.rows.items() if row.lease is not None and row.owner in owners]
        for key, row in left:
            self.tasks.apply(key, attrs.evolve(row, due_at=row.created_at))
        owed = [(name, row) for name, row in self.outbox.rows.items() if row.owner in owners]
        unsent = [(name, row) for name, row in owed if row.leased_until > row.created_at]
        for name, owed_row in unsent:
            self.lease_outbox(name, owed_row.created_at, owed_row.owner)
        owners_released = [row.owner for _, row in left] + [row.owner for _, row in unsent]
        self.released_while_alive |= {owner: None for owner in owners_released if owner not in self.dead}
        return len(left) + len(unsent)

    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float, owner: str = "") -> list[Task]:
        """Lease due tasks, the longest due first; skips tasks that a transaction has locked."""
        now = self.clock.now()
        queues = [queue for kind, queue in self._tasks_due.items() if kind in kinds]
        found: dict[TaskKey, None] = {}
        skipped: list[tuple[DueQueue[TaskKey], datetime, TaskKey]] = []
        while len(found) < limit:
            due = None
            for queue in queues:
                entry = queue.first()
                if entry is not None and entry[0] <= now and (due is None or entry[:2] < due[:2]):
                    due, source = entry, queue
            if due is None:
                break
            source.pop()
            if due[2] in self.tasks.holders:
                skipped.append((source, due[0], due[2]))
            else:
                found[due[2]] = None
        for queue, due_at, key in skipped:
            queue.push(due_at, key)
        return [self._lease(key, now, lease_s, owner) for key in found]

    def claim_outbox(
        self, limit: int, lease_s: float, without: Collection[str] = (), owner: str = ""
    ) -> list[OutboxRow]:
        """Lease the rows whose lease has expired, the longest expired first."""
        now = self.clock.now()
        found: dict[str, None] = {}
        left: list[tuple[datetime, str]] = []
        while len(found) < limit and (entry := self._outbox_due.first()) and entry[0] <= now:
            self._outbox_due.pop()
            if without and self.outbox.rows[entry[2]].message.topic in without:
                left.append((entry[0], entry[2]))
            else:
                found[entry[2]] = None
        for due_at, name in left:
            self._outbox_due.push(due_at, name)
        return [self.lease_outbox(name, now + timedelta(seconds=lease_s), owner) for name in found]

    def lease_outbox(self, id: str, until: datetime, owner: str = "") -> OutboxRow:  # noqa: A002 - the field's name
        """Set the lease of a committed row."""
        row = self.outbox.rows[id]
        self.outbox.apply(id, StoredOutboxRow(row.message, until, row.created_at, owner))
        return OutboxRow(id, row.message, until)

    def first_due(self, kind: TaskKind) -> datetime | None:
        """Return when the first task of a kind falls due, or its lease expires."""
        queue = self._tasks_due.get(kind)
        entry = queue.first() if queue is not None else None
        return entry[0] if entry is not None else None

    def has_due_task(self, kinds: Iterable[TaskKind], now: datetime) -> bool:
        """Whether a task of one of these kinds is due."""
        for kind in kinds:
            queue = self._tasks_due.get(kind)
            if queue is not None and (entry := queue.first()) is not None and entry[0] <= now:
                return True
        return False

    def first_lapse(self) -> datetime | None:
        """Return when the first lease of an outbox row expires."""
        entry = self._outbox_due.first()
        return entry[0] if entry is not None else None

    def first_dues(self) -> list[datetime]:
        """Return when the first task of each kind falls due, and when the first outbox lease expires (if any)."""
        dues = [entry[0] for queue in self._tasks_due.values() if (entry := queue.first()) is not None]
        if (lapse := self._outbox_due.first()) is not None:
            dues.append(lapse[0])
        return dues

    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        """When the next task falls due or the next outbox lease expires."""
        firsts = [entry[0] for queue in self._tasks_due.values() if (entry := queue.first())]
        if without:
            firsts += [row.leased_until for row in self.outbox.rows.values() if row.message.topic not in without]
        elif sweep := self._outbox_due.first():
            firsts.append(sweep[0])
        return min(firsts, default=None)

    def purge(self, older_than: datetime, keys_older_than: datetime, limit: int) -> int:
        """Remove at most `limit` rows that are past their retention; rows that a transaction has locked stay."""
        letters = ((name, row.parked_at) for name, row in self.dead_letters.rows.items() if row.state is not _PARKED)
        removed = _remove(self.inbox, self.inbox.rows.items(), older_than, limit)
        keys = ((key, row.at) for key, row in self.responses.rows.items())
        removed += _remove(self.responses, keys, keys_older_than, limit - removed)
        return removed + _remove(self.dead_letters, letters, older_than, limit - removed)

    def _lease(self, key: TaskKey, now: datetime, lease_s: float, owner: str) -> Task:
        row = self.tasks.rows[key]
        lease, attempts, called_at = self.ids.token(), row.attempts + 1, row.called_at or now
        until = now + timedelta(seconds=lease_s)
        leased = TaskRow(row.payload, row.created_at, until, lease, attempts, called_at, row.note, row.trace, owner)
        self.tasks.apply(key, leased)
        repeat = row.called_at is not None
        return Task(key.kind, key.key, row.payload, lease, attempts, row.created_at, called_at, repeat, row.trace)

    def _due_of(self, key: TaskKey) -> datetime | None:
        row = self.tasks.rows.get(key)
        return row.due_at if row is not None else None

    def _lease_of(self, key: str) -> datetime | None:
        row = self.outbox.rows.get(key)
        return row.leased_until if row is not None else None

    def _task_changed(self, key: TaskKey, _before: TaskRow | None, after: TaskRow | None) -> None:
        if after is not None:
            queue = self._tasks_due.get(key.kind)
            if queue is None:
                queue = self._tasks_due[key.kind] = DueQueue(self._due_of)
            queue.push(after.due_at, key)

    def _outbox_changed(self, key: str, _before: StoredOutboxRow | None, after: StoredOutboxRow | None) -> None:
        if after is not None:
            self._outbox_due.push(after.leased_until, key)


_PARKED = DeadLetterState.PARKED


def _remove(table: Table[K, V], dated: Iterable[tuple[K, datetime]], older_than: datetime, limit: int) -> int:
    old = (key for key, at in dated if at < older_than and key not in table.holders)
    found = list(islice(old, limit))
    for key in found:
        table.apply(key, None)
    return len(found)
