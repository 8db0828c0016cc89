"""Sends several statements to PostgreSQL in one text.

A statement that returns no rows is buffered, and sent with the next query or at commit; its errors surface there.

A round trip costs the driver 20 to 30 us, the server as much, and two switches of threads. A batch has a dozen
statements, and waits for the rows of three. Eight statements for eight orders took 1.2 ms of the program's CPU one by
one through SQLAlchemy, 0.6 ms one by one in the driver, 0.55 ms in its pipeline mode (prepared or not), and 0.33 ms as
three texts; the server's share fell by a third. The server takes no parameters for a text of several statements, so
the driver writes them into the text. No statement is prepared by name, so a pooler may be in between.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection

from oms.adapters.sql.core.sender import ExpectedRows, Missed, Rows, Sender

READ_ONLY_SERVER = "25006"
"""SQLSTATE of a write on a standby."""


@attrs.frozen
class TransactionText:
    """The statements around those of a transaction.

    `begin` is sent with the first statement; if `begin_returns_time`, its last row is the server's time.
    With `per_statement`, each statement is a transaction of its own: one text of `begin`, the statement and `end`.
    With `commits`, such a statement writes: if the connection is lost, it is unknown whether it was committed.
    """

    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    begin_returns_time: bool = False
    per_statement: bool = False
    commits: bool = False


_FAILING = {
    Missed.CHANGED: ("2201G", "width_bucket(0, 0, 1, 0 * count(*)::int)"),
    Missed.NO_PRODUCT: ("2201E", "ln(0 * count(*))::int"),
}
"""For each kind of missed row, an expression that fails with an SQLSTATE that no other statement here can cause.

The server evaluates it only if the count is wrong: it depends on count(*), so the planner can't compute it in advance.
An SQLSTATE doesn't depend on the language of the server's messages.
"""

_MISSED = {state: missed for missed, (state, _) in _FAILING.items()}


def _checking(statement: str, expected: ExpectedRows) -> str:
    """Return a query that runs the statement and fails if it changes another number of rows than expected.

    So the program needn't see the count before the commit, which is in the same text.
    """
    _, failing = _FAILING[expected.missed]
    counted = f"SELECT CASE count(*) WHEN {expected.count} THEN 0 ELSE {failing} END FROM changed"  # noqa: S608 - ours
    return f"WITH changed AS ({statement} RETURNING 1) {counted}"


class PostgresSender(Sender):
    """One transaction of a PostgreSQL connection. `now` is the time of a given clock; None for the server's.

    Each statement names the schema of its tables, so a connection needs no search path: it may be the caller's own
    (`owned` is then false), and behind a pooler it may be another session for each transaction.
    """

    def __init__(
        self, connection: Connection, text: TransactionText, now: datetime | None, *, owned: bool = True
    ) -> None:
        self._connection, self._text, self._now, self._owned = connection, text, now, owned
        driver: Any = connection.connection.driver_connection
        self._driver = driver
        self._begun = not text.begin
        # A caller's connection may have another row factory and another encoding.
        self._cursor = psycopg.ClientCursor(driver, row_factory=tuple_row)
        self._encoding = driver.info.encoding
        self._buffer: list[str] = []

    @property
    def known_time(self) -> datetime | None:
        return self._now

    def read_time(self) -> datetime | None:
        if self._now is None and self._text.begin_returns_time:
            self.flush()
        return self._now

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def run(self, text: str, parameters: Any) -> None:
        self.run_for_rows(text, parameters)

    def run_for_rows(self, text: str, rows: Any, expected: ExpectedRows | None = None) -> None:
        statement = self._cursor.mogrify(text, rows)
        self._buffer.append(_checking(statement, expected) if expected else statement)
        if self._text.per_statement:
            self._send()

    def fetch(self, text: str, parameters: Any) -> Rows:
        self._buffer.append(self._cursor.mogrify(text, parameters))
        return self._send()

    def fetch_for_rows(self, text: str, rows: Any) -> Rows:
        return self.fetch(text, rows)

    def flush(self) -> None:
        if self._buffer or not self._begun:
            self._send()

    def commit(self) -> None:
        if self._begun or self._buffer:
            self._buffer.append("COMMIT")
            self._send()

    def discard(self) -> None:
        self._buffer.clear()

    def _send(self) -> Rows:
        """Send the buffered statements in one round trip; the rows of the last one, if it returns rows."""
        statements, self._buffer = self._buffer, []
        begin = self._text.begin if self._text.per_statement or not self._begun else ()
        self._execute_text("; ".join([*begin, *statements, *self._text.end]))
        self._begun = True
        self._skip_results(len(begin) - 1)
        if begin and self._text.begin_returns_time and self._now is None:
            self._now = self._cursor.fetchall()[0][0].astimezone(UTC)
        self._skip_results(len(statements) if begin else len(statements) - 1)
        return self._cursor.fetchall() if statements and self._cursor.description else ()

    def _skip_results(self, count: int) -> None:
        for _ in range(count):
            self._cursor.nextset()

    def _execute_text(self, text: str) -> None:
        try:
            self._cursor.execute(text.encode(self._encoding))
        except psycopg.Error as error:
            if error.sqlstate in _MISSED:
                raise _MISSED[error.sqlstate].error() from None
            if self._owned and (self._driver.closed or error.sqlstate == READ_ONLY_SERVER):
                # The pool's other connections are lost as well, or lead to a server that became a standby.
                self._connection.invalidate()
                self._connection.engine.dispose()
            raise
