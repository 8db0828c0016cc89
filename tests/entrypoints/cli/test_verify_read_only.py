"""`oms verify` and `oms reconcile` on a directory in which this user can write nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import oms
from oms.bootstrap.operators import reconcile
from oms.testing import Shop

NOBODY = 65534


@pytest.fixture
def data() -> Iterator[Path]:
    """Outside of pytest's own directories, which no other user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="oms-read-only-"))
    directory.chmod(0o755)
    yield directory / "data"
    shutil.rmtree(directory)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """The directory can't be written, by anybody who isn't root."""
    for file in directory.iterdir():
        file.chmod(0o444)
    directory.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError):
            (directory / "new").touch()
        yield
    finally:
        if is_root:
            os.seteuid(0)
        directory.chmod(0o755)


def settled(data: Path) -> Shop:
    shop = Shop(settings=oms.Settings(profile="embedded", data=data))
    shop.place()
    shop.run()
    until = time.monotonic() + 30
    while not oms.verify(shop.app.settings).quiet:  # how far the services have read is on disk a little later
        assert time.monotonic() < until
    return shop


@pytest.fixture(autouse=True)
def _imported(tmp_path: Path) -> None:
    """All that is imported late: the other user may not be able to read it."""
    with settled(tmp_path) as shop:
        holds(shop.app.settings)


def holds(settings: oms.Settings) -> None:
    report = oms.verify(settings)
    assert (report.violations, report.quiet, dict(report.orders)) == ((), True, {"CONFIRMED": 1})
    assert reconcile(settings) == []


def test_a_system_at_rest(data: Path) -> None:
    with settled(data) as shop:
        settings = shop.app.settings
    assert not list(data.glob("*-wal")), "SQLite has put everything into the files themselves"
    with read_only(data):
        holds(settings)


def test_a_system_at_work(data: Path) -> None:
    with settled(data) as shop:
        assert list(data.glob("*-wal"))
        with read_only(data):
            holds(shop.app.settings)


def test_a_copy_that_was_made_at_work(data: Path) -> None:
    with settled(data):
        copy = data.parent / "copy"
        shutil.copytree(data, copy)
    with read_only(copy):
        holds(oms.Settings(profile="embedded", data=copy))


def test_a_copy_of_which_a_file_is_missing_is_named(data: Path) -> None:
    with settled(data):
        copy = data.parent / "copy"
        shutil.copytree(data, copy, ignore=shutil.ignore_patterns("order.db-shm"))
    with (
        read_only(copy),
        pytest.raises(oms.SettingsError, match=r"order\.db can't be read: .*order\.db-shm is missing"),
    ):
        oms.verify(oms.Settings(profile="embedded", data=copy))
