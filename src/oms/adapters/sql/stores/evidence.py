"""Reads the delivery tables of every service's store, for a check of the whole system."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Generic

from sqlalchemy import select, text

from oms.adapters.sql.core.database import Database
from oms.adapters.sql.stores.rows import letter_of, outbox_row
from oms.adapters.sql.stores.transaction import T_
from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.evidence import ServiceEvidence
from oms.ports.messages import MessageId
from oms.ports.stores.rows import DeadLetter, OutboxRow

_REPLAYED = text("SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()")
_NOTHING_REPLAYED = datetime(1970, 1, 1, tzinfo=UTC)


class SqlServiceEvidence(ServiceEvidence, Generic[T_]):
    """The delivery tables of one service, streamed."""

    _database: Database
    _tables: T_

    def at_one_moment(self) -> AbstractContextManager[None]:
        return self._database.at_one_moment()

    def as_of(self) -> datetime | None:
        """The time of the last transaction that a PostgreSQL standby has replayed; None on a primary and on SQLite."""
        with self._database.reading() as connection:
            if not connection.on_postgres:
                return None
            is_standby, replayed = connection.first(_REPLAYED)
        return (replayed or _NOTHING_REPLAYED) if is_standby else None

    def all_inbox(self) -> Iterable[tuple[str, MessageId]]:
        """Every (group, message), from the index alone: the rows are in no order on disk."""
        consumer, message = self._tables.inbox.c.consumer, self._tables.inbox.c.message_id
        rows = self._database.stream(select(consumer, message).order_by(consumer, message))
        return ((group, MessageId(name)) for group, name in rows)

    def all_outbox(self) -> Iterable[OutboxRow]:
        return map(outbox_row, self._database.stream(select(self._tables.outbox)))

    def all_tasks(self) -> Iterable[TaskKey]:
        rows = self._database.stream(select(self._tables.tasks))
        return (TaskKey(TaskKind(row.kind), row.key) for row in rows)

    def all_dead_letters(self) -> Iterable[DeadLetter]:
        return map(letter_of, self._database.stream(select(self._tables.dead_letters)))
