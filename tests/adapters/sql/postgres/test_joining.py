"""Joining on PostgreSQL: a caller's own role and session settings, and connections that can't be joined."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import oms
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.factory import postgres_store
from oms.adapters.sql.postgres.credentials import Credentials, service_credentials
from oms.adapters.sql.postgres.database import postgres_database
from oms.adapters.sql.postgres.joining import PostgresJoining
from oms.adapters.sql.provisioning.roles import set_up_postgres
from oms.adapters.system.clock import SystemIds
from oms.bootstrap.app import App
from oms.domain.order import Order
from oms.ports.errors import Permanent
from oms.ports.stores.rows import Delivery
from oms.settings import Settings, load_settings
from oms.testing.contracts.samples import row
from tests.support.files import EXAMPLES
from tests.support.own_postgres import OwnPostgres

pytestmark = pytest.mark.servers
Engines = Callable[..., Engine]


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    """A server of this module's own, because roles belong to a whole server."""
    with OwnPostgres() as made:
        yield made


@pytest.fixture(scope="module")
def settings(server: OwnPostgres) -> Settings:
    """A database after `oms setup`, with the caller's own role and schema."""
    at = psycopg.conninfo.conninfo_to_dict(server.admin)
    made = load_settings(
        {},
        postgres_url=f"postgresql://{at['host']}:{at['port']}/joining",
        postgres_password="secret-of-oms",
        postgres_admin_password=at["password"],
    )
    set_up_postgres(made.postgres, ["order"])
    with _admin(server).connect() as connection:
        connection.execute("CREATE ROLE shop LOGIN PASSWORD 'secret-of-shop'")
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'secret-of-shop'")
        connection.execute("CREATE SCHEMA shop AUTHORIZATION shop")
        connection.execute("GRANT oms_order TO shop")
        connection.execute("GRANT CONNECT ON DATABASE joining TO stranger")
    return made


@pytest.fixture
def app(settings: Settings, tmp_path: Path) -> Iterator[App]:
    store = postgres_store("order", settings.postgres, SystemIds())
    made = oms.create(environ={}, profile="embedded", data=tmp_path, stores={"order": store})
    yield made
    made.stop()


@pytest.fixture
def engines(settings: Settings) -> Engines:
    """Makes an engine of a role, with psycopg's own arguments."""

    def engine(role: str = "shop", **more: Any) -> Engine:
        login = {
            **service_credentials("order", settings.postgres).parameters,
            "user": role,
            "password": "secret-of-shop",
            **more,
        }
        if login["client_encoding"] is None:
            del login["client_encoding"]
        return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**login), poolclass=NullPool)

    return engine


def test_a_role_of_the_callers_with_a_schema_of_its_own(app: App, engines: Engines) -> None:
    with engines().begin() as connection:
        connection.execute(text("CREATE TABLE invoices (order_id text)"))
        order = _place(app, connection)
        connection.execute(text("INSERT INTO invoices VALUES (:id)"), {"id": order.id})
    with engines().connect() as connection:
        assert connection.execute(text("SELECT order_id FROM shop.invoices")).scalars().all() == [order.id]
    assert app.orders.get(order.id) == order


def test_the_example(
    app: App, engines: Engines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with engines().begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS invoices"))
    importlib.import_module("joined_order").main(app, engines())
    assert "the invoice failed (IntegrityError)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "setting", ["datestyle = German", "timezone = 'Asia/Kolkata'", "standard_conforming_strings = off"]
)
def test_the_callers_session_may_have_its_own_settings(app: App, engines: Engines, setting: str) -> None:
    with engines().begin() as connection:
        connection.execute(text(f"SET {setting}"))
        order = _place(app, connection)
    assert app.orders.get(order.id) == order


def test_the_callers_connection_may_have_another_encoding(app: App, engines: Engines) -> None:
    with engines(client_encoding="LATIN1").begin() as connection:
        order = _place(app, connection, note="grüße 'quoted' \\ back")
    assert app.orders.get(order.id) == order
    with engines(client_encoding="LATIN1").connect() as connection, pytest.raises(Permanent):
        _place(app, connection, note="日本")


def test_a_role_without_rights_is_refused(app: App, engines: Engines) -> None:
    with engines("stranger").connect() as connection:
        _assert_refused(app, connection, "role stranger may not write oms_order")


def test_a_transaction_that_only_reads_is_refused(app: App, engines: Engines) -> None:
    with engines().connect().execution_options(postgresql_readonly=True) as connection:
        _assert_refused(app, connection, "read only")


def test_a_driver_in_autocommit_mode_is_refused(app: App, engines: Engines) -> None:
    with engines(autocommit=True).connect() as connection:
        _assert_refused(app, connection, "autocommit")


def test_another_server_with_the_same_database_is_refused(
    app: App, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy has the same names and object ids; only the time at which its server was started differs."""
    asked = PostgresJoining._read_identity

    def earlier(joining: PostgresJoining, database: Database) -> tuple[int, int]:
        started, number = asked(joining, database)
        return started - 1, number

    monkeypatch.setattr(PostgresJoining, "_read_identity", earlier)
    with engines().connect() as connection:
        _assert_refused(app, connection, "another database or server")


def test_a_restarted_server_is_the_same(app: App, engines: Engines) -> None:
    app.system.order.service.store._database._join._ours = (1, 1)  # type: ignore[attr-defined]
    with engines().begin() as connection:
        order = _place(app, connection)
    assert app.orders.get(order.id) == order


def test_a_connection_of_an_async_engine_is_refused(app: App, settings: Settings) -> None:
    login = {**service_credentials("order", settings.postgres).parameters, "user": "shop", "password": "secret-of-shop"}

    async def place() -> None:
        engine = create_async_engine(
            "postgresql+psycopg://", async_creator=lambda: psycopg.AsyncConnection.connect(**login)
        )
        async with engine.connect() as connection:
            _assert_refused(app, connection, r"not a sqlalchemy\.Connection")
            await connection.run_sync(lambda plain: _assert_refused(app, plain, "async engine"))
        await engine.dispose()

    asyncio.run(place())


def test_a_transaction_may_not_end_with_unsent_statements(settings: Settings, engines: Engines) -> None:
    store = postgres_store("order", settings.postgres, SystemIds())
    with engines().connect() as connection:
        joined = store.join(connection)
        joined.flush(Delivery(outbox=[row("r")]))
        with pytest.raises(Permanent, match="before 1 of its statements were sent"):
            joined.rollback()
        with pytest.raises(ZeroDivisionError), store.join(connection) as joined:  # noqa: PT012 - in one transaction
            joined.flush(Delivery(outbox=[row("r")]))
            raise ZeroDivisionError
    database = postgres_database(service_credentials("order", settings.postgres), "oms_order")
    for looking in (database.reading, database.snapshot):
        with pytest.raises(Permanent), looking() as link:
            link._sender._buffer.append("SELECT 1")  # type: ignore[attr-defined]
    database.close()
    store.close()


def _place(app: App, connection: Connection, **metadata: str) -> Order:
    return app.orders.place(app.draft("ann", "5.50", {"cup": 1}, metadata), connection=connection)


def _assert_refused(app: App, connection: object, reason: str) -> None:
    before = app.orders.page().total
    with pytest.raises(Permanent, match=f"can't join this connection: .*{reason}"):
        app.orders.place(app.draft("ann", 5, {"cup": 1}), connection=connection)
    assert app.orders.page().total == before


def _admin(server: OwnPostgres) -> Credentials:
    return Credentials(
        "postgres", psycopg.conninfo.conninfo_to_dict(psycopg.conninfo.make_conninfo(server.admin, dbname="joining"))
    )
