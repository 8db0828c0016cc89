"""A connection as the stores use it: few statements, many rows, and none of the driver's errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Executable, Select, Table, UpdateBase, any_, literal, text
from sqlalchemy.types import UserDefinedType

from oms.adapters.sql.arrays import array_text
from oms.adapters.sql.border import BORDER, COMMIT
from oms.adapters.sql.bulk import Bulk, Row
from oms.ports.errors import Permanent, PortError, Retryable

CHUNK = 2000
"""Values in one IN list: far below SQLite's limit of 32,766 variables."""

AROUND = "oms_around"
"""The option of a statement that is a transaction of its own: the words that begin it."""

STREAMED = 1000
"""Rows of a long answer that are in memory at a time."""

A = TypeVar("A")


class _Texts(UserDefinedType[str]):
    """An array in its text form; the cast is of the parameter itself, so that the planner sees how many there are."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"


class Link:
    """A connection in a transaction, and the store's time when that began.

    Where a statement failed, no other one runs: SQLite may have rolled back by itself, and the next statement would
    be committed alone.

    On PostgreSQL every table is named with its `schema`, so that a connection needs no search path: it may be the
    caller's own, or change behind a pooler from one transaction to the next. With `around`, the words that begin a
    transaction, each statement goes with them and is committed by itself.
    """

    def __init__(
        self, connection: Connection, now: datetime | None, schema: str | None = None, *, around: str = ""
    ) -> None:
        self.connection, self.schema = connection, schema
        self._now = now
        self._options: dict[str, Any] = {"schema_translate_map": {None: schema}} if schema else {}
        self._border = BORDER
        if around:
            self._options[AROUND], self._border = around, COMMIT
        self._ended = False

    @property
    def now(self) -> datetime:
        """The store's time at the beginning; a single statement outside of a transaction has none."""
        if self._now is None:
            raise RuntimeError("only a transaction knows its time")
        return self._now

    @property
    def on_postgres(self) -> bool:
        """Whether it isn't SQLite."""
        return self.connection.dialect.name == "postgresql"

    def rows(self, statement: Executable) -> Sequence[Any]:
        """All rows of an answer."""
        return self._run(lambda: self._execute(statement).all())

    def first(self, statement: Executable) -> Any:
        """The first row of an answer; None where there is none."""
        return next(iter(self.rows(statement)), None)

    def stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Rows, some at a time."""
        self.ensure_open()
        with BORDER, self._execute(statement, yield_per=STREAMED) as rows:
            yield from rows

    def rows_in(self, statement: Select[Any], column: ColumnElement[Any], values: Iterable[str]) -> Sequence[Any]:
        """The rows whose `column` is one of the values, in the statement's order within each chunk of sorted values."""
        return [row for part in chunks(values) for row in self.rows(statement.where(self._among(column, part)))]

    def change_in(self, statement: UpdateBase, column: ColumnElement[Any], values: Iterable[str]) -> None:
        """Update or delete the rows whose `column` is one of the values."""
        for part in chunks(values):
            self.do(statement.where(self._among(column, part)))  # type: ignore[attr-defined]

    def do(self, statement: Executable) -> None:
        """Run a statement that answers nothing."""
        self._run(lambda: self._execute(statement))

    def many(self, bulk: Bulk, rows: Collection[Row], **once: Any) -> int:
        """Run a statement for each row; how many rows of the table that changed."""
        self.ensure_open()
        if not rows:
            return 0
        return int(self._run(lambda: self._driver(*self._for(bulk, rows, once)).rowcount))

    def each(self, bulk: Bulk, rows: Collection[Row], **once: Any) -> None:
        """Like `many`, where every row must be found as it was read: else `Retryable`."""
        if self.many(bulk, rows, **once) != len(rows):
            self.refuse(Retryable("another transaction was first"))

    def answers(self, bulk: Bulk, rows: Collection[Row], **once: Any) -> Sequence[Any]:
        """Like `many`, for a statement with RETURNING: what it answers, as the driver gives it, in any order."""
        self.ensure_open()
        if not rows:
            return ()
        return self._run(lambda: self._answers(*self._for(bulk, rows, once)))

    def lock_table(self, table: Table) -> None:
        """Wait until nobody else holds a lock on a row of the table, and let nobody take one meanwhile.

        On PostgreSQL a row's share locks overlap for ever where takers never pause, and who wants the row alone
        starves; locks on a table queue. SQLite's writers queue anyway.
        """
        if self.on_postgres:
            self.do(text(f"LOCK TABLE {self.schema}.{table.name} IN EXCLUSIVE MODE"))

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

    def _run(self, act: Callable[[], A]) -> A:
        self.ensure_open()
        try:
            with self._border:
                return act()
        except PortError:
            self.end()
            raise

    def _execute(self, statement: Executable, **options: Any) -> Any:
        return self.connection.execute(statement, execution_options={**self._options, **options})

    def _driver(self, statement: str, parameters: Any) -> Any:
        return self.connection.exec_driver_sql(statement, parameters, execution_options=self._options)

    def _for(self, bulk: Bulk, rows: Collection[Row], once: dict[str, Any]) -> tuple[str, Any]:
        return bulk.on(self.connection.dialect, self.schema, rows, once)

    def _answers(self, statement: str, parameters: Any) -> Sequence[Any]:
        if isinstance(parameters, dict):
            found: Sequence[Any] = self._driver(statement, parameters).all()
            return found
        run = self.connection.connection.cursor().execute  # executemany has no answers
        return [answer for row in parameters for answer in run(statement, row).fetchall()]

    def _among(self, column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool]:
        if self.on_postgres:
            return column == any_(literal(array_text(values), _Texts()))
        return column.in_(values)


def chunks(values: Iterable[str]) -> Iterator[Sequence[str]]:
    """The values, sorted and each once, in lists short enough for one statement."""
    known = sorted(set(values))
    for start in range(0, len(known), CHUNK):
        yield known[start : start + CHUNK]
