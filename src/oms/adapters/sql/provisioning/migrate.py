"""Brings a database to the present shape with alembic, whose scripts are part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import column, func, inspect, select, table, text

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.errors import TRANSLATE_ERRORS
from oms.ports.errors import Permanent

HEADS = {
    "order": "order_0006",
    "inventory": "inventory_0004",
    "payment": "payment_0005",
    "notification": "notification_0004",
    "step": "step_0005",
}
"""The newest revision of each kind of store; a test holds it against the scripts."""

SCRIPTS = Path(__file__).parent.parent / "migrations"
VERSION_TABLE = "alembic_version"

SETUP_LOCK = 0x6F6D73
"""PostgreSQL's advisory lock of whoever makes roles or tables ("oms"); another host waits for it."""

DDL_LOCK_TIMEOUT_S = 5
"""While a change of a table waits for its lock, everybody else waits behind it."""


def version(database: Database) -> str | None:
    """The revision that a database is at; None for a new one."""
    with database.snapshot() as connection:
        return version_in(connection)


def version_in(connection: SqlConnection) -> str | None:
    """The same within a transaction."""
    with TRANSLATE_ERRORS:
        known = inspect(connection.sqlalchemy).has_table(VERSION_TABLE, schema=connection.schema)
    versions = table(VERSION_TABLE, column("version_num"), schema=connection.schema)
    row = connection.first(select(versions)) if known else None
    return row[0] if row else None


def check_current(database: Database, kind: str) -> None:
    """`Permanent` unless the database has the shape that this program knows."""
    found = version(database)
    if found == HEADS[kind]:
        return
    what = f"the schema {database.schema}" if database.schema else f"the {kind} database"
    where = f"is at revision {found}" if found else "has no tables yet"
    raise Permanent(f"{what} {where}, this program knows {HEADS[kind]}" + ("; run `oms setup`" * bool(database.schema)))


def migrate(database: Database, kind: str, target: str = "head") -> None:
    """Upgrade (or, to `base`, take away) the tables of a service, in one transaction.

    Does nothing to a database that is current, and doesn't import alembic for it. Several processes, and on PostgreSQL
    several hosts, may do it at once: one does, the others wait and find it done. `Permanent` for a database that a
    newer program has changed.
    """
    if target == "head" and version(database) == HEADS[kind]:
        return
    with database.writing() as connection:
        lock_setup(connection)
        migrate_in(connection, kind, target)


def lock_setup(connection: SqlConnection) -> None:
    """Let nobody else make roles or tables until the end of the transaction."""
    if connection.on_postgres:
        connection.execute(select(func.pg_advisory_xact_lock(SETUP_LOCK)))
        connection.execute(text(f"SET LOCAL lock_timeout = '{DDL_LOCK_TIMEOUT_S}s'"))


def migrate_in(connection: SqlConnection, kind: str, target: str = "head") -> None:
    """The same within a transaction, whose schema exists."""
    from alembic import command
    from alembic.util import CommandError

    if connection.schema is not None:
        connection.execute(
            text(f"SET LOCAL search_path TO {connection.schema}")
        )  # alembic's own statements name no schema
    with TRANSLATE_ERRORS:
        try:
            (command.downgrade if target == "base" else command.upgrade)(_config(connection, kind), target)
        except CommandError as error:
            raise Permanent(f"the {kind} database can't be migrated: {error}") from None


def _config(connection: SqlConnection, kind: str) -> Any:
    from alembic.config import Config

    config = Config()
    # The configuration's values know %-interpolation; the path is the user's.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(SCRIPTS / "versions" / kind).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(kind=kind, connection=connection.sqlalchemy)
    return config
