from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

import oms
from oms.adapters.sql.factory import store_in
from oms.adapters.sql.postgres.database import postgres_database
from oms.adapters.system.clock import SystemIds
from oms.bootstrap.app import App
from oms.testing.contracts.joining import JoiningContract
from tests.contracts.labs import give_back_schema, new_schema, postgres_login


class TestSqliteJoining(JoiningContract):
    @pytest.fixture
    def app(self, tmp_path: Path) -> App:
        return oms.create(environ={}, profile="embedded", data=tmp_path / "data", default_stock=100)

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return beginning(tmp_path / "data" / "order.db")

    @pytest.fixture
    def elsewhere(self, tmp_path: Path) -> Engine:
        return beginning(tmp_path / "other.db")


def beginning(path: Path) -> Engine:
    """An engine for SQLite that begins its transactions itself, so that savepoints are safe."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


@pytest.mark.servers
class TestPostgresJoining(JoiningContract):
    @pytest.fixture
    def schema(self) -> Iterator[str]:
        made = new_schema("order")
        self.orders_table = f"{made}.orders"
        yield made
        with postgres_login().connect() as connection:
            connection.execute("DROP TABLE IF EXISTS callers_notes")
        give_back_schema("order", made)

    @pytest.fixture
    def app(self, tmp_path: Path, schema: str) -> App:
        store = store_in(postgres_database(postgres_login(), schema), "order", SystemIds())
        return oms.create(environ={}, profile="embedded", data=tmp_path, stores={"order": store}, default_stock=100)

    @pytest.fixture
    def engine(self) -> Engine:
        return create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(**postgres_login().parameters), poolclass=NullPool
        )

    @pytest.fixture
    def elsewhere(self) -> Engine:
        other = {**postgres_login().parameters, "dbname": "postgres"}
        return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**other), poolclass=NullPool)
