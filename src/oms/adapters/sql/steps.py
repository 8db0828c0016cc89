"""The record of a shop's own step: JSON documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import bindparam, insert, select, update

from oms.adapters.sql.bulk import Bulk
from oms.adapters.sql.database import Database
from oms.adapters.sql.schema import STEP, StepTables
from oms.adapters.sql.store import SqlStore
from oms.adapters.sql.transaction import SqlTransaction
from oms.ports.clock import Ids
from oms.ports.store import StepStore, StepTransaction

_DOCUMENTS = STEP.documents
_INSERT = Bulk(insert(_DOCUMENTS), "consumer", "key", "body")
_UPDATE = Bulk(
    update(_DOCUMENTS)
    .where(_DOCUMENTS.c.consumer == bindparam("g"), _DOCUMENTS.c.key == bindparam("k"))
    .where(_DOCUMENTS.c.body == bindparam("before"))
    .values(body=bindparam("after")),
    *("g", "k", "before", "after"),
)


class SqlStepTransaction(SqlTransaction[StepTables], StepTransaction):
    """A step's unit of work."""

    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        """The documents under these keys."""
        found = select(_DOCUMENTS).where(_DOCUMENTS.c.consumer == group).order_by(_DOCUMENTS.c.key).with_for_update()
        return {row.key: row.body for row in self._link.rows_in(found, _DOCUMENTS.c.key, keys)}

    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        """Insert, and update by compare-and-set."""
        self._link.many(_INSERT, [(group, key, after) for key, before, after in changes if before is None])
        self._link.each(_UPDATE, [(group, key, before, after) for key, before, after in changes if before is not None])


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
