"""The adapters of this repository, for the contract suites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest

from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.sql.stores import sqlite_store
from oms.adapters.sqlite_log.log import SqliteLog

T = TypeVar("T")


class Timed:
    """A clock that the suite moves."""

    @pytest.fixture(autouse=True)
    def _time(self) -> None:
        self.clock = ManualClock()

    def advance(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def now(self) -> datetime:
        return self.clock.now()


class InMemory(Timed):
    """A memory store: who has to wait runs what would end the wait."""

    kind: Callable[..., Any]

    @pytest.fixture
    def new_store(self) -> Callable[[], Any]:
        self.blocked: Callable[[str], None] = _never
        return lambda: type(self).kind(self.clock, CountedIds(), blocked=lambda what: self.blocked(what))

    def meanwhile(self, waiting: Callable[[], T], release: Callable[[], object]) -> T:
        waited: list[str] = []

        def blocked(what: str) -> None:
            assert not waited, f"still blocked at {what}"
            waited.append(what)
            release()

        self.blocked = blocked
        answer = waiting()
        self.blocked = _never
        assert waited, "the call should have waited for the other transaction"
        return answer


def _never(what: str) -> None:
    raise AssertionError(f"nobody holds {what}")


class OnSqlite(Timed):
    """A SQLite store: one write transaction at a time, in a file that survives."""

    name: str
    concurrent = False
    survives_restart = True
    waits_s = 0.05

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Iterator[Callable[[], Any]]:
        numbers = count()
        self.opened: list[tuple[Any, Path]] = []
        yield lambda: self._open(tmp_path / f"{next(numbers)}.db")
        for store, _ in self.opened:
            store.close()

    def reopen(self, store: Any) -> Any:
        return self._open(next(path for known, path in self.opened if known is store))

    def _open(self, path: Path) -> Any:
        if not path.exists():
            path.write_bytes(_migrated(self.name))
        store = sqlite_store(self.name, path, self.clock, CountedIds())
        self.opened.append((store, path))
        return store


@cache
def _migrated(name: str) -> bytes:
    """An empty database of the present shape, made once: migrating costs more than a test."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        sqlite_store(name, path, ManualClock(), CountedIds()).close()
        return path.read_bytes()


class SqliteLogs:
    """The log of a one-process system, in a file of its own."""

    survives_restart = True

    @pytest.fixture
    def new_broker(self, tmp_path: Path) -> Iterator[Callable[[], Any]]:
        numbers = count()
        self.opened: list[tuple[SqliteLog, Path]] = []
        yield lambda: self._open(tmp_path / f"{next(numbers)}.db")
        for log, _ in self.opened:
            log.close()

    def reopen(self, broker: Any) -> Any:
        broker.close()  # a file has one process; tests/adapters kill a real one
        return self._open(next(path for known, path in self.opened if known is broker))

    def _open(self, path: Path) -> SqliteLog:
        log = SqliteLog(path, clock=ManualClock())
        self.opened.append((log, path))
        return log
