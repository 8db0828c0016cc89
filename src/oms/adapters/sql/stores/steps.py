"""The tables of a user's own step: JSON documents and start offsets."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select, update

from oms.adapters.sql.core.bulk_statements import BulkStatement
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.statements import Statement, columns_of, parameter
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import STEP, StepTables
from oms.adapters.sql.stores.transaction import SqlTransaction
from oms.ports.broker import TopicPartition
from oms.ports.clock import Ids
from oms.ports.stores.steps import StepStore, StepTransaction

_DOCUMENTS = STEP.documents
_INSERT_DOCUMENTS = BulkStatement(
    lambda row: row.insert_into(_DOCUMENTS), columns_of(_DOCUMENTS, "key", "body"), columns_of(_DOCUMENTS, "consumer")
)
_UPDATE_DOCUMENTS = BulkStatement(
    lambda row: (
        update(_DOCUMENTS)
        .where(
            _DOCUMENTS.c.consumer == row["consumer"], _DOCUMENTS.c.key == row["key"], _DOCUMENTS.c.body == row["before"]
        )
        .values(body=row["body"])
    ),
    {**columns_of(_DOCUMENTS, "key", "body"), "before": _DOCUMENTS.c.body},
    columns_of(_DOCUMENTS, "consumer"),
)
_PIN_START_OFFSETS = BulkStatement(
    lambda row: row.insert_into(STEP.start_offsets).on_conflict_do_nothing(),
    columns_of(STEP.start_offsets, "offsets"),
    columns_of(STEP.start_offsets, "consumer"),
)
_LOCK_DOCUMENTS = Statement(
    select(_DOCUMENTS)
    .where(_DOCUMENTS.c.consumer == parameter(_DOCUMENTS.c.consumer))
    .order_by(_DOCUMENTS.c.key)
    .with_for_update(),
    _DOCUMENTS.c.key,
    columns_of(_DOCUMENTS, "consumer"),
)


class SqlStepTransaction(SqlTransaction[StepTables], StepTransaction):
    """A step's unit of work."""

    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        return {row.key: row.body for row in self._connection.fetch(_LOCK_DOCUMENTS, keys, consumer=group)}

    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        made = [(key, after) for key, before, after in changes if before is None]
        self._connection.run_for_rows(_INSERT_DOCUMENTS, made, consumer=group)
        changed = [(key, after, before) for key, before, after in changes if before is not None]
        self._connection.change_every_row(_UPDATE_DOCUMENTS, changed, consumer=group)


class SqlStepStore(SqlStore[StepTables], StepStore):
    """Documents."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, STEP, ids)

    def begin(self) -> SqlStepTransaction:
        return SqlStepTransaction(self._database, self._tables, self._database.begin())

    def document(self, group: str, key: str) -> str | None:
        found = select(_DOCUMENTS.c.body).where(_DOCUMENTS.c.consumer == group, _DOCUMENTS.c.key == key)
        with self._database.reading() as connection:
            row = connection.first(found)
        return row.body if row else None

    def start_offsets(self, group: str) -> Mapping[TopicPartition, int] | None:
        table = STEP.start_offsets
        with self._database.reading() as connection:
            row = connection.first(select(table.c.offsets).where(table.c.consumer == group))
        return {TopicPartition(topic, part): offset for topic, part, offset in json.loads(row.offsets)} if row else None

    def pin_start_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        text = json.dumps([[*at, offset] for at, offset in sorted(offsets.items())])
        with self._database.writing() as connection:
            connection.run_for_rows(_PIN_START_OFFSETS, [(text,)], consumer=group)
        kept = self.start_offsets(group)
        return offsets if kept is None else kept
