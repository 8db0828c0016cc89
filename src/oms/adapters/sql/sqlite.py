"""SQLite: one file a service, one writer at a time, readers that wait for nobody."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool

from oms.adapters.sql.database import Database, Way
from oms.adapters.sql.link import Link
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
        clock=clock,
    )


def sqlite_reader(path: Path, clock: Clock) -> Database:
    """The file of another process, which may be at work: nothing is written to it, nothing is migrated."""
    look = _way(_engine(path, pool_size=4, read_only=True), "BEGIN")
    return Database(look, look, write=None, alone=None, side=None, clock=clock)


def _way(engine: Engine, words: str) -> Way:
    def begin(connection: Connection, _schema: str | None, clock: Clock | None) -> Link:
        driver: Any = connection.connection.driver_connection
        driver.execute(words)
        return Link(connection, clock.now() if clock else None)  # after the lock may have been waited for

    return Way(engine, begin)


def _engine(path: Path, *, pool_size: int, pragmas: tuple[str, ...] = (), read_only: bool = False) -> Engine:
    address = path.absolute().as_uri() + ("?mode=ro" if read_only else "")

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address,
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,  # the pool hands a connection to one thread at a time
            isolation_level=None,  # we say BEGIN ourselves
            cached_statements=256,
        )
        if not read_only:
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
