"""A server that dies, restarts, aborts transactions or fills up: every result that a caller gets is true."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from oms.adapters.sql.factory import store_in
from oms.adapters.sql.postgres import database
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.database import PING_AFTER_S, postgres_database, setup_database
from oms.adapters.sql.provisioning.migrate import migrate
from oms.adapters.sql.stores.tables import kind_of
from oms.adapters.system.clock import SystemIds
from oms.domain.tasks import TaskKind
from oms.domain.values import OrderId, Sku
from oms.ports.broker import TopicPartition
from oms.ports.errors import OutcomeUnknown, PortError, Retryable
from oms.ports.stores.rows import Delivery
from oms.testing.contracts.samples import AT, flush, row
from oms.testing.contracts.stores import ids
from tests.support.own_postgres import OwnPostgres

pytestmark = [pytest.mark.faults, pytest.mark.servers, pytest.mark.slow]

NAMES = ("order", "inventory", "payment", "notification", "shipping")


@pytest.fixture(scope="module")
def mortal() -> Iterator[OwnPostgres]:
    """A server to be killed."""
    with OwnPostgres() as made:
        yield made


@pytest.fixture
def login(mortal: OwnPostgres) -> Credentials:
    return mortal.new_database(f"d{random.getrandbits(40):x}")


Open = Callable[[str], Any]


@pytest.fixture
def stores(login: Credentials) -> Iterator[Open]:
    opened: list[Any] = []

    def open_store(name: str) -> Any:
        schema = f"s_{name}"
        with login.connect() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")  # type: ignore[call-overload]
        database = setup_database(login, schema)
        migrate(database, kind_of(name))
        database.close()
        opened.append(store_in(postgres_database(login, schema), name, SystemIds()))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


def claim(store: Any, name: str) -> str:
    """Commit one message and return the outcome that the caller sees."""
    try:
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids(name))
            transaction.commit()
    except OutcomeUnknown:
        return "unknown"
    except Retryable:
        return "not done"
    return "done"


def backends(mortal: OwnPostgres, query: str) -> list[int]:
    where = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
    return [pid for (pid,) in mortal.run(f"SELECT pid FROM pg_stat_activity WHERE {where} AND query LIKE '{query}'")]


def until_it_runs(mortal: OwnPostgres, query: str) -> int:
    for _ in range(1000):
        found = backends(mortal, query)
        if found:
            return found[0]
    raise AssertionError(f"no session runs {query}")


@pytest.fixture
def nobody_confirms(mortal: OwnPostgres) -> Iterator[None]:
    """Commits are durable here, and then wait for a replica that doesn't exist."""
    mortal.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    mortal.run("SELECT pg_reload_conf()")
    yield
    mortal.run("ALTER SYSTEM RESET synchronous_standby_names")
    mortal.run("SELECT pg_reload_conf()")


SLOW_COMMIT = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON s_order.inbox DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slow()
"""


@pytest.fixture
def slow_commit(stores: Open, login: Credentials) -> Any:
    """A store whose commits work on for a while before anything is durable."""
    store = stores("order")
    with login.connect() as connection:
        connection.execute(SLOW_COMMIT)
    return store


class TestCommit:
    """The connection is lost while a commit is under way."""

    def test_it_was_durable(self, mortal: OwnPostgres, stores: Open, nobody_confirms: None) -> None:
        store = stores_without_wait(mortal, stores)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(claim, store, "a")
            until_it_runs(mortal, "COMMIT")
            mortal.kill()
            assert call.result(20) == "unknown"
        mortal.start()
        assert list(store.all_inbox()) == [("g", "a")]

    def test_it_was_durable_and_the_session_was_ended(
        self, mortal: OwnPostgres, stores: Open, nobody_confirms: None
    ) -> None:
        store = stores_without_wait(mortal, stores)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(claim, store, "a")
            mortal.run(f"SELECT pg_terminate_backend({until_it_runs(mortal, 'COMMIT')})")
            assert call.result(20) == "unknown"
        assert list(store.all_inbox()) == [("g", "a")]

    def test_it_was_not_durable(self, mortal: OwnPostgres, slow_commit: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(claim, slow_commit, "a")
            until_it_runs(mortal, "COMMIT")
            mortal.kill()
            assert call.result(20) == "unknown"
        mortal.start()
        assert list(slow_commit.all_inbox()) == []

    def test_it_was_refused_and_the_server_lives(self, mortal: OwnPostgres, slow_commit: Any) -> None:
        """The server's own word is no doubt: everything is undone."""
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(claim, slow_commit, "a")
            mortal.run(f"SELECT pg_cancel_backend({until_it_runs(mortal, 'COMMIT')})")
            assert call.result(20) == "not done"
        assert list(slow_commit.all_inbox()) == []

    @pytest.mark.parametrize("seed", range(4))
    def test_a_server_killed_at_any_moment_makes_no_liar(self, mortal: OwnPostgres, stores: Open, seed: int) -> None:
        store, dice = stores("order"), random.Random(seed)
        reported: dict[str, str] = {}
        over = threading.Event()

        def work(worker: int) -> None:
            number = 0
            while not over.is_set():
                name = f"{worker}-{number}"
                reported[name] = claim(store, name)
                number += 1

        with ThreadPoolExecutor(3) as pool:
            workers = [pool.submit(work, worker) for worker in range(3)]
            over.wait(0.2 + dice.random() / 2)
            mortal.kill()
            over.set()
            for one in workers:
                one.result(60)
        mortal.start()
        there = {message for _, message in store.all_inbox()}
        assert {name for name, how in reported.items() if how == "done"} <= there
        assert not {name for name, how in reported.items() if how == "not done"} & there
        assert there <= reported.keys()
        assert claim(store, "after") == "done"


def stores_without_wait(mortal: OwnPostgres, stores: Open) -> Any:
    """Made while replicas are waited for: the set-up itself must not wait."""
    mortal.run("ALTER SYSTEM SET synchronous_commit = local")
    mortal.run("SELECT pg_reload_conf()")
    store = stores("order")
    mortal.run("ALTER SYSTEM RESET synchronous_commit")
    mortal.run("SELECT pg_reload_conf()")
    return store


class TestConnection:
    """The connection is lost at other times."""

    def test_a_session_that_is_ended_in_mid_transaction(self, mortal: OwnPostgres, stores: Open) -> None:
        store = stores("order")
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids("a"))
            for pid in backends(mortal, "%INSERT INTO s_order.inbox%"):
                mortal.run(f"SELECT pg_terminate_backend({pid})")
            with pytest.raises(Retryable, match="connection was lost"):
                transaction.claim_inbox("g", ids("b"))
            with pytest.raises(PortError):
                transaction.commit()
        assert claim(store, "a") == "done"

    def test_a_transaction_that_sleeps_is_ended_by_the_server(
        self, mortal: OwnPostgres, stores: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "_timeouts", partial(database._timeouts, idle_s=1.0))
        store = stores("order")
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids("a"))
            began = time.monotonic()
            while backends(mortal, "BEGIN%"):
                assert time.monotonic() - began < database.IDLE_TIMEOUT_S / 2, "the limit of this test is in use"
            with pytest.raises(Retryable, match="connection was lost"):
                transaction.claim_inbox("g", ids("b"))
        assert list(store.all_inbox()) == []

    def test_a_restart_between_two_uses_is_nobodys_trouble(self, mortal: OwnPostgres, stores: Open) -> None:
        store = stores("order")
        assert claim(store, "a") == "done"
        store.start_attempts("g", {TopicPartition("t", 0): 1})
        assert list(store.all_inbox()) == [("g", "a")]
        mortal.restart()
        time.sleep(PING_AFTER_S)  # an empty server is back sooner than any in use, before the pool tests a connection
        assert list(store.all_inbox()) == [("g", "a")]
        assert claim(store, "b") == "done"
        assert store.start_attempts("g", {TopicPartition("t", 0): 1}) == {TopicPartition("t", 0): 2}

    def test_a_statement_that_is_cancelled_is_tried_again(self, mortal: OwnPostgres, stores: Open) -> None:
        store = stores("order")
        with store.begin() as first, ThreadPoolExecutor(1) as pool:
            first.claim_inbox("g", ids("a"))
            call = pool.submit(claim, store, "a")
            while len(found := backends(mortal, "%INSERT INTO s_order.inbox%")) < 2:
                pass
            waiting = mortal.run("SELECT pid FROM pg_locks WHERE NOT granted")
            assert waiting[0][0] in found
            mortal.run(f"SELECT pg_cancel_backend({waiting[0][0]})")
            assert call.result(10) == "not done"


KEYS = [OrderId("o")]
EVERY_CALL: dict[str, Sequence[Any]] = {
    "stored_response": ("s", "k"),
    "begin": (),
    "start_attempts": ("g", {TopicPartition("t", 0): 1}),
    "clear_attempts": ("g", [TopicPartition("t", 0)]),
    "claim_tasks": ([TaskKind.CHARGE], 1, 1.0),
    "claim_outbox": (1, 1.0),
    "mark_sent": (["r"],),
    "return_outbox": (["r"],),
    "dead_letters": (),
    "dead_letter": ("d",),
    "next_due": (),
    "backlog": (),
    "ping": (),
    "as_of": (),
    "all_inbox": (),
    "all_outbox": (),
    "all_tasks": (),
    "all_dead_letters": (),
    "order": (OrderId("o"), None),
    "orders": (None, 0, 10),
    "timeline": (OrderId("o"), None),
    "all_orders": (),
    "all_history": (),
    "all_responses": (),
    "currency": (),
    "pin_currency": ("EUR",),
    "first_handled": ("g",),
    "register": ("host-1",),
    "start_offsets": ("g",),
    "pin_start_offsets": ("g", {TopicPartition("t", 0): 1}),
    "default_stock": (),
    "record_default_stock": ("100",),
    "reservations": (KEYS,),
    "stock": ([Sku("s")],),
    "stock_page": (0, 10),
    "all_reservations": (),
    "all_stock": (),
    "all_movements": (),
    "payments": (KEYS,),
    "all_payments": (),
    "notifications": (OrderId("o"),),
    "notifications_by_id": (["n"],),
    "all_notifications": (),
    "document": ("g", "k"),
}
NO_CALLS = {"at_one_moment", "close", "join", "keep_registration", "log_end", "purge"}
"""`purge` has arguments by name, and `at_one_moment` is a block: they are called by themselves. `keep_registration` has
nothing to do before `register`, and `log_end` is set by the embedded profile."""


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_is_away_is_retryable_whatever_is_asked(mortal: OwnPostgres, stores: Open, name: str) -> None:
    store = stores(name)
    asked = {call for call in dir(store) if not call.startswith("_")} - NO_CALLS
    assert asked <= EVERY_CALL.keys()
    open_transaction = store.begin()
    mortal.stop()
    try:
        for call in sorted(asked):
            with pytest.raises(Retryable) as raised:
                consumed(getattr(store, call)(*EVERY_CALL[call]))
            reported = str(raised.value)
            assert "SELECT" not in reported
            assert "127.0.0.1" not in reported
            assert raised.value.__cause__ is None
        with pytest.raises(Retryable):
            store.purge(AT, keys_older_than=AT, limit=1)
        with pytest.raises(Retryable), store.at_one_moment():
            pass
        with pytest.raises(Retryable):
            open_transaction.flush(Delivery(outbox=[row("r")]))
        open_transaction.rollback()
    finally:
        mortal.start()
    store.ping()


def consumed(answer: Any) -> None:
    if hasattr(answer, "__next__"):
        list(answer)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 2 MiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a disk")
    place = Path(mkdtemp(prefix="oms-small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    shutil.chown(place, "postgres", "postgres")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def test_a_full_disk_is_tried_again_until_there_is_room(
    mortal: OwnPostgres, stores: Open, login: Credentials, small_disk: Path
) -> None:
    mortal.run(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    store = stores("order")
    with login.connect() as connection:
        connection.execute("ALTER TABLE s_order.outbox SET TABLESPACE small")
    written = 0

    def fill() -> None:
        nonlocal written
        for _ in range(100):
            flush(store, Delivery(outbox=[row(f"{written:06d}-{number}") for number in range(500)]))
            written += 500

    try:
        with pytest.raises(Retryable, match="53100"):
            fill()
        assert written
        assert len(list(store.all_outbox())) == written
        with login.connect() as connection:
            connection.execute("ALTER TABLE s_order.outbox SET TABLESPACE pg_default")
        flush(store, Delivery(outbox=[row("after")]))
        assert len(list(store.all_outbox())) == written + 1
    finally:
        with login.connect() as connection:
            connection.execute("ALTER TABLE s_order.outbox SET TABLESPACE pg_default")
        mortal.run("DROP TABLESPACE small")
