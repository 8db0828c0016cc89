"""What PostgreSQL adds to the contract: no session state, the server's clock, locks that queue, joined transactions."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, func, literal_column, select, text

from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.statements import Statement
from oms.adapters.sql.factory import store_in
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.database import BY_KEY, Session, postgres_database, setup_database
from oms.adapters.sql.postgres.sender import PostgresSender
from oms.adapters.sql.provisioning.migrate import migrate
from oms.adapters.sql.stores.tables import kind_of
from oms.adapters.system.clock import SystemIds
from oms.domain.order import Order
from oms.domain.reservation import Reservation
from oms.domain.stock import MovementKind, movements
from oms.domain.tasks import TaskKind
from oms.domain.values import OrderId, Sku
from oms.ports.broker import TopicPartition
from oms.ports.errors import Permanent, PortError, Retryable
from oms.ports.messages import MessageId, Outgoing
from oms.ports.stores.rows import Delivery, OutboxRow
from oms.testing.contracts.samples import AT, LATER, flush, history, order_id, placed, request, row, start, terms
from oms.testing.contracts.stores import ids
from tests.support.own_postgres import OwnPostgres

pytestmark = pytest.mark.servers

Open = Callable[[str], Any]
P0 = TopicPartition("order.created", 0)


@pytest.fixture(scope="module")
def login(server: OwnPostgres) -> Credentials:
    """A database whose own ideas of time and text are odd."""
    login = server.new_database("stores")
    server.run("ALTER DATABASE stores SET timezone = 'Asia/Kolkata'")
    return login


@pytest.fixture
def stores(login: Credentials) -> Iterator[Open]:
    """Opens the store of a name, in a new schema the first time."""
    opened: list[Any] = []
    schemas: dict[str, str] = {}

    def open_store(name: str) -> Any:
        if name not in schemas:
            schemas[name] = made_schema(login, name)
        opened.append(store_in(postgres_database(login, schemas[name]), name, SystemIds()))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()
    with login.connect() as connection:
        for schema in schemas.values():
            connection.execute(f"DROP SCHEMA {schema} CASCADE")  # type: ignore[call-overload]


@pytest.fixture
def sent_sql() -> Iterator[list[tuple[str, Any]]]:
    """Every text that goes to the server, one a round trip, and its parameters; a text may have several statements."""
    statements: list[tuple[str, Any]] = []
    send = PostgresSender._execute_text

    def note_text(sender: PostgresSender, words: str) -> None:
        statements.append((words, None))
        send(sender, words)

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresSender, "_execute_text", note_text)
        yield statements
    event.remove(Engine, "before_cursor_execute", note)


def single(sent_sql: list[tuple[str, Any]], *beginnings: str) -> list[tuple[str, Any]]:
    """The statements among these texts that begin so."""
    pieces = [(piece, values) for words, values in sent_sql for piece in words.split("; ")]
    return [(piece, values) for piece, values in pieces if piece.startswith(beginnings)]


def behind_a_pooler(patch: pytest.MonkeyPatch) -> None:
    """New connections find that their session isn't theirs."""
    patch.setattr(Session, "is_ours", property(lambda _: False, lambda _, __: None))


@pytest.fixture(params=["ours", "a pooler's"])
def session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the server's session is the connection's own; the stores of the test find it so."""
    if request.param != "ours":
        behind_a_pooler(monkeypatch)
    return str(request.param)


def made_schema(login: Credentials, name: str) -> str:
    schema = f"s{random.getrandbits(48):x}"
    with login.connect() as connection:
        connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[call-overload]
    database = setup_database(login, schema)
    migrate(database, kind_of(name))
    database.close()
    return schema


def database_of(store: Any) -> Database:
    database: Database = store._database
    return database


class TestSession:
    """A pooler may give each transaction another connection."""

    def test_nothing_is_left_in_a_poolers_session(self, stores: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        behind_a_pooler(monkeypatch)
        store = stores("order")
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids("a"))
            transaction.commit()
        store.start_attempts("g", {P0: 1})
        list(store.all_inbox())
        for way in (database_of(store)._read, database_of(store)._write, database_of(store)._autocommit):
            assert way is not None
            with way.engine.connect() as connection:
                found = connection.exec_driver_sql(
                    "SELECT current_setting('search_path'), current_setting('statement_timeout'),"
                    " current_setting('lock_timeout'), current_setting('synchronous_commit'),"
                    " current_setting('idle_in_transaction_session_timeout'),"
                    " (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors)"
                ).one()
            assert tuple(found) == ('"$user", public', "0", "0", "on", "0", 0, 0)

    def test_each_transaction_has_its_limits(self, stores: Open, session: str) -> None:
        store = stores("order")
        for connection in (database_of(store).begin(), database_of(store)._begin(database_of(store)._snapshot)):
            limits = connection.first(
                text(
                    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
                    " current_setting('idle_in_transaction_session_timeout')"
                )
            )
            assert tuple(limits) == ("30s", "5s", "1min")
            database_of(store).abandon(connection)

    def test_only_notes_at_the_side_skip_the_wait_for_the_disk(self, stores: Open, session: str) -> None:
        names = "synchronous_commit", "transaction_isolation", "enable_seqscan", "lock_timeout"
        shown = Statement(select(*(func.current_setting(literal_column(f"'{name}'")).label(name) for name in names)))
        store = stores("order")
        with database_of(store).autocommit(synced=False) as connection:
            assert connection.fetch(shown) == [("off", "read committed", "off", "5s")]
        with database_of(store).autocommit() as connection:
            assert connection.fetch(shown) == [("on", "read committed", "off", "5s")]
        with database_of(store).writing() as connection:
            assert connection.fetch(shown) == [("on", "read committed", "off", "5s")]
        with database_of(store).snapshot() as connection:
            assert connection.fetch(shown) == [("on", "repeatable read", "on", "5s")]

    def test_a_batch_is_the_same_behind_a_pooler(self, stores: Open, session: str) -> None:
        store = stores("order")
        flush(store, Delivery(outbox=[row("a")], tasks=[request("t")]))
        assert store.start_attempts("g", {P0: 1}) == {P0: 1}
        (task,) = store.claim_tasks([request("t").kind], 10, 30)
        with store.begin() as transaction:
            assert list(transaction.claim_inbox("g", ids("a"))) == ["a"]
            assert list(transaction.finish_tasks([task])) == [task.id]
            transaction.commit()
        store.mark_sent(["a"])
        assert (list(store.all_outbox()), list(store.all_tasks())) == ([], [])
        assert list(store.all_inbox()) == [("g", "a")]

    def test_a_row_is_waited_for_only_so_long(self, stores: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("oms.adapters.sql.postgres.database.LOCK_TIMEOUT_S", 0.2)
        first, second = stores("order"), stores("order")
        with first.begin() as mine, second.begin() as theirs:
            mine.claim_inbox("g", ids("a"))
            with pytest.raises(Retryable, match="55P03"):
                theirs.claim_inbox("g", ids("a"))

    def test_no_more_connections_than_that(self, stores: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("oms.adapters.sql.postgres.database.POOL_TIMEOUT_S", 0.1)
        store = stores("order")
        with ExitStack() as open_ones:
            for _ in range(8):
                open_ones.enter_context(store.begin())
            with pytest.raises(Retryable, match="every connection"):
                store.begin()
        store.ping()


class TestTime:
    """Only the server's clock is used, never the host's."""

    def test_a_transaction_has_the_servers_time_in_utc(self, stores: Open, server: OwnPostgres) -> None:
        store = stores("order")
        ((before,),) = server.run("SELECT clock_timestamp()")
        with database_of(store).writing() as connection:
            now = connection.now
        ((after,),) = server.run("SELECT clock_timestamp()")
        assert before <= now <= after
        assert now.tzinfo is UTC

    def test_a_lease_begins_and_ends_by_the_server(
        self, stores: Open, server: OwnPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """This host's clock is an hour fast: no lease is over for that."""

        class Fast(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime.now(tz) + timedelta(hours=1)

        for module in ("stores.store", "stores.transaction", "stores.claims", "core.connection", "postgres.sender"):
            monkeypatch.setattr(f"oms.adapters.sql.{module}.datetime", Fast)
        store = stores("order")
        start(store, request("a"))
        (task,) = store.claim_tasks([TaskKind.CHARGE], 10, 30)
        assert list(store.claim_tasks([TaskKind.CHARGE], 10, 30)) == []
        ((now,),) = server.run("SELECT clock_timestamp()")
        assert timedelta(seconds=25) < store.next_due() - now < timedelta(seconds=30)
        assert abs(task.called_at - now) < timedelta(seconds=5)

    def test_what_is_due_is_found_by_the_servers_time(self, stores: Open, server: OwnPostgres) -> None:
        store = stores("order")
        ((now,),) = server.run("SELECT clock_timestamp()")
        start(store, request("due", now), request("later", now + timedelta(minutes=1)))
        assert store.backlog().tasks_due == 1
        assert [task.key for task in store.claim_tasks([TaskKind.CHARGE], 10, 30)] == ["due"]

    def test_times_come_back_to_the_microsecond_and_in_utc(self, stores: Open) -> None:
        store, step = stores("order"), placed(1)
        with store.begin() as transaction:
            transaction.save_orders([(Order(id=step.aggregate.id), step.aggregate)], history(step))
            transaction.commit()
        found = store.order(step.aggregate.id, None)
        assert found == step.aggregate
        assert found.created_at.tzinfo is UTC


class TestValues:
    """What PostgreSQL can't store is the message's fault, and changes nothing."""

    @pytest.mark.parametrize(
        "name", ["a\x00b", "\ud800", "x" * 65], ids=["a NUL", "half a character", "more than fits: it isn't cut"]
    )
    def test_text_that_cannot_be_stored(self, stores: Open, name: str) -> None:
        store = stores("order")
        with store.begin() as transaction:
            with pytest.raises(Permanent):
                transaction.claim_inbox("g", [MessageId(name)])
            with pytest.raises(Permanent, match="has ended"):
                transaction.commit()
        assert list(store.all_inbox()) == []

    def test_a_number_that_is_too_large(self, stores: Open) -> None:
        store = stores("inventory")
        with store.begin() as transaction, pytest.raises(Permanent, match="22003"):
            transaction.introduce_stock({Sku("a"): 2**63})

    def test_bytes_and_text_of_every_kind_come_back(self, stores: Open) -> None:
        store = stores("order")
        message = Outgoing("t", bytes(range(256)), b"\x00", (("✓ {\"'\\,NULL", b"\\x00"), ("", b"")))
        flush(store, Delivery(outbox=[OutboxRow('{"a\\,NULL', message)]))
        assert [(owed.id, owed.message) for owed in store.all_outbox()] == [('{"a\\,NULL', message)]


class TestLocks:
    """Nobody waits crosswise or for ever."""

    def test_locks_are_taken_in_the_order_of_code_points(self, stores: Open) -> None:
        store = stores("inventory")
        names = [Sku(name) for name in ("a", "B", "é", "z", "A", "_", "b-1", "b1")]
        with store.begin() as transaction:
            transaction.introduce_stock(dict.fromkeys(names, 1))
            assert list(transaction.lock_stock(names)) == sorted(names)
            transaction.commit()

    def test_two_that_wait_for_each_other_do_not_wait_for_ever(self, stores: Open) -> None:
        store = stores("inventory")
        with store.begin() as transaction:
            transaction.introduce_stock({Sku("a"): 1, Sku("b"): 1})
            transaction.commit()
        met = threading.Barrier(2)

        def work(*skus: str) -> None:
            with store.begin() as transaction:
                transaction.lock_stock([Sku(skus[0])])
                met.wait(5)
                transaction.lock_stock([Sku(skus[1])])
                transaction.commit()

        with ThreadPoolExecutor(2) as pool:
            ended = [pool.submit(work, "a", "b"), pool.submit(work, "b", "a")]
            (error,) = [error for one in ended if (error := one.exception(20)) is not None]
        assert isinstance(error, Retryable)
        assert "40P01" in str(error)

    def test_workers_that_claim_introduce_and_start_the_same_never_deadlock(self, stores: Open) -> None:
        store = stores("inventory")
        names = [f"n{number:02d}" for number in range(40)]

        def work(seed: int) -> int:
            dice, claimed = random.Random(seed), 0
            for _ in range(15):
                some = dice.sample(names, 20)
                with store.begin() as transaction:
                    claimed += len(transaction.claim_inbox("g", ids(*some)))
                    transaction.introduce_stock({Sku(name): 1 for name in some})
                    transaction.lock_stock([Sku(name) for name in some])
                    transaction.flush(Delivery(tasks=[request(name) for name in some]))
                    transaction.commit()
            return claimed

        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(work, range(3))) == len(names)
        assert len(list(store.all_tasks())) == len(store.stock([Sku(name) for name in names])) == len(names)

    def test_a_rebuild_comes_to_its_turn_while_takes_never_pause(self, stores: Open) -> None:
        """Three that share the row in turn kept a fourth from it for 17 s when they locked nothing but the row."""
        takers, keeper, over = stores("inventory"), stores("inventory"), threading.Event()

        def take(offset_s: float) -> int:
            taken = 0
            over.wait(offset_s)
            while not over.is_set():
                with takers.begin() as transaction:
                    transaction.gate_epoch()
                    over.wait(0.1)
                    transaction.commit()
                taken += 1
            return taken

        with ThreadPoolExecutor(3) as pool:
            takes = [pool.submit(take, offset_s) for offset_s in (0.0, 0.03, 0.06)]
            try:
                over.wait(0.5)
                with keeper.begin() as transaction:
                    began = time.monotonic()
                    transaction.set_gate_epoch(transaction.lock_gate() + 1)
                    waited = time.monotonic() - began
                    transaction.commit()
                over.wait(0.3)
            finally:
                over.set()
            assert all(one.result(10) for one in takes)
        assert waited < 2.5
        with keeper.begin() as transaction:
            assert transaction.gate_epoch() == 1


class TestClaims:
    """Claimers share the work, and no row is passed over."""

    def test_claimers_at_once_get_different_rows(self, stores: Open) -> None:
        store = stores("order")
        names = [f"r{number:03d}" for number in range(300)]
        flush(store, Delivery(outbox=[row(name) for name in names], tasks=[request(name) for name in names]))

        def sweep() -> tuple[list[str], list[str]]:
            rows: list[str] = []
            tasks: list[str] = []
            for _ in range(30):
                rows += [owed.id for owed in store.claim_outbox(10, 60)]
                tasks += [task.key for task in store.claim_tasks([TaskKind.CHARGE], 10, 60)]
            return rows, tasks

        with ThreadPoolExecutor(2) as pool:
            first, second = (one.result(60) for one in [pool.submit(sweep), pool.submit(sweep)])
        for mine, theirs in zip(first, second, strict=True):
            assert sorted(mine + theirs) == names

    def test_what_another_is_claiming_is_passed_over_and_not_waited_for(self, stores: Open) -> None:
        store = stores("order")
        flush(store, Delivery(outbox=[row("a"), row("b")]))
        with database_of(store).writing() as connection:
            connection.first(text(f"SELECT id FROM {database_of(store).schema}.outbox WHERE id = 'a' FOR UPDATE"))
            assert [owed.id for owed in store.claim_outbox(10, 60)] == ["b"]
        assert [owed.id for owed in store.claim_outbox(10, 60)] == ["a"]

    def test_interleaved_commits_lose_no_row(self, stores: Open) -> None:
        """Transactions that began earlier commit later, while a sweeper goes on: each row is swept once."""
        store, dice = stores("order"), random.Random(7)
        swept: list[str] = []
        open_ones: list[Any] = []
        written = 0
        for _ in range(60):
            if len(open_ones) < 3:
                transaction = store.begin()
                transaction.flush(Delivery(outbox=[row(f"r{written:03d}")]))
                open_ones.append(transaction)
                written += 1
            if dice.random() < 0.6:
                open_ones.pop(dice.randrange(len(open_ones))).commit()
            swept += [owed.id for owed in store.claim_outbox(10, 60)]
        for transaction in open_ones:
            transaction.commit()
        swept += [owed.id for owed in store.claim_outbox(100, 60)]
        assert sorted(swept) == [f"r{number:03d}" for number in range(written)]


class TestPlans:
    """The cost of a repeated query doesn't depend on the length of the backlog."""

    def test_claims_sort_nothing_and_scan_nothing(self, stores: Open, login: Credentials, sent_sql: list[Any]) -> None:
        store = stores("order")
        schema = database_of(store).schema
        with login.connect() as connection:  # all due at the same moment, as a batch's are
            connection.execute(
                f"INSERT INTO {schema}.tasks SELECT md5(i::text), 'charge', '', now(), null, 0, now(), null, ''"  # type: ignore[call-overload]
                f" FROM generate_series(1, 20000) i; INSERT INTO {schema}.outbox SELECT md5(i::text), 't', null, '', '[]',"
                f" now(), now() FROM generate_series(1, 20000) i; ANALYZE {schema}.tasks; ANALYZE {schema}.outbox"
            )
        sent_sql.clear()
        assert len(store.claim_tasks([TaskKind.CHARGE], 500, 30)) == 500
        assert len(store.claim_outbox(500, 30)) == 500
        store.next_due()
        queries = [one for one in single(sent_sql, "SELECT", "WITH") if "clock_timestamp" not in one[0]]
        assert len(queries) == 5
        with login.connect() as connection:
            for statement, values in queries:
                for name, value in BY_KEY.items():  # as in all that write
                    connection.execute(f"SET {name} = {value if statement.startswith('WITH') else 'DEFAULT'}")  # type: ignore[call-overload]
                plan = connection.execute(f"EXPLAIN {statement}", values).fetchall()  # type: ignore[call-overload]
                shown = "\n".join(line for (line,) in plan)
                assert "Sort" not in shown, shown
                assert "Seq Scan" not in shown, shown

    def test_what_was_known_of_an_empty_table_does_no_harm(
        self, stores: Open, login: Credentials, sent_sql: list[Any]
    ) -> None:
        """Tables of what is owed are empty whenever the server looks at them: each key went through all of their rows."""
        store = stores("order")
        schema = database_of(store).schema
        with login.connect() as connection:
            connection.execute(f"VACUUM ANALYZE {schema}.tasks")  # type: ignore[call-overload]
            connection.execute(
                f"INSERT INTO {schema}.tasks SELECT md5(i::text), 'charge', '', now(), null, 0, now(), null, ''"  # type: ignore[call-overload]
                " FROM generate_series(1, 6000) i"
            )
        sent_sql.clear()
        claimed = store.claim_tasks([TaskKind.CHARGE], 500, 30)
        with store.begin() as transaction:
            assert len(transaction.finish_tasks(claimed)) == 500
            transaction.commit()
        queries = single(sent_sql, "WITH", "DELETE")
        assert len(queries) == 2
        with login.connect() as connection:
            for name, value in BY_KEY.items():
                connection.execute(f"SET {name} = {value}")  # type: ignore[call-overload]
            for statement, values in queries:
                plan = connection.execute(f"EXPLAIN {statement}", values).fetchall()  # type: ignore[call-overload]
                shown = "\n".join(line for (line,) in plan)
                assert "Join Filter" not in shown, shown
                assert "Tid Scan" in shown or "pk_tasks" in shown, shown

    def test_rows_are_found_by_their_names_without_statistics(
        self, stores: Open, login: Credentials, sent_sql: list[Any]
    ) -> None:
        store = stores("inventory")
        with login.connect() as connection:
            connection.execute(
                f"INSERT INTO {database_of(store).schema}.reservations SELECT md5(i::text), 'RELEASED', '{{}}', now()"  # type: ignore[call-overload]
                " FROM generate_series(1, 20000) i"
            )
        sent_sql.clear()
        store.reservations([OrderId(f"o{number}") for number in range(20)])
        ((statement, values),) = sent_sql
        with login.connect() as connection:
            plan = str(connection.execute(f"EXPLAIN {statement}", values).fetchall())  # type: ignore[call-overload]
        assert "pk_reservations" in plan, plan


class TestStreams:
    """Everything on record, in bounded memory and of one moment."""

    def test_rows_come_some_at_a_time_and_of_one_moment(self, stores: Open, server: OwnPostgres) -> None:
        store = stores("order")
        many = ids(*(f"m{number}" for number in range(5000)))
        with store.begin() as transaction:
            transaction.claim_inbox("g", many)
            transaction.commit()
        found = iter(store.all_inbox())
        assert [next(found)[0] for _ in range(2)] == ["g", "g"]
        ((query,),) = server.run("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert query.startswith("FETCH FORWARD 1000")
        later = datetime.now(UTC) + timedelta(days=1)
        assert store.purge(later, keys_older_than=later, limit=10_000) == 5000
        assert 2 + sum(1 for _ in found) == 5000
        assert list(store.all_inbox()) == []

    @pytest.mark.filterwarnings("error")
    def test_a_stream_that_is_left_leaves_nothing_open(self, stores: Open, server: OwnPostgres) -> None:
        store = stores("order")
        flush(store, Delivery(tasks=[request(f"t{number}") for number in range(3000)]))
        found = store.all_tasks()
        next(iter(found))
        del found
        assert server.run("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'") == []


class TestJoin:
    """A shop's own transaction, on its own connection and search path."""

    def test_an_order_comes_and_goes_with_the_callers_transaction(self, stores: Open, login: Credentials) -> None:
        store, shop = stores("order"), self._engine(login)
        step = placed(1)
        with shop.begin() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS invoices (order_id text)"))
        with shop.connect() as connection:
            self._place(store, connection)
            connection.execute(text("INSERT INTO invoices VALUES ('lost')"))
            connection.rollback()
        assert store.order(step.aggregate.id, None) is None
        with shop.begin() as connection:
            self._place(store, connection)
            connection.execute(text("INSERT INTO invoices VALUES ('kept')"))
            assert store.order(step.aggregate.id, None) is None
        assert store.order(step.aggregate.id, None) == step.aggregate
        assert [owed.id for owed in store.all_outbox()] == ["r"]
        with shop.begin() as connection:
            assert connection.execute(text("SELECT * FROM invoices")).scalars().all() == ["kept"]
            connection.execute(text("DROP TABLE invoices"))
        shop.dispose()

    def test_a_callers_own_schemas_stay_its_own(self, stores: Open, login: Credentials) -> None:
        store, shop = stores("order"), self._engine(login, schema_translate_map={None: "information_schema"})
        with shop.begin() as connection:
            self._place(store, connection)
            assert connection.get_execution_options()["schema_translate_map"][None] == "information_schema"
        assert len(list(store.all_orders())) == 1
        shop.dispose()

    def test_an_error_is_ours_and_ends_the_work(self, stores: Open, login: Credentials) -> None:
        store, shop = stores("order"), self._engine(login)
        with shop.begin() as connection:
            self._place(store, connection)
        with shop.connect() as connection:
            with pytest.raises(Retryable) as raised:
                self._place(store, connection)
            assert "ann" not in str(raised.value)
            assert raised.value.__cause__ is None
        shop.dispose()

    def _engine(self, login: Credentials, **options: Any) -> Engine:
        return create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(**login.parameters), execution_options=options
        )

    def _place(self, store: Any, connection: Any) -> None:
        step = placed(1)
        with store.join(connection) as transaction:
            transaction.lock_orders([step.aggregate.id])
            transaction.save_orders([(Order(id=step.aggregate.id), step.aggregate)], history(step))
            transaction.flush(Delivery(outbox=[row("r")], tasks=[request("t")]))
            transaction.commit()


class TestBatches:
    """However many messages, a handful of round trips."""

    def test_a_batch_of_orders(self, stores: Open, sent_sql: list[Any]) -> None:
        store = stores("order")
        names = [OrderId(f"o{number:03d}") for number in range(500)]
        self._first(store)
        sent_sql.clear()
        steps = [Order(id=name).place(terms(), at=AT, deadline_at=AT + LATER) for name in names]
        store.start_attempts("g", {P0: 1})
        with store.begin() as transaction:
            assert len(transaction.claim_inbox("g", ids(*names))) == 500
            transaction.lock_orders(names)
            changes = [(Order(id=step.aggregate.id), step.aggregate) for step in steps]
            transaction.save_orders(changes, [line for step in steps for line in history(step)])
            transaction.flush(self._delivery(names))
            transaction.commit()
        assert len(sent_sql) == 4, sent_sql
        assert len(list(store.all_orders())) == len(list(store.all_outbox())) == len(list(store.all_tasks())) == 500

    def test_a_batch_of_reservations(self, stores: Open, sent_sql: list[Any]) -> None:
        store = stores("inventory")
        names = [order_id(number) for number in range(500)]
        self._first(store)
        sent_sql.clear()
        held = [
            (Reservation(order_id=name), Reservation(order_id=name).hold(terms(), at=AT).aggregate) for name in names
        ]
        store.reservations(names)
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids(*names))
            transaction.lock_reservations(names)
            transaction.introduce_stock({Sku("sku-a"): 1000, Sku("sku-b"): 2000})
            transaction.save_reservations(held)
            moves = [move for name in names for move in movements(name, MovementKind.HOLD, {"sku-a": 1, "sku-b": 2})]
            transaction.move_stock(moves)
            transaction.flush(self._delivery(names))
            transaction.commit()
        assert len(sent_sql) == 5, sent_sql
        assert store.stock([Sku("sku-b")])[Sku("sku-b")].available == 1000

    def test_a_row_that_changed_meanwhile_is_noticed_among_many(self, stores: Open) -> None:
        store = stores("order")
        steps = [placed(number) for number in range(100)]
        with store.begin() as transaction:
            changes = [(Order(id=step.aggregate.id), step.aggregate) for step in steps]
            transaction.save_orders(changes, [])
            transaction.commit()
        cancelled = [(step.aggregate, step.aggregate.deadline(at=AT).aggregate) for step in steps]
        with store.begin() as transaction:
            transaction.save_orders(cancelled[70:71], [])
            transaction.commit()
        with store.begin() as transaction:
            transaction.save_orders(cancelled, [])
            with pytest.raises(Retryable, match="another transaction was first"):
                transaction.commit()

    def _first(self, store: Any) -> None:
        """Connections are made."""
        with store.begin() as transaction:
            transaction.commit()
        store.ping()

    def _delivery(self, names: list[OrderId]) -> Delivery:
        rows, tasks = [row(name) for name in names], [request(name) for name in names]
        return Delivery(outbox=rows, tasks=tasks)


def test_a_closed_store_refuses(stores: Open) -> None:
    store = stores("order")
    store.close()
    with pytest.raises(PortError):
        store.ping()
