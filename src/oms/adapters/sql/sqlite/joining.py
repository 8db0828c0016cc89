"""Joins a caller's transaction on SQLite."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection, literal, select

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.joining import refused
from oms.adapters.sql.sqlite.sender import SqliteSender

_LEGACY = -1
"""sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 doesn't have."""


def join_sqlite(connection: Connection, database: Database) -> SqlConnection:
    """Return the connection of the caller's transaction; `Permanent` if it can't be joined."""
    driver: Any = connection.connection.driver_connection
    with database.reading() as reading:
        ours = _main_file(reading.sqlalchemy.connection.driver_connection)
    theirs = _main_file(driver)
    if not (ours and theirs and os.path.samefile(ours, theirs)):
        raise refused(f"its main database is {theirs or 'in memory'}, the orders are in {ours}")
    # SQLAlchemy commits only after a statement of its own; it doesn't notice those of the driver.
    connection.execute(select(literal(0)))
    _ensure_begun(connection, driver)
    assert database.clock is not None  # noqa: S101 - SQLite has no clock of its own
    return SqlConnection(connection, SqliteSender(connection, database.clock.now()))


def _main_file(driver: Any) -> str:
    """The path of a connection's main database; empty for one in memory."""
    return next(str(path) for _, name, path in driver.execute("PRAGMA database_list") if name == "main")


def _ensure_begun(connection: Connection, driver: Any) -> None:
    """Begin if the driver hasn't yet, as it does before the first INSERT.

    By default, sqlite3 sends no BEGIN before a SAVEPOINT. SQLite then commits when that savepoint is released, whatever
    the caller does afterwards.
    """
    driver_begins = driver.isolation_level is not None and getattr(driver, "autocommit", _LEGACY) == _LEGACY
    if driver_begins and connection.in_nested_transaction():
        raise refused("sqlite3 may not have begun a transaction before this savepoint: see README.md")
    if driver.in_transaction:
        return
    if not driver_begins:
        raise refused("its driver is in autocommit mode, so there is no transaction to join")
    driver.execute("BEGIN IMMEDIATE")
