"""The border at which the driver's errors become the ports' own.

A text made here names constraints and columns, never a value: SQLite's messages hold none, and nothing of SQLAlchemy's
own message (statement, parameters) is taken over. The original is not chained either, because an error on a
connection of the caller's would show its parameters.
"""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable

_WAITS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# Trouble of the whole file or machine: no message is to blame, so none must be parked for it.
_TROUBLE = frozenset({
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_NOTADB,
})  # fmt: skip
_FIRST = frozenset({"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"})


class Border:
    """`with BORDER: ...` lets no error of SQLAlchemy or of the driver through."""

    def __init__(self, *, committing: bool = False) -> None:
        self._committing = committing

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SQLAlchemyError | sqlite3.Error | OverflowError | UnicodeError):
            raise translated(error, committing=self._committing) from None


BORDER = Border()
COMMIT = Border(committing=True)


def translated(error: Exception, *, committing: bool = False) -> PortError:
    """What an error means to us."""
    original: Any = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return _of_sqlite(code & 0xFF, original.sqlite_errorname, str(original), committing=committing)
    if isinstance(error, PoolTimeoutError):
        return Retryable("every connection of the store is in use")
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return OutcomeUnknown("the connection was lost") if committing else Retryable("the connection was lost")
    return Permanent(f"the database can't take this: {type(original).__name__}")


def _of_sqlite(code: int, name: str, message: str, *, committing: bool) -> PortError:
    said = f"{message} ({name})"
    if name in _FIRST:
        return Retryable(f"another transaction was first: {said}")
    if name == "SQLITE_CONSTRAINT_CHECK":
        return Permanent(f"the database refuses what breaks its rule: {said}")
    if code in _WAITS:
        return Retryable(said)
    if code in _TROUBLE:
        return OutcomeUnknown(said) if committing else Retryable(said)
    return OutcomeUnknown(said) if committing else Permanent(said)
