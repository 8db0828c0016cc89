"""Migrates databases with alembic, whose scripts are part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import column, func, inspect, select, table, text

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.errors import TRANSLATE_ERRORS
from oms.ports.errors import Permanent

HEADS = {
    "order": "order_0008",
    "inventory": "inventory_0005",
    "payment": "payment_0006",
    "notification": "notification_0005",
    "step": "step_0005",
}
"""The newest revision of each kind of store; a test compares it with the scripts."""

SCRIPTS = Path(__file__).parent.parent / "migrations"
VERSION_TABLE = "alembic_version"

SETUP_LOCK = 0x6F6D73
"""The advisory lock of the process that creates roles or tables ("oms" in ASCII); other hosts wait for it."""

DDL_LOCK_TIMEOUT_S = 5
"""Short, because while a change of a table waits for its lock, all other transactions on the table wait behind it."""


def version(database: Database) -> str | None:
    """Return the revision of a database; None for a new one."""
    with database.snapshot() as connection:
        return version_in(connection)


def version_in(connection: SqlConnection) -> str | None:
    """Return the revision within a transaction."""
    with TRANSLATE_ERRORS:
        known = inspect(connection.sqlalchemy).has_table(VERSION_TABLE, schema=connection.schema)
    versions = table(VERSION_TABLE, column("version_num"), schema=connection.schema)
    row = connection.first(select(versions)) if known else None
    return row[0] if row else None


def check_current(database: Database, kind: str) -> None:
    """Raise `Permanent` unless the database is at this program's revision."""
    found = version(database)
    if found == HEADS[kind]:
        return
    name, remedy = f"the {kind} database", ""
    if database.schema:
        name, remedy = f"the schema {database.schema}", "; run `oms setup`"
    state = f"is at revision {found}" if found else "has no tables yet"
    raise Permanent(f"{name} {state}, this program knows {HEADS[kind]}{remedy}")


def migrate(database: Database, kind: str, target: str = "head") -> None:
    """Upgrade the tables of a service in one transaction; with the target `base`, drop them.

    For a database that is current it does nothing, and doesn't import alembic. Several processes, and on PostgreSQL
    several hosts, may call it at once: one migrates, the others wait and find the database current. `Permanent` for a
    database that a newer program has migrated.
    """
    if target == "head" and version(database) == HEADS[kind]:
        return
    with database.writing() as connection:
        lock_setup(connection)
        migrate_in(connection, kind, target)


def lock_setup(connection: SqlConnection) -> None:
    """Keep other processes from creating roles or tables until the end of the transaction."""
    if connection.on_postgres:
        connection.execute(select(func.pg_advisory_xact_lock(SETUP_LOCK)))
        connection.execute(text(f"SET LOCAL lock_timeout = '{DDL_LOCK_TIMEOUT_S}s'"))


def migrate_in(connection: SqlConnection, kind: str, target: str = "head") -> None:
    """Migrate within a transaction; the schema exists."""
    from alembic import command
    from alembic.util import CommandError

    if connection.schema is not None:
        # Alembic's own statements name no schema.
        connection.execute(text(f"SET LOCAL search_path TO {connection.schema}"))
    with TRANSLATE_ERRORS:
        try:
            (command.downgrade if target == "base" else command.upgrade)(_config(connection, kind), target)
        except CommandError as error:
            raise Permanent(f"the {kind} database can't be migrated: {error}") from None


def _config(connection: SqlConnection, kind: str) -> Any:
    from alembic.config import Config

    config = Config()
    # The configuration interpolates %, and the path may contain one.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(SCRIPTS / "versions" / kind).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(kind=kind, connection=connection.sqlalchemy)
    return config
