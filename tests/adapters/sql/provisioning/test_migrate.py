"""Migrations on PostgreSQL create exactly the declared schema, also concurrently, and can be reverted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from oms.adapters.sql.core.database import Database
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.database import setup_database
from oms.adapters.sql.provisioning import migrate as migrations
from oms.adapters.sql.provisioning.migrate import HEADS, check_current, migrate, version
from oms.adapters.sql.stores.tables import KINDS
from oms.ports.errors import Permanent, PortError
from tests.support.own_postgres import OwnPostgres

pytestmark = pytest.mark.servers

SHAPE = """
    SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, co.collname
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_collation co ON co.oid = a.attcollation
    WHERE c.relnamespace = '{0}'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
    UNION ALL SELECT 'index', tablename, indexname, replace(indexdef, '{0}.', ''), '', '' FROM pg_indexes
    WHERE schemaname = '{0}'
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
    FROM pg_constraint WHERE connamespace = '{0}'::regnamespace
    UNION ALL SELECT 'storage', relname, reloptions::text, '', '', '' FROM pg_class
    WHERE relnamespace = '{0}'::regnamespace AND relkind = 'r'
"""


@pytest.fixture(scope="module")
def login(server: OwnPostgres) -> Credentials:
    return server.new_database("migrations")


@pytest.fixture
def empty(login: Credentials) -> Iterator[Database]:
    with login.connect() as connection:
        connection.execute("CREATE SCHEMA migrated; CREATE SCHEMA made")
    database = setup_database(login, "migrated")
    yield database
    database.close()
    with login.connect() as connection:
        connection.execute("DROP SCHEMA migrated CASCADE; DROP SCHEMA made CASCADE")


def engine(login: Credentials, schema: str) -> Engine:
    """With the schema as its search path, for what alembic and SQLAlchemy say of it by themselves."""
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(**login.parameters, options=f"-c search_path={schema}"),
        poolclass=NullPool,
    )


def shape(login: Credentials, schema: str) -> list[tuple[Any, ...]]:
    with login.connect() as connection:
        connection.execute(f"SET search_path TO {schema}")  # type: ignore[call-overload]
        found = connection.execute(SHAPE.format(schema)).fetchall()  # type: ignore[call-overload]
    return sorted(tuple(map(str, row)) for row in found if "alembic_version" not in str(row))


@pytest.mark.parametrize("kind", HEADS)
def test_migrations_make_the_schema(empty: Database, login: Credentials, kind: str) -> None:
    migrate(empty, kind)
    check_current(empty, kind)
    with engine(login, "migrated").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, KINDS[kind].metadata) == []
    with engine(login, "made").begin() as connection:
        KINDS[kind].metadata.create_all(connection)
    assert shape(login, "migrated") == shape(login, "made") != []


@pytest.mark.parametrize("kind", HEADS)
def test_migrations_take_it_away(empty: Database, login: Credentials, kind: str) -> None:
    migrate(empty, kind)
    migrate(empty, kind, "base")
    assert shape(login, "migrated") == []
    assert version(empty) is None
    migrate(empty, kind)
    check_current(empty, kind)


def test_nothing_is_made_outside_of_the_schema(empty: Database, login: Credentials) -> None:
    migrate(empty, "inventory")
    assert shape(login, "public") == shape(login, "made") == []
    with login.connect() as connection:
        assert connection.execute("SELECT * FROM migrated.gate").fetchall() == [(1, 0)]


def test_the_heads_are_those_of_the_scripts() -> None:
    for kind, head in HEADS.items():
        scripts = [path.read_text() for path in Path(migrations.SCRIPTS, "versions", kind).glob("*.py")]
        assert sum(f'revision = "{head}"' in script for script in scripts) == 1
        assert not any(f'down_revision = "{head}"' in script for script in scripts)


def test_several_hosts_may_migrate_at_once(empty: Database, login: Credentials) -> None:
    def host(_: int) -> str | None:
        database = setup_database(login, "migrated")
        try:
            migrate(database, "inventory")
            return version(database)
        finally:
            database.close()

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(host, range(5))) == [HEADS["inventory"]] * 5
    with login.connect() as connection:
        assert connection.execute("SELECT count(*) FROM migrated.gate").fetchall() == [(1,)]


def test_a_migration_that_fails_leaves_nothing(empty: Database, login: Credentials) -> None:
    with login.connect() as connection:
        connection.execute("CREATE TABLE migrated.tasks (mine int)")  # the last that it would make
    with pytest.raises(PortError, match="DuplicateTable"):
        migrate(empty, "order")
    assert {name for kind, name, *_ in shape(login, "migrated") if kind == "storage"} == {"tasks"}
    assert version(empty) is None


def test_a_newer_programs_schema_is_left_alone(empty: Database, login: Credentials) -> None:
    migrate(empty, "order")
    with login.connect() as connection:
        connection.execute("UPDATE migrated.alembic_version SET version_num = 'order_9999'")
    with pytest.raises(Permanent, match="can't be migrated"):
        migrate(empty, "order")
    with pytest.raises(Permanent, match=r"order_9999.*run `oms setup`"):
        check_current(empty, "order")
