"""The record of a shop's own step: JSON documents."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select, update

from oms.adapters.sql.core.bulk import Bulk, of
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.query import Query, given
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import STEP, StepTables
from oms.adapters.sql.stores.transaction import SqlTransaction
from oms.ports.broker import TopicPartition
from oms.ports.clock import Ids
from oms.ports.stores.steps import StepStore, StepTransaction

_DOCUMENTS = STEP.documents
_INSERT = Bulk(lambda new: new.into(_DOCUMENTS), of(_DOCUMENTS, "key", "body"), of(_DOCUMENTS, "consumer"))
_UPDATE = Bulk(
    lambda new: (
        update(_DOCUMENTS)
        .where(_DOCUMENTS.c.consumer == new.consumer, _DOCUMENTS.c.key == new.key, _DOCUMENTS.c.body == new.before)
        .values(body=new.body)
    ),
    {**of(_DOCUMENTS, "key", "body"), "before": _DOCUMENTS.c.body},
    of(_DOCUMENTS, "consumer"),
)
_PINNED = Bulk(
    lambda new: new.into(STEP.start_offsets).on_conflict_do_nothing(),
    of(STEP.start_offsets, "offsets"),
    of(STEP.start_offsets, "consumer"),
)
_LOCKED = Query(
    select(_DOCUMENTS)
    .where(_DOCUMENTS.c.consumer == given(_DOCUMENTS.c.consumer))
    .order_by(_DOCUMENTS.c.key)
    .with_for_update(),
    _DOCUMENTS.c.key,
    of(_DOCUMENTS, "consumer"),
)


class SqlStepTransaction(SqlTransaction[StepTables], StepTransaction):
    """A step's unit of work."""

    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        """The documents under these keys."""
        return {row.key: row.body for row in self._link.found(_LOCKED, keys, consumer=group)}

    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        """Insert, and update by compare-and-set."""
        made = [(key, after) for key, before, after in changes if before is None]
        self._link.many(_INSERT, made, consumer=group)
        changed = [(key, after, before) for key, before, after in changes if before is not None]
        self._link.each(_UPDATE, changed, consumer=group)


class SqlStepStore(SqlStore[StepTables], StepStore):
    """Documents."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, STEP, ids)

    def begin(self) -> SqlStepTransaction:
        """Start a write transaction."""
        return SqlStepTransaction(self._database, self._tables, self._database.begin())

    def document(self, group: str, key: str) -> str | None:
        """A committed document."""
        found = select(_DOCUMENTS.c.body).where(_DOCUMENTS.c.consumer == group, _DOCUMENTS.c.key == key)
        with self._database.reading() as link:
            row = link.first(found)
        return row.body if row else None

    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        """The offsets that were pinned."""
        table = STEP.start_offsets
        with self._database.reading() as link:
            row = link.first(select(table.c.offsets).where(table.c.consumer == group))
        return {TopicPartition(topic, part): offset for topic, part, offset in json.loads(row.offsets)} if row else None

    def pin_start_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Keep offsets, unless there are some."""
        text = json.dumps([[*at, offset] for at, offset in sorted(offsets.items())])
        with self._database.writing() as link:
            link.many(_PINNED, [(text,)], consumer=group)
        kept = self.start_offsets(group)
        return offsets if kept is None else kept
