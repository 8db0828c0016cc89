"""How stores write aggregates: insert the new ones, and update the others by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import attrs
from sqlalchemy import Column, Table, update

from oms.adapters.sql.core.bulk_statements import BulkStatement, Row, RowValues
from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.statements import columns_of

A = TypeVar("A")


@attrs.frozen
class Versions(Generic[A]):
    """The value that the row of an aggregate must have in one column, so that an update may change the row.

    `of` returns that value of the aggregate before the change, and `is_new` whether the aggregate has no row yet.
    """

    column: Column[Any]
    of: Callable[[A], Any]
    is_new: Callable[[A], bool]


class AggregateTable(Generic[A]):
    """Writes one kind of aggregate, whose table has its id as the first column.

    Most transitions change only some columns, `state_columns`. `only_state_changed` recognises them by the objects
    that before and after share, `state_row` returns their values (id first), and `row` those of all columns.
    """

    def __init__(
        self,
        table: Table,
        versions: Versions[A],
        row: Callable[[A], Row],
        state_columns: Sequence[str],
        state_row: Callable[[A], Row],
        only_state_changed: Callable[[A, A], bool],
    ) -> None:
        self._table, self._versions = table, versions
        self._row, self._state_row, self._only_state_changed = row, state_row, only_state_changed
        self._insert = BulkStatement(lambda values: values.insert_into(table), columns_of(table))
        self._update = self._compare_and_set(table.c.keys()[1:])
        self._change_state = self._compare_and_set(state_columns)

    def save(self, connection: SqlConnection, changes: Iterable[tuple[A, A]]) -> None:
        """Write (before, after) pairs; `Retryable` if another transaction changed one first."""
        inserted: list[Row] = []
        updated: list[Row] = []
        changed_states: list[Row] = []
        for before, after in changes:
            if self._versions.is_new(before):
                inserted.append(self._row(after))
            elif self._only_state_changed(before, after):
                changed_states.append((*self._state_row(after), self._versions.of(before)))
            else:
                updated.append((*self._row(after), self._versions.of(before)))
        connection.run_for_rows(self._insert, inserted)
        connection.change_every_row(self._update, updated)
        connection.change_every_row(self._change_state, changed_states)

    def _compare_and_set(self, names: Sequence[str]) -> BulkStatement:
        """Set columns of the rows that still have the version from before the change."""
        table, version = self._table, self._versions.column
        (id_column, *_) = table.columns

        def build(row: RowValues) -> Any:
            unchanged = id_column == row[id_column.name], version == row["before"]
            return update(table).where(*unchanged).values(row.only(names))

        return BulkStatement(build, {**columns_of(table, id_column.name, *names), "before": version})
