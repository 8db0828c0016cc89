"""`oms migrate-from-spring` on a captured database and its Redis: a look, doing it, doing it twice, what is bad."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import oms
from oms.adapters.redis.gate import RedisGate
from oms.adapters.sql.postgres.legacy import PostgresLegacyOrders
from oms.adapters.sql.provisioning.roles import set_up_postgres
from oms.adapters.system.clock import SystemClock
from oms.adapters.system.no_log import NoLog
from oms.bootstrap.operators import verify as oms_verify
from oms.bootstrap.recorded import recorded
from oms.bootstrap.spring_import import Migration
from oms.ports.legacy import LegacyOrder, LegacyOrders
from oms.ports.stores.rows import DeadLetterState
from oms.settings import Settings, load_settings
from oms.testing.servers.native.postgres import find_programs
from tests.support.own_postgres import PASSWORD, OwnPostgres
from tests.support.redis_servers import Server

pytestmark = pytest.mark.servers

CAPTURED = Path(__file__).with_name("orderdb.sql")
FIRST, SECOND, THIRD = (
    "4e0b85d1-5421-4ccf-9695-59986ebebbae",
    "9a3f6a52-0c37-4a53-8f60-0a4c7c1f2d11",
    "c5d1e2f3-7777-4b4b-9c9c-123456789abc",
)
A, B = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
ANN = "11111111-1111-1111-1111-111111111111"
_numbers = count()


class Legacy:
    """The system replaced: a database and a Redis with what it left there."""

    def __init__(self, postgres: OwnPostgres, redis: Server) -> None:
        self.postgres, self.redis, self.database = postgres, redis, f"orderdb{next(_numbers)}"
        postgres.run(f"CREATE DATABASE {self.database}")
        self._psql("-f", str(CAPTURED))
        self.keys: Redis = redis.admin
        self.keys.flushall()
        self.keys.mset({f"inventory:{A}": "98", f"inventory:{B}": "7", "other:key": "x"})

    def run(self, statement: str) -> None:
        self._psql("-c", statement)

    def environ(self) -> dict[str, str]:
        return {
            "OMS_SPRING_POSTGRES_URL": f"postgresql://127.0.0.1:{self.postgres.port}/{self.database}",
            "OMS_SPRING_POSTGRES_PASSWORD": PASSWORD,
            "OMS_SPRING_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
        }

    def dump(self) -> object:
        keys = {key: self.keys.dump(key) for key in sorted(self.keys.keys("*"))}
        return self._pg("pg_dump", self.database), keys

    def dump_of(self, database: str) -> str:
        return self._pg("pg_dump", database)

    def _pg(self, program: str, *arguments: str) -> str:
        where = ["-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "postgres"]
        found = subprocess.run(
            [str(find_programs() / program), *where, *arguments],
            env={**os.environ, "PGPASSWORD": PASSWORD},
            check=True,
            capture_output=True,
            text=True,
        )
        # pg_dump writes another random word into each dump
        return "\n".join(line for line in found.stdout.splitlines() if "restrict" not in line)

    def _psql(self, *arguments: str) -> None:
        self._pg("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.database, *arguments)


@pytest.fixture
def legacy(postgres: OwnPostgres, redis: Server) -> Iterator[Legacy]:
    made = Legacy(postgres, redis)
    yield made
    postgres.run(f"DROP DATABASE {made.database} WITH (FORCE)")


class Target:
    """The system that takes over, and the command as it is typed."""

    def __init__(self, legacy: Legacy, environ: Mapping[str, str]) -> None:
        self.environ = {**legacy.environ(), **environ}

    def migrate(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "oms", "migrate-from-spring", *words]
        clean = {name: text for name, text in os.environ.items() if not name.startswith("OMS_")}
        settings = {name: text for name, text in {**self.environ, **environ}.items() if text}
        return subprocess.run(
            command, env={**clean, **settings}, capture_output=True, text=True, timeout=120, check=False
        )

    @property
    def settings(self) -> Settings:
        return load_settings(self.environ)


@pytest.fixture
def embedded(legacy: Legacy, tmp_path: Path) -> Target:
    return Target(legacy, {"OMS_PROFILE": "embedded", "OMS_DATA": str(tmp_path / "data")})


@pytest.fixture
def distributed(legacy: Legacy, postgres: OwnPostgres, redis: Server) -> Target:
    database = f"oms{next(_numbers)}"
    target = Target(
        legacy,
        {
            "OMS_PROFILE": "distributed",
            "OMS_POSTGRES_URL": f"postgresql://127.0.0.1:{postgres.port}/{database}",
            "OMS_POSTGRES_USER": "postgres",
            "OMS_POSTGRES_PASSWORD": PASSWORD,
            "OMS_POSTGRES_ADMIN_PASSWORD": PASSWORD,
            "OMS_REDIS_URL": f"redis://127.0.0.1:{redis.port}/1",
            "OMS_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        },
    )
    set_up_postgres(target.settings.postgres, ["order", "inventory", "payment", "notification"], [])
    return target


LOOK = """\
orders: 3 to import, 0 here already, 0 bad
products: 2 to count, 0 here already, 0 bad
nothing was changed: --apply does it
"""
DONE = LOOK.replace("nothing was changed: --apply does it", "done")
AGAIN = DONE.replace("3 to import, 0", "0 to import, 3").replace("2 to count, 0", "0 to count, 2")


@pytest.mark.parametrize("target", ["embedded", "distributed"])
def test_a_look_changes_nothing(target: str, legacy: Legacy, request: pytest.FixtureRequest) -> None:
    at: Target = request.getfixturevalue(target)
    ours = at.settings.postgres_url.rpartition("/")[2]
    before = legacy.dump(), legacy.dump_of(ours) if target == "distributed" else ""

    done = at.migrate()

    assert (done.returncode, done.stdout) == (0, LOOK)
    assert_no_word(at, done)
    assert (legacy.dump(), legacy.dump_of(ours) if target == "distributed" else "") == before
    assert target == "distributed" or not at.settings.data.exists()


@pytest.mark.parametrize("target", ["embedded", "distributed"])
def test_twice_is_once(target: str, legacy: Legacy, request: pytest.FixtureRequest) -> None:
    at: Target = request.getfixturevalue(target)
    before = legacy.dump()[0]  # type: ignore[index]

    first = at.migrate("--apply")
    rows = records(at.settings)
    second = at.migrate("--apply")

    assert (first.returncode, first.stdout) == (0, DONE)
    assert (second.returncode, second.stdout) == (0, AGAIN)
    assert_no_word(at, first)
    assert_no_word(at, second)
    assert records(at.settings) == rows
    assert legacy.dump()[0] == before  # type: ignore[index]
    assert rows["orders"] == {
        FIRST: ("LEGACY", 50000, {A: 2, B: 1}, ANN, 1),
        SECOND: ("LEGACY", 1990, {B: 3}, ANN, 1),
        THIRD: ("LEGACY", 0, {A: 1}, "22222222-2222-2222-2222-222222222222", 1),
    }
    assert rows["stock"] == {A: (98, 0), B: (7, 0)}


def assert_no_word(at: Target, done: subprocess.CompletedProcess[str]) -> None:
    """But the warning that oms can't find out whether the old services have read all: there is no Kafka in these tests."""
    warnings = [line for line in done.stderr.splitlines() if "have read all" not in line]
    assert warnings == []
    assert ("warning: can't find out whether inventory-group" in done.stderr) == (at.settings.profile == "distributed")


def records(settings: Settings) -> dict[str, Any]:
    app = oms.create(settings, services=("order", "inventory"), broker=NoLog())
    order: Any = app.system.order.service.store
    stock: Any = app.system.inventory.service.store
    orders = {
        one.id: (one.state.value, one.agreed.total.minor, dict(one.agreed.items), one.agreed.user_id, one.version)
        for one in order.all_orders()
    }
    found = {
        "orders": orders,
        "history": [(order_id, entry.trigger, entry.detail) for order_id, entry in order.all_history()],
        "stock": {row.sku: (row.on_hand, row.held) for row in stock.all_stock()},
        "ledger": sorted((m.reference, m.sku, m.kind.value, m.on_hand) for m in stock.all_movements()),
        "outbox": list(order.all_outbox()),
        "tasks": [*order.all_tasks(), *stock.all_tasks()],
    }
    app.stop()
    return found


def test_nothing_is_owed_to_anybody_and_the_history_says_where_they_come_from(embedded: Target) -> None:
    assert embedded.migrate("--apply").returncode == 0
    rows = records(embedded.settings)
    assert rows["outbox"] == rows["tasks"] == []
    assert rows["history"] == [(name, "import", "CREATED in the Spring system") for name in (FIRST, SECOND, THIRD)]


def test_gate_and_ledger_agree(distributed: Target) -> None:
    assert distributed.migrate("--apply").returncode == 0
    gate = RedisGate.from_config(distributed.settings.redis, SystemClock())
    assert dict(gate.all_available()) == {A: 98, B: 7}
    gate.close()
    assert records(distributed.settings)["tasks"] == []


def test_imported_orders_rest_and_one_that_is_resumed_is_charged(embedded: Target) -> None:
    assert embedded.migrate("--apply").returncode == 0
    with oms.create(embedded.settings, default_stock=100, log_level="error") as app:
        assert {order.state.value for order in app.orders.page(user_id=ANN).content} == {"LEGACY"}
        app.orders.resume(SECOND)
        wait_until(lambda: app.orders.get(SECOND).state.value == "CONFIRMED")
        wait_until(lambda: oms_verify(embedded.settings).quiet)
        assert app.stock.get(B).on_hand == 4
        assert app.dead_letters.page(DeadLetterState.PARKED) == []
    report = oms_verify(embedded.settings)
    assert report.quiet
    assert report.whole, report.violations
    assert dict(report.orders) == {"CONFIRMED": 1, "LEGACY": 2}
    evidence = recorded(embedded.settings).evidence
    assert [entry.key for entry in evidence.book.all_entries()] == [f"oms-{SECOND}"]  # type: ignore[union-attr]


def test_sales_after_the_first_run_are_not_counted_away(embedded: Target) -> None:
    assert embedded.migrate("--apply").returncode == 0
    with oms.create(embedded.settings, log_level="error") as app:
        app.stock.add(A, -8)
    assert embedded.migrate("--apply").stdout == AGAIN
    assert records(embedded.settings)["stock"][A] == (90, 0)


def test_what_is_bad_gets_a_line_each_and_nothing_is_changed_unless_told_so(legacy: Legacy, embedded: Target) -> None:
    legacy.run(f"""
        INSERT INTO orders (id, status, total_amount, user_id) VALUES
            ('00000000-0000-0000-0000-000000000001', 'CREATED', -5, '{ANN}'),
            ('00000000-0000-0000-0000-000000000002', 'CREATED', 5, '{ANN}'),
            ('00000000-0000-0000-0000-000000000003', 'CREATED', 5, '{ANN}'),
            ('00000000-0000-0000-0000-000000000004', 'SHIPPED', 5, '{ANN}'),
            ('00000000-0000-0000-0000-000000000005', 'CREATED', 5, '{ANN}'),
            ('00000000-0000-0000-0000-000000000006', 'CREATED', 5, NULL),
            ('00000000-0000-0000-0000-000000000007', 'CREATED', NULL, '{ANN}');
        INSERT INTO order_items (order_id, product_id, quantity) VALUES
            ('00000000-0000-0000-0000-000000000001', '{A}', 1),
            ('00000000-0000-0000-0000-000000000002', 'cccccccc-cccc-cccc-cccc-cccccccccccc', 1),
            ('00000000-0000-0000-0000-000000000003', '{A}', 1),
            ('00000000-0000-0000-0000-000000000003', '{B}', 0),
            ('00000000-0000-0000-0000-000000000004', '{A}', 1),
            ('00000000-0000-0000-0000-000000000006', '{A}', 1),
            ('00000000-0000-0000-0000-000000000007', '{A}', 1);
        ALTER TABLE order_items DROP CONSTRAINT order_items_order_id_fkey;
        INSERT INTO order_items (order_id, product_id, quantity) VALUES ('00000000-0000-0000-0000-000000000008', '{A}', 1);
    """)
    legacy.keys.set("inventory:sold-too-often", "-3")
    legacy.keys.set("inventory:odd\x1b[31m", "many")
    legacy.keys.hset("inventory:hash", "a", "b")
    before = legacy.dump()
    lines = [
        "inventory:hash: its count is 'something else than a text', which is no whole number",
        "inventory:odd\ufffd[31m: its count is 'many', which is no whole number",
        "inventory:sold-too-often: a count is a whole number from 0 to 1000000000000",
        "order 00000000-0000-0000-0000-000000000001: the amount can't be negative",
        "order 00000000-0000-0000-0000-000000000002: the product cccccccc-cccc-cccc-cccc-cccccccccccc has no stock in the Spring system",
        f"order 00000000-0000-0000-0000-000000000003: the quantity of {B} must be a whole number from 1 to 10000",
        "order 00000000-0000-0000-0000-000000000004: its status is SHIPPED, only CREATED is known",
        "order 00000000-0000-0000-0000-000000000005: an order needs at least one item",
        "order 00000000-0000-0000-0000-000000000006: userId must be 1 to 64 characters of A-Z a-z 0-9 . _ : -",
        "order 00000000-0000-0000-0000-000000000007: it has no amount",
        "order 00000000-0000-0000-0000-000000000008: order_items has lines of it, orders has no such row",
    ]

    looked = embedded.migrate()
    refused = embedded.migrate("--apply")

    for done in (looked, refused):
        assert done.returncode == 1
        assert done.stderr.splitlines() == [f"oms: {line}" for line in lines]
        assert "orders: 3 to import, 0 here already, 8 bad\nproducts: 2 to count, 0 here already, 3 bad" in done.stdout
    assert "nothing was changed: --skip-bad" in refused.stdout
    assert not embedded.settings.data.exists()

    skipped = embedded.migrate("--apply", "--skip-bad")
    assert skipped.returncode == 1
    assert skipped.stderr.splitlines() == [f"oms: {line}" for line in lines], "each once"
    assert skipped.stdout.endswith("done, without the bad ones\n")
    rows = records(embedded.settings)
    assert set(rows["orders"]) == {FIRST, SECOND, THIRD}
    assert set(rows["stock"]) == {A, B}
    assert legacy.dump() == before


def test_columns_as_the_framework_names_them_unless_told_otherwise_and_times_where_there_are_some(
    legacy: Legacy, embedded: Target
) -> None:
    legacy.run("ALTER TABLE order_items RENAME COLUMN product_id TO items_key")
    legacy.run("ALTER TABLE order_items RENAME COLUMN quantity TO items")
    legacy.run("ALTER TABLE orders ADD COLUMN created_at timestamp DEFAULT '2026-03-01 10:00:00'")
    assert embedded.migrate("--apply").returncode == 0
    rows = records(embedded.settings)
    assert len(rows["orders"]) == 3
    assert {detail for _, _, detail in rows["history"]} == {
        "CREATED in the Spring system, placed 2026-03-01T10:00:00+00:00"
    }


def test_orders_alone_or_stock_alone(embedded: Target) -> None:
    orders = embedded.migrate("--apply", OMS_SPRING_REDIS_URL="")
    assert (orders.returncode, orders.stdout.splitlines()[1]) == (
        0,
        "products: skipped, because no server is set for them",
    )
    stock = embedded.migrate("--apply", OMS_SPRING_POSTGRES_URL="")
    assert (stock.returncode, stock.stdout.splitlines()[0]) == (0, "orders: skipped, because no server is set for them")
    rows = records(embedded.settings)
    assert (len(rows["orders"]), len(rows["stock"])) == (3, 2)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"OMS_SPRING_POSTGRES_PASSWORD": "canary-wrong"}, 'password authentication failed for user "postgres"'),
        ({"OMS_SPRING_POSTGRES_PASSWORD": ""}, "the server wants a password, OMS_SPRING_POSTGRES_PASSWORD gives none"),
        ({"OMS_SPRING_POSTGRES_URL": "postgresql://127.0.0.1:1/orderdb"}, "can't be reached"),
        (
            {"OMS_SPRING_REDIS_URL": "redis://127.0.0.1:1/0"},
            "OMS_SPRING_REDIS_URL (127.0.0.1:1): the connection to Redis",
        ),
        ({"OMS_SPRING_REDIS_PASSWORD": "canary-wrong"}, "check OMS_SPRING_REDIS_USER and OMS_SPRING_REDIS_PASSWORD"),
        (
            {"OMS_SPRING_POSTGRES_URL": "", "OMS_SPRING_REDIS_URL": ""},
            "are the addresses of the Spring system; set them",
        ),
        ({"OMS_PROFILE": "memory"}, "keeps nothing"),
    ],
)
def test_what_is_wrong_is_one_line(embedded: Target, environ: dict[str, str], line: str) -> None:
    done = embedded.migrate("--apply", **environ)
    assert done.returncode == 2
    (warnings,) = done.stderr.splitlines()
    assert line in warnings
    assert "canary" not in done.stderr + done.stdout
    assert not embedded.settings.data.exists()


def test_another_database_than_that_is_told_from_an_empty_one(legacy: Legacy, embedded: Target) -> None:
    legacy.run("ALTER TABLE orders RENAME COLUMN total_amount TO sum")
    done = embedded.migrate()
    assert done.returncode == 2
    assert "the table orders has no column total_amount or amount" in done.stderr
    legacy.run("ALTER TABLE orders RENAME TO others")
    assert "there is no table orders" in embedded.migrate().stderr


class Dying(LegacyOrders):
    """The connection breaks at some order."""

    def __init__(self, there: LegacyOrders, at: int) -> None:
        self._there, self._at = there, at

    def orders(self) -> Iterable[LegacyOrder]:
        for number, order in enumerate(self._there.orders()):
            if number == self._at:
                raise oms.Retryable("the connection broke")
            yield order


def test_a_run_that_died_is_finished_by_the_next(legacy: Legacy, embedded: Target) -> None:
    """What is taken over is whole, whatever was left out."""
    legacy.run(f"""
        INSERT INTO orders SELECT gen_random_uuid(), 'CREATED', n, '{ANN}' FROM generate_series(1, 1200) n;
        INSERT INTO order_items SELECT id, '{A}', 1 FROM orders WHERE id NOT IN (SELECT order_id FROM order_items);
    """)
    there = PostgresLegacyOrders.from_config(embedded.settings.spring_postgres)
    app = oms.create(embedded.settings, services=("order", "inventory"), broker=NoLog())
    with pytest.raises(oms.Retryable):
        Migration(app, Dying(there, 700), None, print).apply()
    app.stop()
    half = records(embedded.settings)
    assert (len(half["orders"]), len(half["history"])) == (500, 500)

    done = embedded.migrate("--apply")

    assert done.stdout.startswith("orders: 703 to import, 500 here already, 0 bad\n")
    whole = records(embedded.settings)
    assert (len(whole["orders"]), len(whole["history"])) == (1203, 1203)
    assert set(half["history"]) < set(whole["history"])


def wait_until(condition: Any, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
