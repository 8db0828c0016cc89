"""Translates errors of SQLAlchemy and the drivers into errors of the ports.

The messages name the kind of error, constraints and columns, never a value, a statement, an address or a password:
SQLite's messages contain none, and of PostgreSQL's only names are used. The original error isn't chained, because an
error on the caller's connection would show the statement's parameters.
"""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# Faults of the whole file or machine: no message caused them, so none may be parked for them.
_FAULTS = frozenset({
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
_DUPLICATES = frozenset({"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID"})

_UNIQUE_VIOLATION, _CHECK_VIOLATION = "23505", "23514"
_CONNECTION_LOST = ("08", "57P")
"""Classes of a lost connection, and of a server that shuts down."""

# Classes of PostgreSQL's errors that the values caused: only these would fail again. All others are faults of the
# server, of the connection, or of a schema that isn't at this program's revision.
_VALUE_ERRORS = {
    "21": "cardinality violation",
    "22": "data exception",
    "23": "integrity constraint violation",
    "44": "with check option violation",
    "54": "program limit exceeded",
}


class ErrorTranslation:
    """In `with TRANSLATE_ERRORS: ...`, an error of SQLAlchemy or a driver becomes an error of the ports.

    While committing, an error that leaves open whether the transaction was committed becomes `OutcomeUnknown`.
    """

    def __init__(self, *, committing: bool = False) -> None:
        self._committing = committing

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = isinstance(error, SQLAlchemyError | sqlite3.Error | OverflowError | UnicodeError)
        # Every error of psycopg has a `sqlstate`. Checking for that spares SQLite's users the import of psycopg.
        if isinstance(error, Exception) and (ours or hasattr(error, "sqlstate")):
            raise translated(error, committing=self._committing) from None


TRANSLATE_ERRORS = ErrorTranslation()
TRANSLATE_COMMIT_ERRORS = ErrorTranslation(committing=True)


def translated(error: Exception, *, committing: bool = False) -> PortError:
    """Return the port's error for an error of SQLAlchemy, sqlite3 or psycopg."""
    original: Any = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return _of_sqlite(code & 0xFF, original.sqlite_errorname, str(original), committing=committing)
    if isinstance(error, PoolTimeoutError):
        return Retryable("every connection of the store is in use")
    if _is_lost(error, original):
        not_made = getattr(original, "pgconn", None) is not None  # psycopg sets it if an attempt to connect failed
        text = "the database can't be reached" if not_made else "the connection was lost"
        return OutcomeUnknown(text) if committing else Retryable(text)
    if getattr(original, "sqlstate", None):
        return _of_postgres(original)
    text = f"the database can't take this: {type(original).__name__}"
    if isinstance(original, UnicodeEncodeError):  # raised before anything is sent
        return Permanent(text)
    return OutcomeUnknown(text) if committing else Permanent(text)


def _is_lost(error: Exception, original: Any) -> bool:
    """Whether the connection was lost, or could not be made. The statement may have taken effect."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if not hasattr(original, "sqlstate"):
        return False
    if original.sqlstate is None:  # raised by the driver, not by the server
        return _is_operational(original)
    return original.sqlstate.startswith(_CONNECTION_LOST) or original.diag.severity_nonlocalized in ("FATAL", "PANIC")


def _is_operational(original: Exception) -> bool:
    return any(kind.__name__ == "OperationalError" for kind in type(original).__mro__)


def _of_sqlite(code: int, name: str, message: str, *, committing: bool) -> PortError:
    text = f"{message} ({name})"
    if name in _DUPLICATES:
        return Retryable(f"another transaction was first: {text}")
    if name == "SQLITE_CONSTRAINT_CHECK":
        return Permanent(f"the database refuses what breaks its rule: {text}")
    if code in _BUSY:
        return Retryable(text)
    if code in _FAULTS:
        return OutcomeUnknown(text) if committing else Retryable(text)
    return OutcomeUnknown(text) if committing else Permanent(text)


def _of_postgres(original: Any) -> PortError:
    """For an error that the server reported: it rolled the transaction back, even if it was to commit."""
    state, where = original.sqlstate, original.diag
    name = where.constraint_name or where.column_name or where.table_name
    text = f"{type(original).__name__} ({state})" + (f" at {name}" if name else "")
    if state == _UNIQUE_VIOLATION:
        return Retryable(f"another transaction was first: {text}")
    if state == _CHECK_VIOLATION:
        return Permanent(f"the database refuses what breaks its rule: {text}")
    if state[:2] in _VALUE_ERRORS:
        return Permanent(f"the database can't take this: {text}")
    return Retryable(text)
