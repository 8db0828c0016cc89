"""The store of any service: the part that all services share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from oms.adapters.memory.call_hooks import Blocked, CallHooks, Point, no_point, port_call, raise_deadlock
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.tables import COMMITTING, K, Table, V
from oms.adapters.memory.transaction import MemoryTransaction
from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.broker import TopicPartition
from oms.ports.clock import Clock, Ids
from oms.ports.evidence import ServiceEvidence
from oms.ports.messages import MessageId
from oms.ports.stores.rows import Backlog, DeadLetter, DeadLetterState, DeadLetterSummary, OutboxRow, Task, summary_of
from oms.ports.stores.store import Store

R = TypeVar("R", bound=ServiceTables)


class MemoryStore(Store, ServiceEvidence, Generic[R]):
    """One worker's connection to the tables of a service.

    The first connection makes the tables; `worker` makes a connection to them for another owner. An owner's name is
    used only once: a worker that restarts after `kill` is a new owner.
    """

    name: str
    """The prefix of this store's points, as in `orders.commit:before`."""

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        *,
        owner: str = "worker",
        point: Point = no_point,
        blocked: Blocked = raise_deadlock,
        tables: R | None = None,
    ) -> None:
        self._tables: R = tables if tables is not None else self.new_tables(clock, ids)
        self._hooks = CallHooks(self.name, owner, point, blocked, self._tables.dead)
        self._snapshot: dict[Table[Any, Any], dict[Any, Any]] | None = None

    @classmethod
    def new_tables(cls, clock: Clock, ids: Ids) -> R:
        """Empty tables of a service, for an owner that makes several connections to them."""
        raise NotImplementedError

    def worker(self, owner: str, point: Point = no_point, blocked: Blocked = raise_deadlock) -> Self:
        """Another worker's connection to the same tables."""
        tables = self._tables
        return type(self)(tables.clock, tables.ids, owner=owner, point=point, blocked=blocked, tables=tables)

    def kill(self, owner: str) -> None:
        """Kill a worker: its transactions are rolled back, and its later calls raise `WorkerKilled`."""
        self._tables.kill(owner)

    def task_due_at(self, key: TaskKey) -> datetime | None:
        """Return when a task falls due or its lease expires; None for a task that the store doesn't have."""
        row = self._tables.tasks.rows.get(key)
        return row.due_at if row is not None else None

    @port_call
    def start_attempts(self, group: str, first: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        tries: dict[TopicPartition, int] = {}
        with MemoryTransaction(self._tables, self._hooks) as transaction:
            work, table = transaction.work, self._tables.attempts
            for partition, offset in sorted(first.items()):
                work.lock(table, (group, partition))
                before = work.find(table, (group, partition))
                tries[partition] = before[1] + 1 if before is not None and before[0] == offset else 1
                work.put(table, (group, partition), (offset, tries[partition]))
            transaction.end()
        return tries

    @port_call
    def clear_attempts(self, group: str, partitions: Collection[TopicPartition]) -> None:
        with MemoryTransaction(self._tables, self._hooks) as transaction:
            for partition in sorted(set(partitions)):
                if transaction.work.lock_row(self._tables.attempts, (group, partition)) is not None:
                    transaction.work.put(self._tables.attempts, (group, partition), None)
            transaction.end()

    @port_call
    def claim_tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        return self._tables.claim_tasks(kinds, limit, lease_s, self._hooks.owner)

    @port_call
    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        return self._tables.claim_outbox(limit, lease_s, without, self._hooks.owner)

    @port_call
    def mark_sent(self, ids: Collection[str]) -> None:
        for name in ids:
            if name in self._tables.outbox.rows:
                self._tables.outbox.apply(name, None)

    @port_call
    def return_outbox(self, ids: Collection[str]) -> None:
        now = self._tables.clock.now()
        for name in sorted(set(ids)):
            if name in self._tables.outbox.rows:
                self._tables.lease_outbox(name, now)

    @port_call
    def dead_letters(
        self, state: DeadLetterState | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[DeadLetterSummary]:
        letters = (letter for letter in self._tables.dead_letters.rows.values() if state in (None, letter.state))
        page = sorted(letters, key=lambda letter: (letter.parked_at, letter.id))[offset : offset + limit]
        return [summary_of(letter) for letter in page]

    @port_call
    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's name
        return self._tables.dead_letters.rows.get(id)

    @port_call
    def next_due(self, without: Collection[str] = ()) -> datetime | None:
        return self._tables.next_due(without)

    @port_call
    def backlog(self) -> Backlog:
        tables, now = self._tables, self._tables.clock.now()
        return Backlog(
            oldest_outbox_at=min((row.created_at for row in tables.outbox.rows.values()), default=None),
            outbox=len(tables.outbox.rows),
            tasks_due=sum(row.due_at <= now for row in tables.tasks.rows.values()),
            parked=sum(row.state is DeadLetterState.PARKED for row in tables.dead_letters.rows.values()),
            oldest_open_at=self._oldest_open_at(),
        )

    @port_call
    def purge(self, older_than: datetime, *, keys_older_than: datetime, limit: int) -> int:
        return self._tables.purge(older_than, keys_older_than, limit)

    def register(self, instance: str) -> int:
        tables = self._tables
        tables.instances[self._hooks.owner] = instance
        return tables.release({owner for owner in tables.dead if tables.instances.get(owner) == instance})

    @port_call
    def ping(self) -> None:
        """Memory is always reachable."""

    def first_handled(self, group: str) -> datetime | None:
        rows = self._tables.inbox.rows.items()
        return min((at for (consumer, _), at in rows if consumer == group), default=None)

    def currency(self) -> str | None:
        return self._tables.currency

    def pin_currency(self, code: str) -> str:
        if self._tables.currency is None:
            self._tables.currency = code
        return self._tables.currency

    @port_call
    def close(self) -> None:
        """There is no connection to close."""

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        with COMMITTING:
            tables = [table for table in vars(self._tables).values() if isinstance(table, Table)]
            self._snapshot = {table: dict(table.rows) for table in tables}
        try:
            yield
        finally:
            self._snapshot = None

    def all_inbox(self) -> Iterable[tuple[str, MessageId]]:
        return sorted(self._evidence(self._tables.inbox))

    def all_outbox(self) -> Iterable[OutboxRow]:
        rows = self._evidence(self._tables.outbox).items()
        return [OutboxRow(name, row.message, row.leased_until) for name, row in rows]

    def all_tasks(self) -> Iterable[TaskKey]:
        return list(self._evidence(self._tables.tasks))

    def all_dead_letters(self) -> Iterable[DeadLetter]:
        return list(self._evidence(self._tables.dead_letters).values())

    def _evidence(self, table: Table[K, V]) -> Mapping[K, V]:
        """The rows that evidence is read from: those of the snapshot, within `at_one_moment`."""
        return table.rows if self._snapshot is None else self._snapshot[table]

    def _oldest_open_at(self) -> datetime | None:
        return None
