"""Brings a database to the present shape with alembic, whose scripts are part of the package."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from oms.adapters.sql.engine import border
from oms.ports.errors import Permanent

HEADS = {kind: f"{kind}_0001" for kind in ("order", "inventory", "payment", "notification", "step")}
"""The newest revision of each kind of store; a test holds it against the scripts."""

SCRIPTS = Path(__file__).parent / "migrations"


def version(engine: Engine) -> str | None:
    """The revision that a database is at; None for a new one."""
    with border(), engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return row[0] if row else None


def check_current(engine: Engine, kind: str) -> None:
    """`Permanent` unless the database has the shape that this program knows."""
    found = version(engine)
    if found != HEADS[kind]:
        raise Permanent(f"the {kind} database is at revision {found}, this program knows {HEADS[kind]}")


def migrate(engine: Engine, kind: str, target: str = "head") -> None:
    """Upgrade (or, to `base`, take away) the tables of a service. Does nothing to one that is current."""
    if target == "head" and version(engine) == HEADS[kind]:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("version_locations", str(SCRIPTS / "versions" / kind))
    config.set_main_option("path_separator", "os")
    config.attributes["kind"] = kind
    with border(), engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if target == "base" else command.upgrade)(config, target)
        connection.commit()
