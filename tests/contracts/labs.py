"""The adapters of this repository, for the contract suites."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import attrs
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.sql.database import Database
from oms.adapters.sql.logins import Login
from oms.adapters.sql.migrate import migrate
from oms.adapters.sql.postgres import postgres_database, setup_database
from oms.adapters.sql.schema import KINDS
from oms.adapters.sql.stores import kind_of, sqlite_store, store_in
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


def postgres_url() -> str:
    """A server's address with a superuser, for databases of the tests' own."""
    url = os.environ.get("OMS_TEST_POSTGRES_URL")
    if not url:
        pytest.fail("these tests need PostgreSQL: set OMS_TEST_POSTGRES_URL to a superuser's postgresql:// address")
    return url


@cache
def postgres_login() -> Login:
    """A superuser's way to a database of this process's own, which goes with the process."""
    server, name = conninfo_to_dict(postgres_url()), f"oms_test_{os.getpid()}_{uuid4().hex[:8]}"
    administer(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    administer(f"ALTER DATABASE {name} SET synchronous_commit = off")  # no test here cuts the power
    atexit.register(administer, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return Login("tests", {**server, "dbname": name})


def administer(statement: str) -> None:
    """Run a statement on the server itself."""
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@cache
def _shared(login: Login) -> Database:
    """The connections of all stores of this process: a server's connection costs more than a test."""
    return postgres_database(login, "public")


_free: dict[str, list[str]] = {}
"""Schemas that are migrated and empty, by kind of store."""


class OnPostgres:
    """A PostgreSQL store, in a schema of its own; its time stands still unless the suite moves it."""

    name: str
    survives_restart = True

    @pytest.fixture(autouse=True)
    def _time(self) -> None:
        self.clock = ManualClock()

    def advance(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def now(self) -> datetime:
        return self.clock.now()

    @pytest.fixture
    def new_store(self) -> Iterator[Callable[[], Any]]:
        self.opened: list[tuple[Any, str]] = []
        self.reopened: list[Database] = []
        yield self._new
        while self.opened:
            self._give_back_oldest()
        for database in self.reopened:
            database.close()

    def _new(self) -> Any:
        while len(self.opened) > 2:  # a property makes many, and looks at the last
            self._give_back_oldest()
        return self._open(new_schema(self.name), _shared(postgres_login()))

    def _give_back_oldest(self) -> None:
        _, schema = self.opened.pop(0)
        if schema not in {other for _, other in self.opened}:
            give_back_schema(self.name, schema)

    def reopen(self, store: Any) -> Any:
        schema = next(schema for known, schema in self.opened if known is store)
        self.reopened.append(postgres_database(postgres_login(), schema))
        return self._open(schema, self.reopened[-1])

    def meanwhile(self, waiting: Callable[[], T], release: Callable[[], object]) -> T:
        """The server itself says that the call waits for a lock."""
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(waiting)
            until_somebody_waits(lambda: not call.done())
            release()
            return call.result(timeout=10)

    def _open(self, schema: str, database: Database) -> Any:
        store = store_in(attrs.evolve(database, schema=schema, clock=self.clock), self.name, CountedIds())
        self.opened.append((store, schema))
        return store


def until_somebody_waits(goes_on: Callable[[], bool]) -> None:
    """Return once a connection of this process's database waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE NOT granted AND datname = current_database()"
    )
    with postgres_login().connect() as connection:
        for _ in range(500):
            if connection.execute(waiting).fetchone() != (0,):
                return
            assert goes_on(), "the call should have waited for the other transaction"
            time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


def new_schema(name: str) -> str:
    """A schema with the tables of a store, empty."""
    kind = kind_of(name)
    if _free.get(kind):
        return _free[kind].pop()
    schema = f"s_{uuid4().hex[:12]}"
    with postgres_login().connect() as connection:
        connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[call-overload]
    database = setup_database(postgres_login(), schema)
    migrate(database, kind)
    database.close()
    return schema


def give_back_schema(name: str, schema: str) -> None:
    """Empty a schema, for the next test."""
    kind = kind_of(name)
    tables = [table.name for table in reversed(KINDS[kind].metadata.sorted_tables) if table.name != "gate"]
    empty = [f"DELETE FROM {schema}.{table}" for table in tables]
    if kind == "inventory":
        empty.append(f"UPDATE {schema}.gate SET epoch = 0")
    with postgres_login().connect() as connection:
        connection.execute("; ".join(empty))  # type: ignore[call-overload]
    _free.setdefault(kind, []).append(schema)


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
