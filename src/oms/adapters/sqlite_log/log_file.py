"""The log's file: its lock, its connections, its tables and the meaning of its errors.

records   the records, clustered by partition and offset, so that a partition is read sequentially
offsets   the committed offsets of each group
ends      the next offset of partitions whose records were purged
log       the number of partitions of every topic, fixed when the file is created
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

from oms.ports.errors import Permanent, Retryable

VERSION = 1
BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 4096
"""16 MiB of write-ahead log between two checkpoints. Under load that copies a quarter of the pages of the default."""

_TABLES = """
CREATE TABLE log (partitions INTEGER NOT NULL);
CREATE TABLE records (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    key BLOB, headers BLOB NOT NULL, value BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, offset)
) WITHOUT ROWID;
CREATE TABLE offsets (
    consumers TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (consumers, topic, partition)
) WITHOUT ROWID;
CREATE TABLE ends (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
"""


def create(path: Path, partitions: int) -> int:
    """Create the log unless it exists; returns its number of partitions, which may differ from `partitions`."""
    try:
        with closing(open_writer(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection, path) == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    connection.execute(statement)
                connection.execute("INSERT INTO log VALUES (?)", (partitions,))
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
            (made,) = connection.execute("SELECT partitions FROM log").fetchone()
            return int(made)
    except sqlite3.Error as error:
        raise unusable(path, error) from error


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection whose commits survive a power failure, and without implicit transactions."""
    connection = _connect(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS, where a plain fsync leaves data in the drive's cache
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return connection


def check_writable(path: Path) -> None:
    """Raise `Retryable` unless the file can be written now, and new files can be created in its directory.

    SQLite creates files beside the log at its next start. The write changes nothing and isn't synced; a later commit of
    the log's own writer syncs it.
    """
    try:
        with TemporaryFile(dir=path.parent) as probe:
            probe.write(b"x")
        with closing(_connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version = {_version(connection, path)}")
            connection.execute("COMMIT")
    except OSError as error:
        raise Retryable(f"{path.parent}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise Retryable(f"{path}: {error}") from error


def open_reader(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A read-only connection, also while another process writes; `Permanent` if the file isn't a log.

    `immutable`: no process can change the file, such as one on a read-only file system.
    """
    uri = path.absolute().as_uri()
    try:
        try:
            connection = _connect(f"{uri}?mode=ro{'&immutable=1' if immutable else ''}", uri=True)
            found = _version(connection, path)
        except sqlite3.OperationalError:
            # A clean stop removes the write-ahead log, and only a connection that may write can create its index again.
            connection = _connect(f"{uri}?mode=rw", uri=True)
            connection.execute("PRAGMA query_only = ON")
            found = _version(connection, path)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    if found == 0:
        connection.close()
        raise Permanent(f"{path} is no log of messages")
    return connection


def _connect(database: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        database, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64, uri=uri
    )


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        connection.close()
        raise Permanent(f"{path} was written by a newer version of oms (format {found}, this one reads {VERSION})")
    return int(found)


def unusable(path: Path, error: sqlite3.Error) -> Permanent | Retryable:
    """The error for a file that can't be opened or read: `Retryable` if it exists and SQLite's error may pass."""
    if isinstance(error, sqlite3.OperationalError) and path.exists():
        return Retryable(f"{path}: {error}")
    return Permanent(f"{path}: {error}")


class Lock:
    """Excludes other processes while it is held; the operating system releases it when the holder dies.

    It is SQLite's lock on an empty file beside the log, which works in the same way on every operating system.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise Permanent(f"{path} is in use: another oms process has it open") from None
            raise unusable(path, error) from error

    def release(self) -> None:
        """Let other processes open the log."""
        self._connection.close()
