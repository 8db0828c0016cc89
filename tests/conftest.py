"""For all tests: what they mean doesn't depend on how fast the machine is, and what they need is made once."""

from __future__ import annotations

import gc
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings

from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.sql import stores

settings.register_profile("oms", parent=settings.default, deadline=None)
settings.load_profile("oms")


def pytest_collection_finish() -> None:
    """Modules and tests are there to stay: the collector needn't look through them again after every few tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _migrated_files() -> Any:
    """A store's new SQLite file begins as a copy of a migrated one: making the tables costs more than most tests.

    The copied file was made by the migrations, once for each kind of store and process; tests of the migrations
    themselves, and other processes, run them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "sqlite_store", _in_a_migrated_file)
        yield


_sqlite_store = stores.sqlite_store


def _in_a_migrated_file(name: str, path: Path, *of: Any) -> Any:
    if path.parent.is_dir() and not path.exists():
        path.write_bytes(_migrated(stores.kind_of(name)))
    return _sqlite_store(name, path, *of)


@cache
def _migrated(kind: str) -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        _sqlite_store(kind, path, ManualClock(), CountedIds()).close()
        return path.read_bytes()
