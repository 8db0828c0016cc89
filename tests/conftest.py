"""For all tests: what they mean doesn't depend on how fast the machine is, and what they need is made once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from oms.testing import Shop

settings.register_profile("oms", parent=settings.default, deadline=None)
settings.load_profile("oms")


LONGEST = ("tests/system/", "tests/testing/", "tests/contracts/")
"""Folders whose modules take longest, the longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules that take longest begin: otherwise one worker works alone at the end of a run."""
    items.sort(key=lambda item: next((n for n, at in enumerate(LONGEST) if item.nodeid.startswith(at)), len(LONGEST)))


def pytest_collection_finish() -> None:
    """Modules and tests are there to stay: the collector needn't look through them again after every few tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _migrated_files() -> Iterator[None]:
    """A store's new SQLite file begins as a copy of a migrated one: making the tables costs more than most tests.

    The migrations made the file that is copied, once for each kind of store. Their own tests, and other processes, run
    them as they are.
    """
    from oms.adapters.memory import CountedIds, ManualClock
    from oms.adapters.sql import factory
    from oms.adapters.sql.stores.tables import kind_of

    its_own, migrated = factory.sqlite_store, {}

    def empty(kind: str) -> bytes:
        if kind not in migrated:
            with TemporaryDirectory() as directory:
                path = Path(directory) / "store.db"
                its_own(kind, path, ManualClock(), CountedIds()).close()
                migrated[kind] = path.read_bytes()
        return migrated[kind]

    def sqlite_store(name: str, path: Path, *of: Any) -> Any:
        if path.parent.is_dir() and (not path.exists() or path.stat().st_size == 0):
            path.write_bytes(empty(kind_of(name)))
        return its_own(name, path, *of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "sqlite_store", sqlite_store)
        yield


@pytest.fixture(params=["memory", "embedded"])
def new_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Shop]:
    """Makes shops of one profile; those of the embedded one share a directory."""
    from oms.testing import Shop

    if request.param == "memory":
        return Shop
    return lambda **given: Shop(profile="embedded", data=tmp_path, **given)
