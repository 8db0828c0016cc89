"""A sorter that keeps its rows in a temporary file, so that its memory doesn't grow with their number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from oms.ports.errors import Permanent
from oms.ports.sorting import Row, Sorter

CACHE_KIB = 16_384
"""Memory of a sorter, in KiB. SQLite uses as much again while it sorts."""

CHUNK = 2_000
"""Rows that are written or read at a time."""


class DiskSorter(Sorter):
    """Keeps its rows in a private SQLite database, which SQLite removes by itself, even after a `kill -9`.

    Its directory is `SQLITE_TMPDIR` or `TMPDIR`, else `/var/tmp`. Raises `Permanent` if it can't be written.
    """

    def __init__(self) -> None:
        self._unwritten: list[Row] = []
        self._insert = ""
        self._connection: sqlite3.Connection | None = None

    def add(self, row: Row) -> None:
        self._unwritten.append(row)
        if len(self._unwritten) >= CHUNK:
            self._write()

    def rows(self) -> Iterator[Row]:
        if self._connection is None:  # few enough to sort in memory
            yield from sorted(self._unwritten)
            return
        self._write()
        columns = ", ".join(str(number + 1) for number in range(self._insert.count("?")))
        try:
            cursor = self._connection.execute(f"SELECT * FROM sorted ORDER BY {columns}")  # noqa: S608 - numbers
            while chunk := cursor.fetchmany(CHUNK):
                yield from chunk
        except sqlite3.Error as error:
            raise _unusable(error) from error

    def _write(self) -> None:
        if not self._unwritten:
            return
        try:
            if self._connection is None:
                self._connection = self._created(len(self._unwritten[0]))
            self._connection.executemany(self._insert, self._unwritten)
        except sqlite3.Error as error:
            raise _unusable(error) from error
        self._unwritten = []

    def _created(self, width: int) -> sqlite3.Connection:
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", f"cache_size=-{CACHE_KIB}"):
            connection.execute(f"PRAGMA {setting}")
        names = ", ".join(f"c{number}" for number in range(width))
        connection.execute(f"CREATE TABLE sorted ({names})")
        connection.execute("BEGIN")
        self._insert = f"INSERT INTO sorted VALUES ({', '.join('?' * width)})"  # noqa: S608 - question marks
        return connection


def _unusable(error: sqlite3.Error) -> Permanent:
    return Permanent(f"the temporary file to sort in can't be used ({error}): TMPDIR names its directory")
