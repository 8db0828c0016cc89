"""A PostgreSQL connection that sends several statements in one text.

Statements that return no rows are buffered and sent with the next query or at commit; their errors surface there.

A round trip costs the driver 20 to 30 us, the server as much, and two changes of threads; a batch has a dozen
statements, of which three have an answer that it waits for. Eight statements for eight orders took 1.2 ms of the
program's CPU one by one through SQLAlchemy, 0.6 one by one in the driver, 0.55 in its pipeline mode, prepared or not,
and 0.33 as three texts; the server's share fell by a third. A text with several statements takes no parameters of
the server's, so they are written into it, by the driver. Nothing is prepared by name, so a pooler may stand between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection, Executable

from oms.adapters.sql.core.connection import Expected, Missed, SqlConnection
from oms.adapters.sql.core.errors import TRANSLATE_COMMIT_ERRORS, TRANSLATE_ERRORS, ErrorTranslation

READ_ONLY_SERVER = "25006"


@attrs.frozen
class TransactionText:
    """What stands around the statements of a transaction.

    `begin` goes with the first statement; `time`: its last answer is the server's time. `alone`: each statement is a
    transaction of its own, in one text with `begin` before it and `end` behind it. `border` translates errors.
    """

    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    time: bool = False
    alone: bool = False
    border: ErrorTranslation = TRANSLATE_ERRORS


_FAILING = {
    Missed.CHANGED: ("2201G", "width_bucket(0, 0, 1, 0 * count(*)::int)"),
    Missed.NO_PRODUCT: ("2201E", "ln(0 * count(*))::int"),
}
"""For each kind of missed row, an expression that fails with an SQLSTATE that no other statement here can cause.

The server evaluates it only where the count is wrong: it depends on count(*), so the planner can't compute it ahead.
An SQLSTATE is the same in every language of the server's messages.
"""

_MISSED = {state: missed for missed, (state, _) in _FAILING.items()}


def _counted(statement: str, expected: Expected) -> str:
    """The statement, in a query that fails where it changed another number of rows than expected.

    So the program need not look at the count before the commit, which goes in the same text.
    """
    _, failing = _FAILING[expected.missed]
    counted = f"SELECT CASE count(*) WHEN {expected.rows} THEN 0 ELSE {failing} END FROM changed"  # noqa: S608 - ours
    return f"WITH changed AS ({statement} RETURNING 1) {counted}"


class PostgresConnection(SqlConnection):
    """A connection that sends its statements together.

    Every table is named with its schema, so that a connection needs no search path: it may be the caller's own
    (`ours` is then false), or change behind a pooler from one transaction to the next.
    """

    def __init__(
        self,
        connection: Connection,
        now: datetime | None,
        schema: str | None,
        words: TransactionText,
        *,
        ours: bool = True,
    ) -> None:
        super().__init__(connection, now, schema)
        self._words, self._ours, self._border = words, ours, words.border
        self._begun = not words.begin
        # A caller's connection may have another row factory and another encoding.
        self._cursor = psycopg.ClientCursor(self._driver, row_factory=tuple_row)
        self._encoding = self._driver.info.encoding
        self._waiting: list[str] = []

    @property
    def now(self) -> datetime:
        """The server's time at the beginning, or the given clock's."""
        if self._now is None and self._words.time:
            self.settle()
        return super().now

    @property
    def stamp(self) -> datetime | None:
        """None until something was asked: the first statement brings the time along."""
        return self._now

    def settle(self) -> None:
        """Send what waits, and begin, where that hasn't been done."""
        self._run(self._settled)

    def commit(self) -> None:
        """Make it durable, in one text with what waits."""
        self.ensure_open()
        if self._begun or self._waiting:
            self._border = TRANSLATE_COMMIT_ERRORS
            self._waiting.append("COMMIT")
            self.settle()

    @property
    def unsent(self) -> int:
        """How many statements are buffered."""
        return len(self._waiting)

    def drop(self) -> None:
        """Forget the buffered statements."""
        self._waiting.clear()
        super().drop()

    def _settled(self) -> None:
        if self._waiting or not self._begun:
            self._send()

    def _execute(self, statement: Executable, **options: Any) -> Any:
        self._settled()
        return super()._execute(statement, **options)

    def _tell(self, statement: str, parameters: Any) -> None:
        self._tell_each(statement, parameters)

    def _tell_each(self, statement: str, rows: Any, expected: Expected | None = None) -> None:
        said = self._run(lambda: self._cursor.mogrify(statement, rows))
        self._waiting.append(_counted(said, expected) if expected else said)
        if self._words.alone:
            self.settle()

    def _answer(self, statement: str, parameters: Any) -> Sequence[Any]:
        self._waiting.append(self._cursor.mogrify(statement, parameters))
        return self._send()

    def _answer_each(self, statement: str, rows: Any) -> Sequence[Any]:
        return self._answer(statement, rows)

    def _send(self) -> Sequence[Any]:
        """One round trip; the rows of the last statement, where it has some."""
        said = self._waiting
        begin = self._words.begin if self._words.alone or not self._begun else ()
        self._waiting = []
        self._execute_text("; ".join([*begin, *said, *self._words.end]))
        self._begun = True
        self._pass_over(len(begin) - 1)
        if begin and self._words.time and self._now is None:
            self._now = self._cursor.fetchall()[0][0].astimezone(UTC)
        self._pass_over(len(said) if begin else len(said) - 1)
        return self._cursor.fetchall() if said and self._cursor.description else ()

    def _pass_over(self, answers: int) -> None:
        for _ in range(answers):
            self._cursor.nextset()

    def _execute_text(self, words: str) -> None:
        try:
            self._cursor.execute(words.encode(self._encoding))
        except psycopg.Error as error:
            if error.sqlstate in _MISSED:
                raise _MISSED[error.sqlstate].error() from None
            if self._ours and (self._driver.closed or error.sqlstate == READ_ONLY_SERVER):
                # The others of its pool are gone as well, or look at a server that became a standby.
                self.connection.invalidate()
                self.connection.engine.dispose()
            raise
