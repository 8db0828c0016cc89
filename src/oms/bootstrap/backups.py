"""Backs up an embedded system, and restores a backup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oms.adapters.data_directory import backup
from oms.adapters.data_directory.backup import Backup
from oms.bootstrap import adapter_factories as make
from oms.bootstrap.system import SERVICES
from oms.ports.errors import Permanent, SettingsError
from oms.settings import Settings


def back_up(settings: Settings, target: Path) -> Backup:
    """Copy an embedded system, which may be running, into a new or empty directory."""
    _only_embedded(settings)
    with naming_files(target):
        return backup.back_up(settings.data, target, SERVICES, make.clock().now())


def restore(settings: Settings, source: Path) -> Backup:
    """Check a backup, and restore it as the embedded system of these settings, which must not exist yet."""
    from oms.adapters.sqlite_log.log_file import Lock

    _only_embedded(settings)
    backup.read_backup(source)  # raises before any file is made
    with naming_files(settings.data):
        lock = Lock(make.files(settings, lambda _event, **_: None).prepare())
        try:
            return backup.put_in_place(source, settings.data, SERVICES)
        finally:
            lock.release()


def _only_embedded(settings: Settings) -> None:
    if settings.profile != "embedded":
        raise SettingsError(
            "OMS_PROFILE: only an embedded system is one directory that can be copied; see docs/distributed.md"
        )


@contextmanager
def naming_files(directory: Path) -> Iterator[None]:
    """Translate an `OSError` into `Permanent`, with the name of the file or else of this directory."""
    try:
        yield
    except OSError as error:
        raise Permanent(f"{error.filename or directory}: {error.strerror or error}") from error
