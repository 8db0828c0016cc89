"""The border at which the drivers' errors become the ports' own.

A text made here names the kind of error, constraints and columns, never a value, a statement, an address or a
password: SQLite's messages hold none, and of PostgreSQL's nothing is taken over but names. The original is not chained
either, because an error on a connection of the caller's would show its parameters.
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

_UNIQUE, _CHECK = "23505", "23514"
_ENDS = ("08", "57P")
"""Of a lost connection, and of a server that shuts down."""

# PostgreSQL's classes of errors that come of the values given: these alone would fail again. All others are trouble of
# the server, of the connection, or of a schema that isn't this program's.
_VALUES = {
    "21": "cardinality violation",
    "22": "data exception",
    "23": "integrity constraint violation",
    "44": "with check option violation",
    "54": "program limit exceeded",
}


class ErrorTranslation:
    """`with TRANSLATE_ERRORS: ...` lets no error of SQLAlchemy or of a driver through."""

    def __init__(self, *, committing: bool = False) -> None:
        self._committing = committing

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = isinstance(error, SQLAlchemyError | sqlite3.Error | OverflowError | UnicodeError)
        # Every error of psycopg has a `sqlstate`; whoever stays with SQLite need not import psycopg.
        if isinstance(error, Exception) and (ours or hasattr(error, "sqlstate")):
            raise translated(error, committing=self._committing) from None


TRANSLATE_ERRORS = ErrorTranslation()
TRANSLATE_COMMIT_ERRORS = ErrorTranslation(committing=True)


def translated(error: Exception, *, committing: bool = False) -> PortError:
    """What an error means to us."""
    original: Any = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return _of_sqlite(code & 0xFF, original.sqlite_errorname, str(original), committing=committing)
    if isinstance(error, PoolTimeoutError):
        return Retryable("every connection of the store is in use")
    if _is_lost(error, original):
        never_was = getattr(original, "pgconn", None) is not None  # psycopg's mark of a failed attempt to connect
        said = "the database can't be reached" if never_was else "the connection was lost"
        return OutcomeUnknown(said) if committing else Retryable(said)
    if getattr(original, "sqlstate", None):
        return _of_postgres(original)
    said = f"the database can't take this: {type(original).__name__}"
    if isinstance(original, UnicodeEncodeError):  # raised before anything is sent
        return Permanent(said)
    return OutcomeUnknown(said) if committing else Permanent(said)


def _is_lost(error: Exception, original: Any) -> bool:
    """Whether the connection is gone, or never was: what it was doing may have happened."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if not hasattr(original, "sqlstate"):
        return False
    if original.sqlstate is None:  # not the server's word: the driver's own
        return _is_operational(original)
    return original.sqlstate.startswith(_ENDS) or original.diag.severity_nonlocalized in ("FATAL", "PANIC")


def _is_operational(original: Exception) -> bool:
    return any(kind.__name__ == "OperationalError" for kind in type(original).__mro__)


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


def _of_postgres(original: Any) -> PortError:
    """An error of the server's: the transaction is undone, also where it was about to commit."""
    state, where = original.sqlstate, original.diag
    name = where.constraint_name or where.column_name or where.table_name
    said = f"{type(original).__name__} ({state})" + (f" at {name}" if name else "")
    if state == _UNIQUE:
        return Retryable(f"another transaction was first: {said}")
    if state == _CHECK:
        return Permanent(f"the database refuses what breaks its rule: {said}")
    if state[:2] in _VALUES:
        return Permanent(f"the database can't take this: {said}")
    return Retryable(said)
