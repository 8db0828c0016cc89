"""Brings a database to the present shape with alembic, whose scripts are part of the package."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from oms.adapters.sql.border import BORDER
from oms.adapters.sql.database import Database
from oms.ports.errors import Permanent

HEADS = {kind: f"{kind}_0001" for kind in ("order", "inventory", "payment", "notification", "step")}
"""The newest revision of each kind of store; a test holds it against the scripts."""

SCRIPTS = Path(__file__).parent / "migrations"


def version(database: Database) -> str | None:
    """The revision that a database is at; None for a new one."""
    with database.reading() as link:
        with BORDER:
            known = inspect(link.connection).has_table("alembic_version")
        row = link.first(text("SELECT version_num FROM alembic_version")) if known else None
    return row[0] if row else None


def check_current(database: Database, kind: str) -> None:
    """`Permanent` unless the database has the shape that this program knows."""
    found = version(database)
    if found != HEADS[kind]:
        raise Permanent(f"the {kind} database is at revision {found}, this program knows {HEADS[kind]}")


def migrate(database: Database, kind: str, target: str = "head") -> None:
    """Upgrade (or, to `base`, take away) the tables of a service, in one transaction.

    Does nothing to a database that is current, and doesn't import alembic for it. `Permanent` for one that a newer
    program has changed.
    """
    if target == "head" and version(database) == HEADS[kind]:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    # The configuration's values know %-interpolation; the path is the user's.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(SCRIPTS / "versions" / kind).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["kind"] = kind
    with database.writing() as link, BORDER:
        config.attributes["connection"] = link.connection
        try:
            (command.downgrade if target == "base" else command.upgrade)(config, target)
        except CommandError as error:
            raise Permanent(f"the {kind} database can't be migrated: {error}") from None
