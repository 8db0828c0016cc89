"""SQLite engines, and the border at which driver errors become the ports' own."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable

BUSY_TIMEOUT_S = 5.0
CHUNK = 500
"""Values in one IN list or one multi-row statement: far below SQLite's limit of 32,766 variables."""


def writer(path: Path) -> Engine:
    """The engine of one file: write transactions take the write lock at once, commits are on disk when they return.

    A deferred transaction that wants to write after it has read fails at once where another wrote meanwhile; so
    ours begin IMMEDIATE.
    """
    return _engine(str(path), "FULL", "BEGIN IMMEDIATE", pool_size=2)


def reader(path: Path) -> Engine:
    """Read transactions on the same file: never in the way of the writer."""
    return _engine(str(path), "FULL", "BEGIN", pool_size=8)


def side_door(path: Path) -> Engine:
    """A writer that doesn't wait for the disk: what it wrote outlives the process, not a loss of power.

    NORMAL and not OFF: a checkpoint that this connection happens to make must still be in order on disk.
    """
    return _engine(str(path), "NORMAL", "BEGIN IMMEDIATE", pool_size=1)


def read_only(path: Path) -> Engine:
    """The file of another process: nothing is written, nothing is migrated."""
    return _engine(f"file:{path}?mode=ro&uri=true", "FULL", "BEGIN", pool_size=4, journal=False)


def _engine(database: str, synchronous: str, begin: str, *, pool_size: int, journal: bool = True) -> Engine:
    engine = create_engine(
        f"sqlite+pysqlite:///{database}",
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False, "cached_statements": 256},
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=16,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        if journal:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


_AGAIN = ("locked", "busy", "disk", "full", "unable to open", "readonly")


def translated(error: SQLAlchemyError, *, committing: bool = False) -> PortError:
    """What a driver's error means to us; the text names no values."""
    original = getattr(error, "orig", None)
    said = f"{type(original or error).__name__}: {original or type(error).__name__}"
    if isinstance(error, IntegrityError):
        if "UNIQUE" in said:
            return Retryable(f"another transaction was first ({said})")
        return Permanent(said)
    if isinstance(original, sqlite3.OperationalError):
        waits = any(word in said.lower() for word in _AGAIN)
        if committing and not ("locked" in said or "busy" in said):
            return OutcomeUnknown(said)
        return Retryable(said) if waits else Permanent(said)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return OutcomeUnknown(said) if committing else Retryable(said)
    return Permanent(said)


@contextmanager
def border(*, committing: bool = False) -> Generator[None]:
    """Turn driver errors into the ports' own."""
    try:
        yield
    except SQLAlchemyError as error:
        raise translated(error, committing=committing) from error
    except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
        raise Permanent(f"{type(error).__name__}: {error}") from error
