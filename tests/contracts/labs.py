"""The adapters of this repository, for the contract suites."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from redis import Redis

from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.redis.gate import PREFIX, RedisGate
from oms.adapters.redis.link import connect
from oms.adapters.sql.stores import sqlite_store
from oms.adapters.sqlite_log.log import SqliteLog
from oms.settings import load_settings

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


def redis_url() -> str:
    """Where a Redis for tests is. Without one the tests that need it fail: a skip would hide that they never ran."""
    url = os.environ.get("OMS_TEST_REDIS_URL", "")
    if not url:
        pytest.fail("OMS_TEST_REDIS_URL is not set; these tests need a Redis, such as redis://127.0.0.1:6379/0")
    return url


class OnRedis(Timed):
    """Gates on a real Redis that others use too: each has a prefix of its own, and leaves nothing."""

    @pytest.fixture
    def new_gate(self) -> Iterator[Callable[[], Any]]:
        self.client = connect(load_settings({}, redis_url=redis_url()))
        mine, numbers = f"{PREFIX}test-{uuid4().hex}:", count()
        yield lambda: RedisGate(self.client, self.clock, prefix=f"{mine}{next(numbers)}:")
        unlink(self.client, mine)
        self.client.close()

    def lose_memory(self, gate: Any) -> None:
        unlink(self.client, gate.prefix)


def unlink(client: Redis, prefix: str) -> None:
    """Remove every key that begins like this."""
    for key in client.scan_iter(f"{prefix}*", count=1000):
        client.unlink(key)
