"""Backs up a whole system, also while it runs, and restores it.

All files are copied as of one moment: the copier takes the write lock of every file, begins a read transaction on each,
and releases the locks, so no file can be ahead of another. A copy is therefore like a system after a crash, from which
every start recovers. Writers wait for the locks for some milliseconds; they continue while the pages are copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path

import attrs

from oms.adapters.data_directory.files import BOOK, LOG, RUNNING
from oms.adapters.data_directory.marks import check_whole, is_empty, opened, read_marks
from oms.adapters.data_directory.rights import FILE, private_directory, private_file
from oms.ports.errors import Permanent, Retryable

FORMAT = 1
MANIFEST = "backup.json"
PART = ".restoring"
LOCK_TIMEOUT_S = 1.0
"""Time limit for one file's write lock, in seconds. A writer that waits meanwhile gives up only after 5 s."""

GIVE_UP_S = 60.0
"""Time limit for the locks of all files, in seconds."""
_CHUNK = 1 << 20


@attrs.frozen
class Backup:
    """A complete copy: the id of its system, its time, and its files with size and SHA-256."""

    system: str
    at: datetime
    files: Mapping[str, tuple[int, str]]


def back_up(source: Path, target: Path, services: Collection[str], at: datetime) -> Backup:
    """Copy the files of a system into a new or empty directory.

    `Permanent` if there is no system, the target holds files, or a file is damaged; `Retryable` if a transaction of
    another process keeps one of the files locked.
    """
    paths = _files_of(source, services)
    system = read_marks(paths[0]).system
    if system is None:
        raise Permanent(f"{source} has no system id yet: start it once with this version of oms")
    private_directory(target, lambda _path, _mode: None)
    if any(target.iterdir()):
        raise Permanent(f"{target} isn't empty: a backup needs a directory of its own")
    try:
        return _copy_all(paths, target, system, at)
    except BaseException:
        for path in target.iterdir():
            path.unlink()
        raise


def _copy_all(paths: Sequence[Path], target: Path, system: str, at: datetime) -> Backup:
    copied: dict[str, tuple[int, str]] = {}
    with _at_one_moment(paths) as readers:
        for path, reader in zip(paths, readers, strict=True):
            copied[path.name] = _copied(reader, path, target / path.name, system)
    made = Backup(system, at, copied)
    _write(target / MANIFEST, json.dumps(_document(made), indent=1).encode())
    _sync(target)
    return made


def read_backup(source: Path) -> Backup:
    """The backup in a directory; `Permanent` if it isn't complete, or if a file differs from what was written."""
    try:
        document = json.loads((source / MANIFEST).read_bytes())
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in document["files"].items()}
        made = Backup(str(document["system"]), datetime.fromisoformat(document["at"]), files)
        known = document["format"] == FORMAT
    except FileNotFoundError:
        raise Permanent(f"{source} is no complete backup: it has no {MANIFEST}, which is written last") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Permanent(f"{source / MANIFEST} can't be read: {error}") from error
    if not known:
        raise Permanent(f"{source / MANIFEST} was written by another version of oms (format {document['format']})")
    for name, (size, digest) in made.files.items():
        path = source / name
        if Path(name).name != name or not path.is_file():
            raise Permanent(f"{path} is missing from the backup")
        if (path.stat().st_size, _digest(path)) != (size, digest):
            raise Permanent(f"{path} isn't as the backup wrote it")
        check_whole(path, immutable=True)
        if read_marks(path, immutable=True).system != made.system:
            raise Permanent(f"{path} belongs to another system than the backup")
    return made


def put_in_place(source: Path, target: Path, services: Collection[str]) -> Backup:
    """Check a backup and copy it into a directory without data, whose lock the caller holds; the log comes last."""
    made = read_backup(source)
    for path in (target / f"{name}.db" for name in (LOG, *services, BOOK)):
        if not is_empty(path):
            raise Permanent(f"{path} is there: a backup is restored into a directory without data")
    if any(not is_empty(path) for path in target.glob("step-*.db")):
        raise Permanent(f"{target} holds the data of steps: a backup is restored into a directory without data")
    for name in made.files:
        part = target / f"{name}{PART}"
        part.unlink(missing_ok=True)
        private_file(part, lambda _path, _mode: None)
        shutil.copyfile(source / name, part)
        _sync(part)
    for name in sorted(made.files, key=lambda name: name == f"{LOG}.db"):
        (target / f"{name}{PART}").replace(target / name)
    _sync(target)
    return made


def _files_of(source: Path, services: Collection[str]) -> Sequence[Path]:
    """The log's file first, then every other existing file; `Permanent` if a file of the system is missing."""
    log = source / f"{LOG}.db"
    if is_empty(log):
        raise Permanent(f"there is no system in {source}: {log.name} is missing")
    with opened(log) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone()
        listed = [name for (name,) in connection.execute("SELECT name FROM files")] if known else []
    names = dict.fromkeys((*services, *(name for name in listed if not name.startswith("step-") and name != LOG)))
    lost = [source / f"{name}.db" for name in names if is_empty(source / f"{name}.db")]
    if lost:
        raise Permanent(f"{lost[0]} is missing or empty: a backup without it couldn't be started")
    steps = [path for path in sorted(source.glob("step-*.db")) if not is_empty(path)]
    return [log, *(source / f"{name}.db" for name in names), *steps]


@contextmanager
def _at_one_moment(paths: Sequence[Path]) -> Iterator[Sequence[sqlite3.Connection]]:
    """Connections with read transactions that all began at one moment."""
    until = time.monotonic() + GIVE_UP_S
    with ExitStack() as stack:
        readers = [stack.enter_context(opened(path)) for path in paths]
        while True:
            try:
                _begin_together(paths, readers)
                break
            except Retryable:
                if time.monotonic() > until:
                    raise
        yield readers


def _begin_together(paths: Sequence[Path], readers: Sequence[sqlite3.Connection]) -> None:
    with ExitStack() as stack:
        for path in paths:
            writer = stack.enter_context(opened(path))
            writer.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT_S * 1000)}")
            writer.execute("BEGIN IMMEDIATE")
        for reader in readers:
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM sqlite_master").fetchone()  # the first read begins the snapshot


def _copied(reader: sqlite3.Connection, path: Path, target: Path, system: str) -> tuple[int, str]:
    private_file(target, lambda _path, _mode: None)
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            reader.backup(copy)
            if path.stem == LOG:
                copy.execute("DELETE FROM pinned WHERE name = ?", (RUNNING,))
    except sqlite3.Error as error:
        raise Permanent(f"{path} can't be copied to {target}: {error}") from error
    check_whole(target, immutable=True)
    if read_marks(target, immutable=True).system not in (system, None):
        raise Permanent(f"{path} belongs to another system")
    _sync(target)
    return target.stat().st_size, _digest(target)


def _document(made: Backup) -> Mapping[str, object]:
    return {"format": FORMAT, "system": made.system, "at": made.at.isoformat(), "files": dict(made.files)}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, FILE)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
