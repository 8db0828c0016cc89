"""Orders in the caller's transaction: the contract of every SQL order store for `place(connection=...)`.

A subclass defines

- the fixture `app`: a system that isn't started and whose orders are in the store;
- the fixture `engine`: the caller's SQLAlchemy engine for the order service's database. Its role may create tables
  there, and its transactions have savepoints;
- the fixture `elsewhere`: an engine like this for another database;
- `orders_table`: the name of the table of orders for the caller's connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from oms.bootstrap.app import App
from oms.ports.errors import Permanent

NOTE, PLACE, SAVEPOINT, RELEASE, UNDO = "note", "place", "savepoint", "release", "undo"
COMMIT, ROLLBACK = "commit", "rollback"
STEPS = st.lists(st.sampled_from([NOTE, PLACE, SAVEPOINT, RELEASE, UNDO]), max_size=10)
EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROMPT_S = 0.1
"""Within this time after the caller's commit, a started system begins to process the order, in seconds."""

Running = Callable[[App], AbstractContextManager[object]]
both = pytest.mark.parametrize("running", [nullcontext, lambda app: app], ids=["not started", "started"])


@attrs.define
class _Caller:
    """A caller's transaction: the rows and orders that it has written, and those that a commit would keep."""

    app: App
    connection: Connection
    notes: set[str] = attrs.field(factory=set)
    orders: set[str] = attrs.field(factory=set)
    made: list[str] = attrs.field(factory=list)
    savepoints: list[tuple[Any, set[str], set[str]]] = attrs.field(factory=list)

    def do(self, step: str) -> None:
        """Carry out one step. Releasing or rolling back a savepoint has no effect if there is none."""
        if step == NOTE:
            self._note()
        elif step == PLACE:
            self._place()
        elif step == SAVEPOINT:
            self.savepoints.append((self.connection.begin_nested(), set(self.notes), set(self.orders)))
        elif self.savepoints:
            savepoint, notes, orders = self.savepoints.pop()
            if step == RELEASE:
                savepoint.commit()
            else:
                savepoint.rollback()
                self.notes, self.orders = notes, orders

    def _note(self) -> None:
        self.made.append(f"note-{time.monotonic_ns()}")
        self.connection.execute(text("INSERT INTO callers_notes VALUES (:id)"), {"id": self.made[-1]})
        self.notes.add(self.made[-1])

    def _place(self) -> None:
        order = self.app.orders.place(_command(self.app), connection=self.connection)
        self.made.append(order.id)
        self.orders.add(order.id)


class JoiningContract:
    """An order exists if, and only if, the caller's transaction commits."""

    orders_table = "orders"

    @pytest.fixture
    def app(self) -> App:
        """The system, not started."""
        raise NotImplementedError("a contract suite needs the fixture `app`")

    @pytest.fixture
    def engine(self) -> Engine:
        """The caller's engine for the order service's database."""
        raise NotImplementedError("a contract suite needs the fixture `engine`")

    @pytest.fixture
    def elsewhere(self) -> Engine:
        """An engine for another database."""
        raise NotImplementedError("a contract suite needs the fixture `elsewhere`")

    @pytest.fixture
    def shop(self, app: App, engine: Engine) -> Iterator[App]:
        """The system; its database also has a table of the caller."""
        _ = app.orders  # the first use of a new store writes to it, and a SQLite file allows only one writer at a time
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE callers_notes (id TEXT)"))
        yield app
        app.stop()

    @both
    def test_orders_and_the_callers_rows_commit_or_roll_back_together(
        self, shop: App, engine: Engine, running: Running
    ) -> None:
        @EXAMPLES
        @given(STEPS, st.sampled_from([COMMIT, ROLLBACK]))
        def any_transaction(steps: list[str], end: str) -> None:
            with engine.connect() as connection:
                transaction = connection.begin()
                caller = _Caller(shop, connection)
                for step in steps:
                    caller.do(step)
                (transaction.commit if end == COMMIT else transaction.rollback)()
            wanted = caller.notes | caller.orders if end == COMMIT else set()
            assert self._found(engine, caller.made) == wanted

        with running(shop):
            any_transaction()

    @both
    def test_an_error_of_the_caller_leaves_no_order(self, shop: App, engine: Engine, running: Running) -> None:
        with running(shop):
            made: list[str] = []

            def fail() -> None:
                with engine.begin() as connection:
                    made.append(shop.orders.place(_command(shop), connection=connection).id)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                fail()
            assert made
            assert self._found(engine, made) == set()

    def test_a_joined_order_is_processed(self, shop: App, engine: Engine) -> None:
        with engine.begin() as connection:
            order = shop.orders.place(_command(shop), connection=connection)
            assert shop.run() == 0, "nothing may move before the commit"
        shop.run()
        assert shop.orders.get(order.id).state.value != "CREATED"

    def test_a_started_system_processes_a_joined_order_at_once(self, shop: App, engine: Engine) -> None:
        """Four of nine orders must begin within 0.1 s; with the sweep alone, about one in ten would."""
        with shop:
            waits = sorted(self._wait_of_one(shop, engine) for _ in range(9))
        assert waits[3] < PROMPT_S, waits

    def test_a_connection_in_autocommit_mode_is_refused(self, shop: App, engine: Engine) -> None:
        apart = engine.execution_options(isolation_level="AUTOCOMMIT")
        with apart.connect() as connection:
            self._assert_refused(shop, engine, connection, "AUTOCOMMIT")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            self._assert_refused(shop, engine, connection, "AUTOCOMMIT")

    def test_a_connection_to_another_database_is_refused(self, shop: App, engine: Engine, elsewhere: Engine) -> None:
        with elsewhere.connect() as connection:
            self._assert_refused(shop, engine, connection, "orders")

    def test_only_an_open_sqlalchemy_connection_can_be_joined(self, shop: App, engine: Engine) -> None:
        with engine.connect() as connection:
            self._assert_refused(shop, engine, connection.connection, r"not a sqlalchemy\.Connection")
        self._assert_refused(shop, engine, connection, "closed")
        for other in (engine, object(), "connection"):
            self._assert_refused(shop, engine, other, r"not a sqlalchemy\.Connection")

    def _assert_refused(self, shop: App, engine: Engine, connection: object, reason: str) -> None:
        with pytest.raises(Permanent, match=f"can't join this connection: .*{reason}"):
            shop.orders.place(_command(shop), connection=connection)
        with engine.connect() as second:
            count = text(f"SELECT count(*) FROM {self.orders_table}")  # noqa: S608 - the name comes from the suite
            assert second.execute(count).scalar_one() == 0

    def _wait_of_one(self, shop: App, engine: Engine) -> float:
        with engine.begin() as connection:
            order = shop.orders.place(_command(shop), connection=connection)
        committed = time.monotonic()
        while shop.orders.get(order.id).state.value == "CREATED":
            assert time.monotonic() < committed + 10, "the order doesn't begin"
            time.sleep(0.002)
        return time.monotonic() - committed

    def _found(self, engine: Engine, names: list[str]) -> set[str]:
        """Return those of these orders and notes that a second connection sees."""
        known = text(f"SELECT id FROM {self.orders_table} UNION ALL SELECT id FROM callers_notes")  # noqa: S608
        with engine.connect() as connection:
            return set(connection.execute(known).scalars()) & set(names)


def _command(app: App) -> Any:
    return app.draft("ann", 5, {"cup": 1})
