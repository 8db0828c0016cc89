"""Access rights: only the user that runs oms may read or write the directory and its files, with any umask.

SQLite creates its `-wal`, `-shm` and `-journal` files with the rights of the database beside them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from oms.ports.errors import Permanent

DIRECTORY, FILE = 0o700, 0o600
OTHERS = 0o077
OWN_SUFFIXES = (".db", ".db-wal", ".db-shm", ".db-journal", ".lock")
"""Suffixes of the files in a data directory. A directory with any other file may be in use for other purposes."""

Tightened = Callable[[Path, int], None]
"""Called with a path whose rights were narrowed, and its previous rights."""


def private_directory(path: Path, tightened: Tightened) -> None:
    """Create the directory, or narrow its rights to 0700.

    Raises `Permanent` for a directory that other users may read, and that belongs to another user, holds other files,
    or is on a file system without access rights.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=DIRECTORY)
    except FileExistsError:
        mode = _mode(path)
        if not mode & OTHERS:
            return
        others = next((found.name for found in path.iterdir() if not found.name.endswith(OWN_SUFFIXES)), None)
        if others is not None:
            raise Permanent(
                f"{path}: other users may read it (mode {mode:04o}), and it holds files of others, such as {others!r}; "
                f"use a directory of its own, or run `chmod 700 {path}`"
            ) from None
        _narrow(path, mode, DIRECTORY, tightened)
    else:
        path.chmod(DIRECTORY)


def private_file(path: Path, tightened: Tightened) -> None:
    """Create an empty file unless it exists, and let only its owner read and write it; `Permanent` as above."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE)
    except FileExistsError:
        for found in (path, *(path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
            if found.exists() and (mode := _mode(found)) & OTHERS:
                _narrow(found, mode, FILE, tightened)
        return
    try:
        os.fchmod(descriptor, FILE)
    finally:
        os.close(descriptor)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _narrow(path: Path, mode: int, to: int, tightened: Tightened) -> None:
    if path.stat().st_uid != os.geteuid():
        raise Permanent(
            f"{path}: other users may read it (mode {mode:04o}), and it belongs to another user; "
            f"run oms as its owner, or use a directory that oms makes itself"
        )
    path.chmod(to)
    if _mode(path) & OTHERS:
        raise Permanent(f"{path}: its file system keeps no rights, so other users may read it; use another directory")
    tightened(path, mode)
