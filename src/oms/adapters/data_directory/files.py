"""Checks at each start, before any file is used, that the files of a system are complete and belong together.

`broker.db` has the id of the system and lists its files. Each other file has the id of the system and the number of the
start at which it was last opened; a store also has the end of the log as of its latest sent message. A file gets these
marks before `broker.db` lists it, and `broker.db` gets the number of a start after all other files. So after a crash at
any moment each file has the listed start number or the next one; any other number means that the file was lost,
replaced or restored from a copy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import attrs

from oms.adapters.data_directory.marks import SYSTEM, Marks, check_whole, is_empty, opened, read_marks, write_marks
from oms.adapters.data_directory.rights import private_directory, private_file
from oms.ports.errors import Permanent

LOG, BOOK = "broker", "gateway"
RUNNING = "running"
ADVICE = "put the right file back, or restore a backup with `oms restore`"
REPAIR = f"{ADVICE}; where there is none, `oms repair` makes the files agree"

_TABLES = """
CREATE TABLE IF NOT EXISTS pinned (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT NOT NULL PRIMARY KEY, opened INTEGER NOT NULL, inode INTEGER NOT NULL);
"""
_LIST = (
    "INSERT INTO files (name, opened, inode) VALUES (?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET opened = excluded.opened, inode = excluded.inode"
)


@attrs.frozen
class Listed:
    """A file as `broker.db` lists it: the number of the start at which it was last opened, and its inode then."""

    opened: int
    inode: int


class SystemFiles:
    """The files of one data directory. `groups` names the store of each consumer group, by file name without `.db`.

    Call `check` and `identify` when the log is locked, `admit` before and `made` after another file is opened,
    `started` when all are, and `ended` when all are closed. Each raises `Permanent` with the path of a file that is
    missing, empty, another system's, or older than the others.
    """

    def __init__(
        self, directory: Path, groups: Mapping[str, str], note: Callable[..., None] = lambda _event, **_: None
    ) -> None:
        self.directory, self._groups, self._note = directory, groups, note
        self.system: str | None = None
        """The id of the system; None until the log is open, and if the log isn't a file of this directory."""

        self.copied = False
        """Whether the directory is a copy that was made while the system ran, or after it was killed."""

        self.repairing = False
        """Whether files of different moments are accepted, so that `oms repair` can make them agree."""

        self._listed: dict[str, Listed] = {}
        self._read_by: frozenset[str] = frozenset()
        self._end = 0
        self._in_use: dict[str, None] = {}
        self._started = False
        self._made: set[str] = set()
        """The files that have the number of this start already, which the log doesn't list yet."""

    # -- paths and rights

    def prepare(self) -> Path:
        """Make the directory private; returns the path of the log, which it doesn't create."""
        private_directory(self.directory, self._tightened)
        path = self._path(LOG)
        private_file(path.with_name(f"{path.name}.lock"), self._tightened)
        return path

    def admit(self, name: str) -> Path:
        """Check a file before it is opened; creates a new one, empty and private."""
        private_directory(self.directory, self._tightened)
        path = self._path(name)
        if self.system is not None:
            self._check(name, path)
        private_file(path, self._tightened)
        return path

    # -- the log, which is opened first

    def check(self) -> None:
        """Refuse to create a new log next to stores that have been used with another log."""
        log = self._path(LOG)
        if is_empty(log):
            for path in self._others():
                if not is_empty(path) and read_marks(path).worked:
                    what = "is empty" if log.exists() else "is missing"
                    raise Permanent(f"{log} {what}, but {path.name} belongs to a system that had it: {ADVICE}")
        private_file(log, self._tightened)

    def identify(self, end: int) -> None:
        """Read the id and the list of files, or create them; `end` is the number of records ever in the log."""
        self._end = end
        with opened(self._path(LOG)) as connection:
            connection.executescript(_TABLES)
            groups = connection.execute("SELECT DISTINCT consumers FROM offsets").fetchall()
            self.system = _system(connection) or self._begin(connection, adopted=bool(groups))
            running = connection.execute("SELECT 1 FROM pinned WHERE name = ?", (RUNNING,)).fetchone() is not None
            rows = connection.execute("SELECT name, opened, inode FROM files").fetchall()
        self._listed = {name: Listed(start, inode) for name, start, inode in rows}
        self._read_by = frozenset(self._groups.get(group, f"step-{group}") for (group,) in groups)
        self.copied = running and any(
            (path := self._path(name)).exists() and path.stat().st_ino != one.inode
            for name, one in self._listed.items()
        )
        if self._may_be_damaged:
            check_whole(self._path(LOG))
        for name in self._in_use:  # opened before the log: the gateway's book
            self._check(name, self._path(name))
            self.made(name)

    def started(self) -> None:
        """List all files with the number of this start. A file with a lower number is an older copy from now on."""
        if self.system is None:
            return
        start = self._start
        made = {name: Listed(start, self._path(name).stat().st_ino) for name in (LOG, *sorted(self._made))}
        rows = [(name, one.opened, one.inode) for name, one in made.items()]
        with opened(self._path(LOG)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_LIST, rows)
            connection.execute("INSERT OR REPLACE INTO pinned (name, value) VALUES (?, ?)", (RUNNING, "1"))
            if self.repairing:
                self._read_again(connection, start)
            connection.execute("COMMIT")
        self._listed |= made
        self._made.clear()
        self._started = True

    def ended(self) -> None:
        """Note that all files are closed, so that a copy made now is consistent; not if this start was refused."""
        if self._started:
            with opened(self._path(LOG)) as connection:
                connection.execute("DELETE FROM pinned WHERE name = ?", (RUNNING,))
        self.system, self._started = None, False

    # -- the others

    def made(self, name: str) -> None:
        """Write the marks of the system into a file that has its tables."""
        self._in_use[name] = None
        if self.system is not None:
            write_marks(self._path(name), self.system, self._start, reset=self.repairing)
            self._made.add(name)

    def _read_again(self, connection: sqlite3.Connection, start: int) -> None:
        """Let users' own steps that this process doesn't have read the log from its beginning when they run again."""
        for path in self.directory.glob("step-*.db"):
            if path.stem not in self._in_use and not is_empty(path):
                write_marks(path, str(self.system), start, reset=True)
                connection.execute("DELETE FROM offsets WHERE consumers = ?", (path.stem.removeprefix("step-"),))
                connection.execute(_LIST, (path.stem, start, path.stat().st_ino))

    def _check(self, name: str, path: Path) -> None:
        listed = self._listed.get(name)
        if listed is None and name not in self._read_by:
            if not is_empty(path):
                self._adopt(path, read_marks(path))
            return
        if is_empty(path):
            what = "is empty" if path.exists() else "is missing"
            raise Permanent(f"{path} {what}, and the system has worked with it: {ADVICE}")
        marks = read_marks(path)
        if listed is None:
            self._adopt(path, marks)
        elif marks.system is None:
            raise Permanent(f"{path} isn't the file that this system has worked with: {ADVICE}")
        else:
            self._compare(path, marks, listed)
        if self._may_be_damaged:
            check_whole(path)

    @property
    def _may_be_damaged(self) -> bool:
        return self.copied or self.repairing

    def _adopt(self, path: Path, marks: Marks) -> None:
        """Accept a file that isn't listed yet: one of this system, or one of an earlier version, which has no marks."""
        if marks.system is None:
            self._note("file joins the system", file=str(path), system=self.system)
        elif marks.system != self.system:
            raise Permanent(self._foreign(path, marks))

    def _compare(self, path: Path, marks: Marks, listed: Listed) -> None:
        if marks.system != self.system:
            raise Permanent(self._foreign(path, marks))
        log = self._path(LOG)
        if self.repairing:
            return
        if marks.opened < listed.opened:
            raise Permanent(
                f"{path} is older than {log}: it was last opened at start {marks.opened} of the system, "
                f"{log.name} knows start {listed.opened}; {REPAIR}"
            )
        if marks.opened > self._start:
            raise Permanent(
                f"{log} is older than {path}: it knows start {self._start - 1} of the system, "
                f"{path.name} was opened at start {marks.opened}; {REPAIR}"
            )
        if marks.acknowledged > self._end:
            raise Permanent(
                f"{log} is older than {path}: it has {self._end} messages, {path.name} has seen it take "
                f"{marks.acknowledged}; {REPAIR}"
            )

    def _foreign(self, path: Path, marks: Marks) -> str:
        return f"{path} belongs to the system {marks.system}, {self._path(LOG)} to {self.system}: {ADVICE}"

    def _begin(self, connection: sqlite3.Connection, *, adopted: bool) -> str:
        system = uuid4().hex
        connection.execute("INSERT INTO pinned (name, value) VALUES (?, ?)", (SYSTEM, system))
        if adopted:
            self._note("file joins the system", file=str(self._path(LOG)), system=system)
        return system

    @property
    def _start(self) -> int:
        """The number of this start. A file that is opened again has the same one."""
        listed = self._listed.get(LOG)
        return (listed.opened if listed else 0) + 1

    def _others(self) -> Iterator[Path]:
        yield from (self._path(name) for name in (*self._groups.values(), BOOK))
        yield from sorted(self.directory.glob("step-*.db"))

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.db"

    def _tightened(self, path: Path, mode: int) -> None:
        self._note("rights narrowed", path=str(path), was=f"{mode:04o}", now=f"{path.stat().st_mode & 0o777:04o}")


def _system(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM pinned WHERE name = ?", (SYSTEM,)).fetchone()
    return str(row[0]) if row else None
