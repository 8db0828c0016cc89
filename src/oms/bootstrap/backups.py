"""Copies an embedded system, and puts a copy in place."""

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
    """Copy an embedded system, which may be running, into a new directory."""
    _only_embedded(settings)
    with naming_files(target):
        return backup.back_up(settings.data, target, SERVICES, make.clock().now())


def restore(settings: Settings, source: Path) -> Backup:
    """Check a backup and put it in place as the embedded system of these settings, which must not be there yet."""
    from oms.adapters.sqlite_log.log_file import Lock

    _only_embedded(settings)
    backup.read_backup(source)  # before anything is made
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
    """Turn an error of the operating system into `Permanent` with the name of the file, or of this directory."""
    try:
        yield
    except OSError as error:
        raise Permanent(f"{error.filename or directory}: {error.strerror or error}") from error
