"""The systems that every scenario runs on: the same file of scenarios, another store and log below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.log import MemoryLog
from oms.settings import Settings
from oms.testing import Shop


class Makes:
    """Makes shops of one profile, and checks the promises of each when the test is over."""

    def __init__(self, profile: str, data: Path) -> None:
        self.profile = profile
        self._data = data
        self._shops: list[Shop] = []

    def __call__(self, settings: Mapping[str, Any] | None = None, **plugs: Any) -> Shop:
        data = self._data / str(len(self._shops))
        chosen = Settings(profile=self.profile, data=data, **(settings or {}))
        shop = Shop(settings=chosen, **plugs)
        self._shops.append(shop)
        return shop

    def log(self) -> Any:
        """A log of its own, to be wrapped and given to a shop."""
        if self.profile == "memory":
            return MemoryLog()
        from oms.adapters.sqlite_log.log import SqliteLog

        return SqliteLog(self._data / "log.db", clock=ManualClock())

    def finish(self) -> None:
        for shop in self._shops:
            shop.check()
            shop.app.stop()


@pytest.fixture(params=["memory", "embedded"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Makes]:
    makes = Makes(request.param, tmp_path)
    yield makes
    makes.finish()


@pytest.fixture
def system(make: Makes) -> Shop:
    return make()
