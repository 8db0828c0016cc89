"""SQLite: one file a service, one writer at a time, readers that wait for nobody."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, literal, select
from sqlalchemy.pool import QueuePool

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import ConnectionSource, Database
from oms.adapters.sql.core.joining import refused
from oms.ports.clock import Clock

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 4000
"""16 MiB of log: a batch writes about 3 MiB, and with SQLite's 1,000 pages nearly every commit was a checkpoint."""


def sqlite_database(path: Path, clock: Clock) -> Database:
    """A file of our own, made if it isn't there.

    Write transactions take the write lock at once: a deferred one that wants to write after it has read fails where
    another wrote meanwhile. They are on disk when they return.

    The side door leaves out the wait for the disk: what it wrote outlives the process, not a loss of power. It is
    NORMAL and not OFF, because with OFF its checkpoints could tear what the writer has made durable.
    """
    look = _way(_engine(path, pool_size=8, pragmas=("query_only=ON",)), "BEGIN")
    write = _way(_engine(path, pool_size=2, pragmas=("synchronous=FULL",)), "BEGIN IMMEDIATE")
    return Database(
        read=look,
        snapshot=look,
        write=write,
        alone=write,
        side=_way(_engine(path, pool_size=1, pragmas=("synchronous=NORMAL",)), "BEGIN IMMEDIATE"),
        join=_joined,
        clock=clock,
    )


def sqlite_reader(path: Path, clock: Clock, *, immutable: bool = False) -> Database:
    """The file of another process, which may be at work: nothing is written to it, nothing is migrated.

    `immutable`: no process can change it, so SQLite needs no files beside it.
    """
    mode = "?mode=ro&immutable=1" if immutable else "?mode=ro"
    look = _way(_engine(path, pool_size=4, mode=mode), "BEGIN")
    return Database(look, look, write=None, alone=None, side=None, join=_joined, clock=clock)


def _way(engine: Engine, words: str) -> ConnectionSource:
    def begin(connection: Connection, _schema: str | None, clock: Clock | None) -> SqlConnection:
        driver: Any = connection.connection.driver_connection
        driver.execute(words)
        return SqlConnection(connection, clock.now() if clock else None)  # after the lock may have been waited for

    return ConnectionSource(engine, begin)


def _joined(connection: Connection, database: Database) -> SqlConnection:
    """The link of the caller's transaction; `Permanent` for a connection that can't be joined."""
    driver: Any = connection.connection.driver_connection
    with database.reading() as link:
        ours = _main_file(link.connection.connection.driver_connection)
    theirs = _main_file(driver)
    if not (ours and theirs and os.path.samefile(ours, theirs)):
        raise refused(f"its main database is {theirs or 'in memory'}, the orders are in {ours}")
    connection.execute(select(literal(0)))  # SQLAlchemy notices only statements of its own: it commits after one
    _ensure_begun(connection, driver)
    assert database.clock is not None  # noqa: S101 - SQLite has no clock of its own
    return SqlConnection(connection, database.clock.now())


def _main_file(driver: Any) -> str:
    """The path of a connection's main database; empty for one in memory."""
    return next(str(path) for _, name, path in driver.execute("PRAGMA database_list") if name == "main")


def _ensure_begun(connection: Connection, driver: Any) -> None:
    """Begin where the driver hasn't yet, as it does before the first INSERT.

    By default, sqlite3 sends no BEGIN before a SAVEPOINT. SQLite then commits when that savepoint is released, whatever
    the caller does afterwards.
    """
    driver_begins = driver.isolation_level is not None and getattr(driver, "autocommit", _LEGACY) == _LEGACY
    if driver_begins and connection.in_nested_transaction():
        raise refused("sqlite3 may not have begun a transaction before this savepoint: see README.md")
    if driver.in_transaction:
        return
    if not driver_begins:
        raise refused("its driver is in autocommit mode, so there is no transaction to join")
    driver.execute("BEGIN IMMEDIATE")


_LEGACY = -1
"""sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 doesn't have."""


def _engine(path: Path, *, pool_size: int, pragmas: tuple[str, ...] = (), mode: str = "") -> Engine:
    address = path.absolute().as_uri() + mode

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address,
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,  # the pool hands a connection to one thread at a time
            isolation_level=None,  # we say BEGIN ourselves
            cached_statements=256,
        )
        if not mode:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        for pragma in ("foreign_keys=ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    return create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=16,
        pool_timeout=BUSY_TIMEOUT_S,
        hide_parameters=True,
    )
