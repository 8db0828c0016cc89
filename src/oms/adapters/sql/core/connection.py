"""A connection in a transaction, as the stores use it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Select, Table, text

from oms.adapters.sql.core.bulk_statements import BulkStatement, Row
from oms.adapters.sql.core.errors import TRANSLATE_COMMIT_ERRORS, TRANSLATE_ERRORS, ErrorTranslation
from oms.adapters.sql.core.sender import ExpectedRows, Missed, Rows, Sender
from oms.adapters.sql.core.statements import Statement
from oms.ports.errors import Permanent, PortError

STREAMED = 1000
"""Rows of a streamed result that are in memory at a time."""

A = TypeVar("A")


class SqlConnection:
    """Runs statements within one transaction, and translates the drivers' errors.

    A `Statement` and a `BulkStatement` go to the sender as the text that was compiled once. All other statements go
    through SQLAlchemy, after the buffered ones.

    After an error every later statement is refused: SQLite may have rolled back by itself, and the next statement
    would then be committed alone.
    """

    def __init__(
        self,
        connection: Connection,
        sender: Sender,
        schema: str | None = None,
        *,
        errors: ErrorTranslation = TRANSLATE_ERRORS,
    ) -> None:
        self.sqlalchemy, self.schema = connection, schema
        self._sender, self._errors = sender, errors
        self._dialect = connection.dialect
        self._options: dict[str, Any] = {"schema_translate_map": {None: schema}} if schema else {}
        self._ended = False

    @property
    def now(self) -> datetime:
        """The store's time at the beginning of the transaction."""
        now = self._sender.known_time or self._run(self._sender.read_time)
        if now is None:
            raise RuntimeError("only a transaction knows its time")
        return now

    @property
    def known_time(self) -> datetime | None:
        """Like `now`, but None while the server hasn't reported it: the statement then uses the server's own."""
        return self._sender.known_time

    @property
    def on_postgres(self) -> bool:
        """Whether the database is PostgreSQL, not SQLite."""
        return self._dialect.name == "postgresql"

    def for_schema(self, schema: str) -> SqlConnection:
        """Return the same transaction for the tables of another schema."""
        return SqlConnection(self.sqlalchemy, self._sender, schema, errors=self._errors)

    # -- statements that were compiled once

    def fetch(self, statement: Statement, keys: Collection[str] | None = None, **values: Any) -> list[Any]:
        """Return all rows. With `keys`, those of the rows that have one of them; no keys cost no round trip."""
        if keys is not None and not keys:
            self.ensure_open()
            return []
        compiled = statement.compiled(self._dialect, self.schema)
        return self._run(lambda: compiled.rows(self._sender.fetch(compiled.text, compiled.parameters(keys, values))))

    def run(self, statement: Statement, keys: Collection[str] | None = None, **values: Any) -> None:
        """Run an UPDATE or DELETE, with `keys` on the rows that have one of them."""
        self.ensure_open()
        if keys is None or keys:
            compiled = statement.compiled(self._dialect, self.schema)
            self._run(lambda: self._sender.run(compiled.text, compiled.parameters(keys, values)))

    def run_for_rows(self, statement: BulkStatement, rows: Collection[Row], **values: Any) -> None:
        """Run a statement for each of `rows`."""
        self._run_for_rows(statement, rows, values, None)

    def change_every_row(
        self, statement: BulkStatement, rows: Collection[Row], *, missed: Missed = Missed.CHANGED, **values: Any
    ) -> None:
        """Like `run_for_rows`, but raises the error of `missed` unless the statement changes one row for each."""
        self._run_for_rows(statement, rows, values, ExpectedRows(len(rows), missed))

    def fetch_for_rows(self, statement: BulkStatement, rows: Collection[Row], **values: Any) -> Rows:
        """Like `run_for_rows`, for a statement with RETURNING: its rows as the driver returns them, in any order."""
        self.ensure_open()
        if not rows:
            return ()
        return self._run(lambda: self._sender.fetch_for_rows(*self._compiled(statement, rows, values)))

    # -- statements that SQLAlchemy runs

    def all(self, statement: Executable) -> Sequence[Any]:
        """Return all rows."""
        return self._run(lambda: self._execute(statement).all())

    def first(self, statement: Executable) -> Any:
        """Return the first row; None if there is none."""
        return next(iter(self.all(statement)), None)

    def stream(self, statement: Select[Any]) -> Iterator[Any]:
        """Yield rows and hold `STREAMED` of them in memory at a time."""
        self.ensure_open()
        with TRANSLATE_ERRORS, self._execute(statement, yield_per=STREAMED) as rows:
            yield from rows

    def execute(self, statement: Executable) -> None:
        """Run a statement that returns no rows."""
        self._run(lambda: self._execute(statement))

    def lock_table(self, table: Table) -> None:
        """Wait for all locks on rows of the table, and keep others from taking one until the transaction ends.

        On PostgreSQL, shared row locks of other transactions may overlap without a gap, and a transaction that wants
        the row alone would starve. Locks on a table queue. SQLite has only one writer at a time anyway.
        """
        if self.on_postgres:
            self.execute(text(f"LOCK TABLE {self.schema}.{table.name} IN EXCLUSIVE MODE"))

    # -- the end of the transaction

    def flush(self) -> None:
        """Send the buffered statements."""
        self._run(self._sender.flush)

    def commit(self) -> None:
        """Commit, with the buffered statements. `OutcomeUnknown` if the disk or the connection fails meanwhile."""
        self.ensure_open()
        with TRANSLATE_COMMIT_ERRORS:
            self._sender.commit()

    def ensure_open(self) -> None:
        """Raise `Permanent` after the end and after an error."""
        if self._ended:
            raise Permanent("the transaction has ended")

    def end(self) -> None:
        """Refuse later statements. `Permanent` if some are still buffered: a commit would leave them out."""
        buffered = self._sender.buffered
        self.drop()
        if buffered:
            raise Permanent(f"the transaction ended before {buffered} of its statements were sent")

    def drop(self) -> None:
        """Refuse later statements and forget the buffered ones, because the transaction is rolled back."""
        self._ended = True
        self._sender.discard()

    def _run_for_rows(
        self, statement: BulkStatement, rows: Collection[Row], values: dict[str, Any], expected: ExpectedRows | None
    ) -> None:
        self.ensure_open()
        if rows:
            self._run(lambda: self._sender.run_for_rows(*self._compiled(statement, rows, values), expected))

    def _compiled(self, statement: BulkStatement, rows: Collection[Row], values: dict[str, Any]) -> tuple[str, Any]:
        return statement.text_and_parameters(self._dialect, self.schema, rows, values)

    def _execute(self, statement: Executable, **options: Any) -> Any:
        self._sender.flush()
        return self.sqlalchemy.execute(statement, execution_options={**self._options, **options})

    def _run(self, act: Callable[[], A]) -> A:
        self.ensure_open()
        try:
            with self._errors:
                return act()
        except PortError:
            self.drop()
            raise
