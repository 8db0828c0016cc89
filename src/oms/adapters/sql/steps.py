"""The record of a shop's own step: a JSON document for each order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import bindparam, insert, select, update

from oms.adapters.sql.rows import chunks
from oms.adapters.sql.schema import StepTables
from oms.adapters.sql.store import SqlStore
from oms.adapters.sql.transaction import SqlTransaction
from oms.ports.store import StepStore, StepTransaction


class SqlStepTransaction(SqlTransaction[StepTables], StepTransaction):
    """A step's unit of work."""

    def lock_documents(self, group: str, keys: Collection[str]) -> Mapping[str, str]:
        """The documents under these keys."""
        table, found = self._tables.documents, {}
        for part in chunks(sorted(keys)):
            rows = self._rows(select(table).where(table.c.consumer == group, table.c.key.in_(part)))
            found.update({row.key: row.body for row in rows})
        return dict(sorted(found.items()))

    def save_documents(self, group: str, changes: Sequence[tuple[str, str | None, str]]) -> None:
        """Insert, and update by compare-and-set."""
        table = self._tables.documents
        new = [{"consumer": group, "key": key, "body": after} for key, before, after in changes if before is None]
        self._many(insert(table), new)
        changed = (
            update(table)
            .where(table.c.consumer == group, table.c.key == bindparam("k"), table.c.body == bindparam("b"))
            .values(body=bindparam("a"))
        )
        self._cas(
            changed, [{"k": key, "b": before, "a": after} for key, before, after in changes if before is not None]
        )


class SqlStepStore(SqlStore[StepTables], StepStore):
    """Documents."""

    def begin(self) -> SqlStepTransaction:
        """Start a write transaction."""
        return SqlStepTransaction(self._connect(), self._tables, self._clock.now())

    def document(self, group: str, key: str) -> str | None:
        """A committed document."""
        table = self._tables.documents
        found = self._read(select(table.c.body).where(table.c.consumer == group, table.c.key == key))
        return found[0].body if found else None
