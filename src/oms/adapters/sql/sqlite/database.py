"""Opens SQLite databases: one file for each service, one writer at a time, readers that wait for no writer."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import ConnectionSource, Database
from oms.adapters.sql.sqlite.joining import join_sqlite
from oms.adapters.sql.sqlite.sender import SqliteSender
from oms.ports.clock import Clock

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 4000
"""16 MiB of log. A batch writes about 3 MiB; with SQLite's default of 1,000 pages nearly every commit checkpointed."""


def sqlite_database(path: Path, clock: Clock) -> Database:
    """Open a file for this process alone, and create it if it doesn't exist.

    A write transaction takes the write lock when it begins: a deferred one that writes after it has read fails if
    another wrote meanwhile. It is on disk when the commit returns.

    Unsynced writes survive the process, but not a power failure. Their connection is set to NORMAL, not OFF: with OFF,
    its checkpoints could damage what the writer has synced.
    """
    read = _source(_engine(path, pool_size=8, pragmas=("query_only=ON",)), "BEGIN")
    write = _source(_engine(path, pool_size=2, pragmas=("synchronous=FULL",)), "BEGIN IMMEDIATE")
    return Database(
        read=read,
        snapshot=read,
        write=write,
        autocommit=write,
        unsynced=_source(_engine(path, pool_size=1, pragmas=("synchronous=NORMAL",)), "BEGIN IMMEDIATE"),
        join=join_sqlite,
        clock=clock,
    )


def sqlite_reader(path: Path, clock: Clock, *, immutable: bool = False) -> Database:
    """Open the file of another process, which may be running, for reading only; it isn't migrated.

    `immutable`: no process can change the file, so SQLite needs no other files next to it.
    """
    mode = "?mode=ro&immutable=1" if immutable else "?mode=ro"
    read = _source(_engine(path, pool_size=4, mode=mode), "BEGIN")
    return Database(read, read, write=None, autocommit=None, unsynced=None, join=join_sqlite, clock=clock)


def _source(engine: Engine, begin_statement: str) -> ConnectionSource:
    def begin(connection: Connection, _schema: str | None, clock: Clock | None) -> SqlConnection:
        driver: Any = connection.connection.driver_connection
        driver.execute(begin_statement)
        now = clock.now() if clock else None  # after the wait for the lock
        return SqlConnection(connection, SqliteSender(connection, now))

    return ConnectionSource(engine, begin)


def _engine(path: Path, *, pool_size: int, pragmas: tuple[str, ...] = (), mode: str = "") -> Engine:
    address = path.absolute().as_uri() + mode
    pragmas = ("foreign_keys=ON", *pragmas)
    if not mode:
        pragmas = ("journal_mode=WAL", f"wal_autocheckpoint={CHECKPOINT_PAGES}", *pragmas)
    return create_engine(
        "sqlite+pysqlite://",
        creator=lambda: _connect(address, pragmas),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=16,
        pool_timeout=BUSY_TIMEOUT_S,
        hide_parameters=True,
    )


def _connect(address: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address,
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,  # the pool gives a connection to one thread at a time
        isolation_level=None,  # transactions are begun explicitly
        cached_statements=256,
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    return connection
