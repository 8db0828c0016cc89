"""Joins a caller's transaction on PostgreSQL.

The server identifies the database of a connection, not the address: by the time of the server's start, to the
microsecond, and the database's object id. So a pooler, a socket or another name of the host make no difference, and a
copy of the database on another server, or a standby, is another database.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import attrs
from sqlalchemy import Connection

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.joining import refused
from oms.adapters.sql.core.types import EPOCH
from oms.adapters.sql.postgres.sender import PostgresSender, TransactionText

WRITTEN = ("orders", "order_history", "outbox", "tasks")
"""The tables that placing an order writes."""

_IDENTITY = """
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database())
"""
_OUR_IDENTITY = f"SELECT {_IDENTITY}"
# Times as numbers: the driver can read a timestamp only if the session's DateStyle is ISO.
_THEIR_STATE = f"""
    SELECT {_IDENTITY}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, current_user,
           current_setting('transaction_read_only') = 'on',
           has_schema_privilege(to_regnamespace(%(schema)s)::oid, 'USAGE') AND
           (SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT'))
            FROM pg_class c WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relname = ANY (%(tables)s))
"""  # noqa: S608 - ours

Identity = tuple[int, int]
"""When the server was started, in microseconds since 1970, and the database's object id."""


class _Theirs(NamedTuple):
    started: int
    database: int
    now: int
    role: str
    read_only: bool
    has_rights: bool | None


@attrs.define
class PostgresJoining:
    """Checks connections for one store.

    The identity of the store's own database is read once, and again if that of a connection differs.
    """

    _ours: Identity | None = attrs.field(default=None, init=False)

    def __call__(self, connection: Connection, database: Database) -> SqlConnection:
        """Return the connection of the caller's transaction; `Permanent` if it can't be joined."""
        driver: Any = connection.connection.driver_connection
        if driver.autocommit:
            raise refused("its driver is in autocommit mode, so there is no transaction to join")
        values = {"schema": database.schema, "tables": list(WRITTEN)}
        # Through SQLAlchemy, which doesn't notice a transaction that was begun with the driver alone.
        theirs = _Theirs(*connection.exec_driver_sql(_THEIR_STATE, values).one())
        self._ensure_same(theirs, database)
        if theirs.read_only:
            raise refused("its transaction is read only")
        if not theirs.has_rights:
            raise refused(f"its role {theirs.role} may not write {database.schema}: see docs/distributed.md")
        now = EPOCH + timedelta(microseconds=theirs.now) if database.clock is None else database.clock.now()
        sender = PostgresSender(connection, TransactionText(), now, owned=False)
        return SqlConnection(connection, sender, database.schema)

    def _ensure_same(self, theirs: _Theirs, database: Database) -> None:
        identity = theirs.started, theirs.database
        if identity != self._ours:  # the first call, or the server was restarted meanwhile
            self._ours = self._read_identity(database)
        if identity != self._ours:
            raise refused("it belongs to another database or server than the orders")

    def _read_identity(self, database: Database) -> Identity:
        with database.writing() as ours:
            started, number = ours.sqlalchemy.exec_driver_sql(_OUR_IDENTITY).one()
        return started, number
