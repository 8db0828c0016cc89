"""Claims of due tasks and of outbox rows with an expired lease."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
from sqlalchemy import ColumnElement, select

from oms.adapters.sql.core.database import Database
from oms.adapters.sql.stores.delivery_statements import any_lapsed_lease, lease_outbox
from oms.adapters.sql.stores.delivery_tables import Tables
from oms.adapters.sql.stores.rows import outbox_row
from oms.adapters.sql.stores.task_statements import claim_due_tasks, due_tasks, lease_tasks
from oms.domain.tasks import TaskKind
from oms.ports.clock import Ids
from oms.ports.stores.rows import OutboxRow, Task


@attrs.frozen
class Claims:
    """Leases the work of one store. Each claim first looks for work: without any, it takes no write lock."""

    database: Database
    tables: Tables
    ids: Ids

    def tasks(self, kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Task]:
        """Lease due tasks, the longest due first."""
        if limit <= 0:
            return ()
        names = tuple(sorted(kind.value for kind in kinds))
        if self.database.commits_per_statement:
            return self._tasks_in_one_statement(names, limit, lease_s)
        due, lease = due_tasks(self.tables, names), self.ids.token()
        with self.database.reading() as connection:
            if not connection.fetch(due, now=connection.now, limit=1):
                return ()
        with self.database.writing() as connection:
            now = connection.now
            rows = connection.fetch(due, now=now, limit=limit)
            keys, until = [(row.key, row.kind) for row in rows], now + timedelta(seconds=lease_s)
            connection.run_for_rows(lease_tasks(self.tables), keys, lease=lease, due_at=until, called_at=now)
        return [
            _task(row, lease, row.attempts + 1, row.called_at or now, repeat=row.called_at is not None) for row in rows
        ]

    def _tasks_in_one_statement(self, kinds: tuple[str, ...], limit: int, lease_s: float) -> Sequence[Task]:
        """PostgreSQL waits for no lock if it finds nothing, and needs one round trip if it finds tasks."""
        lease, owner, now = self.ids.token(), self.database.owner, self.time()
        claim = claim_due_tasks(self.tables, kinds)
        with self.database.autocommit() as connection:
            rows = connection.fetch(claim, limit=limit, lease=lease, owner=owner, lease_s=lease_s, now=now)
        rows = sorted(rows, key=lambda row: (row.was_due_at, row.key))
        return [_task(row, lease, row.attempts, row.called_at, repeat=row.again) for row in rows]

    def outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        """Lease rows with an expired lease, with any id, except those of the topics `without`."""
        if limit <= 0:
            return ()
        table, lapsed = self.tables.outbox, self._lapsed(without)
        if not self._any_lapsed(lapsed, without):
            return ()
        free = select(table).where(lapsed).order_by(table.c.leased_until, table.c.at).limit(limit)
        with self.database.writing() as connection:
            rows = connection.all(free.with_for_update(skip_locked=True))
            until = connection.now + timedelta(seconds=lease_s)
            ids, owner = [row.id for row in rows], self.database.owner
            connection.run(lease_outbox(self.tables), ids, leased_until=until, owner=owner)
        return [OutboxRow(row.id, outbox_row(row).message, until) for row in rows]

    def time(self) -> datetime | None:
        """The time that a single statement is given; None for the server's own."""
        return self.database.clock.now() if self.database.clock else None

    def _lapsed(self, without: Collection[str]) -> ColumnElement[bool]:
        table = self.tables.outbox
        lapsed = table.c.leased_until <= self.database.time
        return lapsed & table.c.topic.not_in(sorted(without)) if without else lapsed

    def _any_lapsed(self, lapsed: ColumnElement[bool], without: Collection[str]) -> bool:
        table = self.tables.outbox
        with self.database.reading() as connection:
            if without:
                return bool(connection.all(select(table.c.id).where(lapsed).order_by(table.c.leased_until).limit(1)))
            return bool(connection.fetch(any_lapsed_lease(self.tables), now=self.time()))


def _task(row: Any, lease: str, attempts: int, called_at: datetime, *, repeat: bool) -> Task:
    kind = TaskKind(row.kind)
    return Task(kind, row.key, row.payload, lease, attempts, row.created_at, called_at, repeat, row.trace)
