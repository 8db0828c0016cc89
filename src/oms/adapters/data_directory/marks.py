"""The marks that each file carries: which system it belongs to, and how often it was opened.

They are rows of the table `pinned`, which every file of a system has: stores by their migrations, the others from here.
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
_KEEP = "INSERT INTO pinned (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


@attrs.frozen
class Marks:
    """What a file says of itself. `system` is None for a file of an earlier version."""

    system: str | None = None
    opened: int = 0
    """At which start of the system the file was last opened; 0 where it doesn't say."""

    acknowledged: int = 0
    """The end of the log, in records of all partitions, when the store last removed sent rows from its outbox."""

    worked: bool = False
    """Whether the file is a store that has handled messages."""


@contextmanager
def opened(path: Path, *, still: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to a file that is there; errors of SQLite are `Permanent` and name it.

    `still` is for a file that no process changes: it is only read, and nothing is written beside it.
    """
    try:
        address = f"{path.absolute().as_uri()}?mode={'ro&immutable=1' if still else 'rw'}"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        raise (Retryable if busy else Permanent)(f"{path}: {error}") from error


def read_marks(path: Path, *, still: bool = False) -> Marks:
    """What a file says; of a file without tables, nothing. `still` as in `opened`."""
    with opened(path, still=still) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = dict(connection.execute("SELECT name, value FROM pinned")) if "pinned" in tables else {}
        worked = "inbox" in tables and connection.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() is not None
    try:
        numbers = int(found.get(OPENED, 0)), int(found.get(ACKNOWLEDGED, 0))
    except (TypeError, ValueError):
        raise Permanent(f"{path}: its marks are no numbers, so it is damaged") from None
    return Marks(found.get(SYSTEM), *numbers, worked or SYSTEM in found)


def write_marks(path: Path, system: str, start: int, *, afresh: bool = False) -> None:
    """Have a file say which system it belongs to and at which start it was opened; `afresh`, nothing else."""
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        connection.executemany(_KEEP, [(SYSTEM, system), (OPENED, str(start))])
        if afresh:
            connection.execute("DELETE FROM pinned WHERE name = ?", (ACKNOWLEDGED,))
        connection.execute("COMMIT")


def is_empty(path: Path) -> bool:
    """Whether a file isn't there or holds nothing, not even a database's header."""
    return not path.exists() or path.stat().st_size == 0


def check_whole(path: Path, *, still: bool = False) -> None:
    """`Permanent` unless SQLite finds the whole file in order. `still` as in `opened`."""
    with opened(path, still=still) as connection:
        connection.execute("PRAGMA query_only = ON")
        found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(1)")]
    if found != ["ok"]:
        raise Permanent(f"{path} is damaged: {' '.join(found[0].split())}")
