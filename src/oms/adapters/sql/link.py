"""A connection as the stores use it: few statements, many rows, and none of the driver's errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Select, UpdateBase

from oms.adapters.sql.border import BORDER
from oms.adapters.sql.bulk import INSERTS, Bulk, Row
from oms.ports.errors import Permanent, PortError, Retryable

CHUNK = 2000
"""Values in one IN list: far below SQLite's limit of 32,766 variables and PostgreSQL's of 65,535."""


class Link:
    """A connection in a transaction, and the store's time when that began.

    Where a statement failed, no other one runs: SQLite may have rolled back by itself, and the next statement would
    be committed alone.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection, self.now = connection, now
        self.insert = INSERTS[connection.dialect.name]
        self._ended = False

    def rows(self, statement: Executable, parameters: Any = None) -> Sequence[Any]:
        """All rows of an answer."""
        self.ensure_open()
        try:
            with BORDER:
                return self.connection.execute(statement, parameters).all()
        except PortError:
            self.end()
            raise

    def first(self, statement: Executable) -> Any:
        """The first row of an answer; None where there is none."""
        return next(iter(self.rows(statement)), None)

    def rows_in(self, statement: Select[Any], column: ColumnElement[Any], values: Iterable[str]) -> Sequence[Any]:
        """The rows whose `column` is one of the values, in the statement's order within each chunk of sorted values."""
        return [row for part in chunks(values) for row in self.rows(statement.where(column.in_(part)))]

    def change_in(self, statement: UpdateBase, column: ColumnElement[Any], values: Iterable[str]) -> None:
        """Update or delete the rows whose `column` is one of the values."""
        for part in chunks(values):
            self.do(statement.where(column.in_(part)))  # type: ignore[attr-defined]

    def do(self, statement: Executable) -> None:
        """Run a statement that answers nothing."""
        self.ensure_open()
        try:
            with BORDER:
                self.connection.execute(statement)
        except PortError:
            self.end()
            raise

    def many(self, bulk: Bulk, rows: Collection[Row]) -> int:
        """Run a statement for each row; how many rows of the table that changed."""
        self.ensure_open()
        if not rows:
            return 0
        try:
            with BORDER:
                text, parameters = bulk.on(self.connection.dialect, list(rows))
                return self.connection.exec_driver_sql(text, parameters).rowcount
        except PortError:
            self.end()
            raise

    def each(self, bulk: Bulk, rows: Collection[Row]) -> None:
        """Like `many`, where every row must be found as it was read: else `Retryable`."""
        if self.many(bulk, rows) != len(rows):
            self.refuse(Retryable("another transaction was first"))

    def refuse(self, error: PortError) -> None:
        """Raise, and let nothing more of this transaction be written."""
        self.end()
        raise error

    def ensure_open(self) -> None:
        """`Permanent` after the end, or after an error."""
        if self._ended:
            raise Permanent("the transaction has ended")

    def end(self) -> None:
        """No statement runs from now on."""
        self._ended = True


def chunks(values: Iterable[str]) -> Iterator[Sequence[str]]:
    """The values, sorted and each once, in lists short enough for one statement."""
    known = sorted(set(values))
    for start in range(0, len(known), CHUNK):
        yield known[start : start + CHUNK]
