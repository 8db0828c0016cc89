"""The marks of each file: the id of its system, and the number of the start at which it was last opened.

They are rows of the table `pinned`. Migrations create it in the stores; this module creates it in the other files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from oms.ports.errors import Permanent, Retryable

BUSY_TIMEOUT_S = 5.0
SYSTEM, OPENED, ACKNOWLEDGED = "system", "opened", "acknowledged"

_TABLE = "CREATE TABLE IF NOT EXISTS pinned (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)"
_UPSERT = "INSERT INTO pinned (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


@attrs.frozen
class Marks:
    """The marks of a file. `system` is None for a file of an earlier version."""

    system: str | None = None
    opened: int = 0
    """The number of the start at which the file was last opened; 0 if it isn't marked."""

    acknowledged: int = 0
    """The end of the log, in records of all partitions, when the store last removed sent rows from its outbox."""

    worked: bool = False
    """Whether the file is a store that has handled messages."""


@contextmanager
def opened(path: Path, *, immutable: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to an existing file; SQLite's errors become `Retryable` (busy) or `Permanent`, with the file's path.

    `immutable` is for a file that no process changes: it is opened read-only, and no file is created beside it.
    """
    try:
        address = f"{path.absolute().as_uri()}?mode={'ro&immutable=1' if immutable else 'rw'}"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        raise (Retryable if busy else Permanent)(f"{path}: {error}") from error


def read_marks(path: Path, *, immutable: bool = False) -> Marks:
    """The marks of a file; empty for a file without tables. `immutable` as in `opened`."""
    with opened(path, immutable=immutable) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = dict(connection.execute("SELECT name, value FROM pinned")) if "pinned" in tables else {}
        worked = "inbox" in tables and connection.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() is not None
    try:
        numbers = int(found.get(OPENED, 0)), int(found.get(ACKNOWLEDGED, 0))
    except (TypeError, ValueError):
        raise Permanent(f"{path}: its marks are no numbers, so it is damaged") from None
    return Marks(found.get(SYSTEM), *numbers, worked or SYSTEM in found)


def write_marks(path: Path, system: str, start: int, *, reset: bool = False) -> None:
    """Write the system and the number of the start into a file; with `reset`, remove its other mark."""
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        connection.executemany(_UPSERT, [(SYSTEM, system), (OPENED, str(start))])
        if reset:
            connection.execute("DELETE FROM pinned WHERE name = ?", (ACKNOWLEDGED,))
        connection.execute("COMMIT")


def is_empty(path: Path) -> bool:
    """Whether a file doesn't exist or has no bytes, not even a database header."""
    return not path.exists() or path.stat().st_size == 0


def check_whole(path: Path, *, immutable: bool = False) -> None:
    """Raise `Permanent` unless SQLite finds the whole file intact. `immutable` as in `opened`."""
    with opened(path, immutable=immutable) as connection:
        connection.execute("PRAGMA query_only = ON")
        found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(1)")]
    if found != ["ok"]:
        raise Permanent(f"{path} is damaged: {' '.join(found[0].split())}")
