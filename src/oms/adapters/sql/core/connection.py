"""A connection as the stores use it: few statements, many rows, and none of the driver's errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import attrs
from sqlalchemy import Connection, Executable, Select, Table, text

from oms.adapters.sql.core.bulk import Bulk, Row
from oms.adapters.sql.core.errors import TRANSLATE_COMMIT_ERRORS, TRANSLATE_ERRORS, ErrorTranslation
from oms.adapters.sql.core.query import Query
from oms.ports.errors import Permanent, PortError, Retryable

STREAMED = 1000
"""Rows of a long answer that are in memory at a time."""

A = TypeVar("A")


class Missed(Enum):
    """Why a statement changed fewer rows than it had to."""

    CHANGED = "another transaction changed a row first"
    NO_PRODUCT = "a product has no row"

    def error(self) -> PortError:
        """The error that the statement's caller gets."""
        if self is Missed.NO_PRODUCT:
            return Permanent("there is no such product")
        return Retryable("another transaction was first")


@attrs.frozen
class Expected:
    """How many rows a statement has to change, and what it means where it changed fewer."""

    rows: int
    missed: Missed


class SqlConnection:
    """A connection in a transaction, and the store's time when that began.

    What is asked again and again (a `Query`, a `Bulk`) goes to the driver as it was compiled once; other statements
    go through SQLAlchemy. This one is SQLite's: each statement runs when it is said. `PostgresLink` may send what
    answers nothing later, with what does, and at the latest with the commit: so does an error come.

    Where a statement failed, no other one runs: SQLite may have rolled back by itself, and the next statement would
    be committed alone.
    """

    def __init__(self, connection: Connection, now: datetime | None, schema: str | None = None) -> None:
        self.connection, self.schema = connection, schema
        self._now = now
        self._driver: Any = connection.connection.driver_connection
        self._dialect = connection.dialect
        self._options: dict[str, Any] = {"schema_translate_map": {None: schema}} if schema else {}
        self._border: ErrorTranslation = TRANSLATE_ERRORS
        self._ended = False

    @property
    def now(self) -> datetime:
        """The store's time at the beginning; a single statement outside of a transaction has none."""
        if self._now is None:
            raise RuntimeError("only a transaction knows its time")
        return self._now

    @property
    def stamp(self) -> datetime | None:
        """The same for a row; None where the server is to write its own, because it hasn't been asked for it yet."""
        return self.now

    @property
    def on_postgres(self) -> bool:
        """Whether it isn't SQLite."""
        return self._dialect.name == "postgresql"

    # -- what is asked again and again

    def found(self, query: Query, keys: Collection[str] | None = None, **once: Any) -> list[Any]:
        """All rows of an answer; with `keys`, of the rows under these, and without a question where there is none."""
        if keys is not None and not keys:
            self.ensure_open()
            return []
        compiled = query.on(self._dialect, self.schema)
        return self._run(lambda: compiled.rows(self._answer(compiled.text, compiled.parameters(keys, once))))

    def change(self, query: Query, keys: Collection[str] | None = None, **once: Any) -> None:
        """Update or delete; with `keys`, the rows under these."""
        self.ensure_open()
        if keys is None or keys:
            compiled = query.on(self._dialect, self.schema)
            self._tell(compiled.text, self._run(lambda: compiled.parameters(keys, once)))

    def many(self, bulk: Bulk, rows: Collection[Row], **once: Any) -> None:
        """Run a statement for each row."""
        self.ensure_open()
        if rows:
            self._tell_each(*self._for(bulk, rows, once))

    def each(self, bulk: Bulk, rows: Collection[Row], *, missed: Missed = Missed.CHANGED, **once: Any) -> None:
        """Like `many`, but raises the error of `missed` unless the statement changes every row."""
        self.ensure_open()
        if rows:
            self._tell_each(*self._for(bulk, rows, once), Expected(len(rows), missed))

    def answers(self, bulk: Bulk, rows: Collection[Row], **once: Any) -> Sequence[Any]:
        """Like `many`, for a statement with RETURNING: what it answers, as the driver gives it, in any order."""
        self.ensure_open()
        if not rows:
            return ()
        statement, parameters = self._for(bulk, rows, once)
        return self._run(lambda: self._answer_each(statement, parameters))

    # -- all else

    def rows(self, statement: Executable) -> Sequence[Any]:
        """All rows of an answer."""
        return self._run(lambda: self._execute(statement).all())

    def first(self, statement: Executable) -> Any:
        """The first row of an answer; None where there is none."""
        return next(iter(self.rows(statement)), None)

    def stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Rows, some at a time."""
        self.ensure_open()
        with TRANSLATE_ERRORS, self._execute(statement, yield_per=STREAMED) as rows:
            yield from rows

    def do(self, statement: Executable) -> None:
        """Run a statement that answers nothing."""
        self._run(lambda: self._execute(statement))

    def lock_table(self, table: Table) -> None:
        """Wait until nobody else holds a lock on a row of the table, and let nobody take one meanwhile.

        On PostgreSQL a row's share locks overlap for ever where takers never pause, and who wants the row alone
        starves; locks on a table queue. SQLite's writers queue anyway.
        """
        if self.on_postgres:
            self.do(text(f"LOCK TABLE {self.schema}.{table.name} IN EXCLUSIVE MODE"))

    def settle(self) -> None:
        """Send what waits, where something does."""
        self.ensure_open()

    def commit(self) -> None:
        """Make it durable."""
        self.ensure_open()
        with TRANSLATE_COMMIT_ERRORS:
            self._driver.commit()

    def ensure_open(self) -> None:
        """`Permanent` after the end, or after an error."""
        if self._ended:
            raise Permanent("the transaction has ended")

    @property
    def unsent(self) -> int:
        """How many statements are buffered; 0 where each runs at once."""
        return 0

    def end(self) -> None:
        """Refuse later statements. `Permanent` if some are still buffered: a commit would leave them out."""
        unsent = self.unsent
        self.drop()
        if unsent:
            raise Permanent(f"the transaction ended before {unsent} of its statements were sent")

    def drop(self) -> None:
        """Refuse later statements and forget the buffered ones, because the transaction is rolled back."""
        self._ended = True

    def _run(self, act: Callable[[], A]) -> A:
        self.ensure_open()
        try:
            with self._border:
                return act()
        except PortError:
            self.drop()
            raise

    def _execute(self, statement: Executable, **options: Any) -> Any:
        return self.connection.execute(statement, execution_options={**self._options, **options})

    def _for(self, bulk: Bulk, rows: Collection[Row], once: dict[str, Any]) -> tuple[str, Any]:
        return self._run(lambda: bulk.on(self._dialect, self.schema, rows, once))

    # -- how SQLite is told

    def _tell(self, statement: str, parameters: Any) -> None:
        self._run(lambda: self._driver.execute(statement, parameters))

    def _tell_each(self, statement: str, rows: Any, expected: Expected | None = None) -> None:
        changed = self._run(lambda: self._driver.executemany(statement, rows).rowcount)
        if expected and changed != expected.rows:
            self.drop()
            raise expected.missed.error()

    def _answer(self, statement: str, parameters: Any) -> Sequence[Any]:
        rows: Sequence[Any] = self._driver.execute(statement, parameters).fetchall()
        return rows

    def _answer_each(self, statement: str, rows: Any) -> Sequence[Any]:
        run = self._driver.execute  # executemany has no answers
        return [answer for row in rows for answer in run(statement, row).fetchall()]
