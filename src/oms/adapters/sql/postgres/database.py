"""PostgreSQL: one schema and one role a service.

Time-outs and the planner's settings are a session's where the session is ours, and each transaction's own behind a
pooler. Tables are named with their schema, and no statement is prepared by name. So it works behind PgBouncer in
transaction mode as well as without.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from oms.adapters.sql.core.database import ConnectionSource, Database
from oms.adapters.sql.core.errors import TRANSLATE_COMMIT_ERRORS
from oms.adapters.sql.postgres.connection import READ_ONLY_SERVER, PostgresConnection, TransactionText
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.joining import PostgresJoining
from oms.adapters.sql.postgres.registration import PostgresRegistration
from oms.ports.clock import Clock

STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 5
IDLE_TIMEOUT_S = 60
"""How long a transaction may wait for its program: the gate's rebuild writes to Redis meanwhile."""

READER_IDLE_TIMEOUT_S = 3600
"""How long a snapshot of `oms verify` may wait for its program, which reads the whole log meanwhile."""

SETUP_TIMEOUT_S = 600
BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
"""Rows are found by their keys, whatever a planner without statistics makes of a table that is small yet: it read
whole tables for each small batch, two thirds of all the server's work. (Where there is no index, it still does.)"""

_DEFAULT_MODE = {"default_transaction_isolation": "read committed", "default_transaction_read_only": "off"}
_READ_COMMITTED = "ISOLATION LEVEL READ COMMITTED READ WRITE"
_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"

_AS_READ = "SET datestyle = 'ISO'; SET timezone = 'UTC'; SET standard_conforming_strings = on"
"""The driver reads times in this form only, whatever the role or the database is set to. Also behind a pooler: it keeps
track of these for each client, as of the encoding, which the connection asks for."""

POOL_TIMEOUT_S = 5.0
READERS, WRITERS = 4, 4
"""Connections that are kept: HTTP threads read, each lane of a service may write. As many more come in a rush."""

PING_AFTER_S = 0.2
"""A connection that rested for longer is asked whether it is still there: a round trip, which a busy service is spared.
No server restarts in less; should it, the batch that notices is tried again."""

_USED_AT = "used_at"


class Session(psycopg.Connection[Any]):
    """A connection, and whether what is set in it stays: behind a pooler it may be another's at any time."""

    is_ours: bool = False


def postgres_database(login: Credentials, schema: str, *, clock: Clock | None = None) -> Database:
    """A service's schema on its server; no connection is made before the first use.

    Transactions are READ COMMITTED; several statements of one reader are a REPEATABLE READ snapshot. What `side` wrote
    survives the process, not necessarily the server. The store's time is the server's clock, unless a `clock` is
    given: a test's, that it moves.
    """
    settings = {**_limits(), **BY_KEY}
    writers = _engine(login, WRITERS, {**settings, **_DEFAULT_MODE})
    write, alone = _transaction(writers, _READ_COMMITTED, settings), _alone(writers, settings)
    side = _alone(writers, settings, "SET LOCAL synchronous_commit = off")
    registration = PostgresRegistration(login, schema)
    return Database(*_looking(login, _limits()), write, alone, side, PostgresJoining(), clock, schema, registration)


def postgres_reader(login: Credentials, schema: str, *, clock: Clock | None = None) -> Database:
    """A schema that is only looked at: its snapshots may stay open for long, and its sorts may be long ones."""
    patient = _limits(statement_s=SETUP_TIMEOUT_S, idle_s=READER_IDLE_TIMEOUT_S)
    return Database(*_looking(login, patient), None, None, None, PostgresJoining(), clock, schema)


def setup_database(login: Credentials, schema: str | None = None) -> Database:
    """For tables to be made in: waits long for another host that is at it, and has time for large tables."""
    patient = _limits(SETUP_TIMEOUT_S, SETUP_TIMEOUT_S)
    way = _transaction(_engine(login, 1, patient), _READ_COMMITTED, patient)
    return Database(way, way, way, way, None, PostgresJoining(), schema=schema)


def _limits(
    lock_s: float | None = None, statement_s: float | None = None, idle_s: float = IDLE_TIMEOUT_S
) -> Mapping[str, str]:
    """How long a statement, a lock and an idle transaction may take, as the server's settings."""
    lock_s, statement_s = lock_s or LOCK_TIMEOUT_S, statement_s or STATEMENT_TIMEOUT_S
    return {
        "statement_timeout": f"{statement_s * 1000:.0f}ms",
        "lock_timeout": f"{lock_s * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{idle_s * 1000:.0f}ms",
    }


def _looking(login: Credentials, limits: Mapping[str, str]) -> tuple[ConnectionSource, ConnectionSource]:
    readers = _engine(login, READERS, limits)
    return _way(readers, TransactionText(alone=True)), _transaction(readers, _SNAPSHOT, limits)


def _transaction(engine: Engine, mode: str, settings: Mapping[str, str]) -> ConnectionSource:
    """Several statements. Behind a pooler they bring their settings along."""
    begin, tell = f"BEGIN {mode}", "SELECT clock_timestamp()"
    pooled = TransactionText((begin, f"{tell}, {_set_for_now(settings)}"), time=True)
    return _way(engine, TransactionText((begin, tell), time=True), pooled)


def _alone(engine: Engine, settings: Mapping[str, str], *before: str) -> ConnectionSource:
    """A statement that writes, and is committed with it: a text of several is one transaction by itself."""
    set_now = (f"BEGIN {_READ_COMMITTED}", f"SELECT {_set_for_now(settings)}", *before)
    pooled = TransactionText(set_now, ("COMMIT",), alone=True, border=TRANSLATE_COMMIT_ERRORS)
    return _way(engine, TransactionText(before, alone=True, border=TRANSLATE_COMMIT_ERRORS), pooled)


def _way(engine: Engine, ours: TransactionText, pooled: TransactionText | None = None) -> ConnectionSource:
    def begin(connection: Connection, schema: str | None, clock: Clock | None) -> PostgresConnection:
        session: Any = connection.connection.driver_connection
        words = ours if session.is_ours or pooled is None else pooled
        return PostgresConnection(connection, clock.now() if clock and words.time else None, schema, words)

    return ConnectionSource(engine, begin, alone=ours.alone)


def _set_for_now(settings: Mapping[str, str]) -> str:
    return ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


def _engine(login: Credentials, size: int, settings: Mapping[str, str]) -> Engine:
    def connect() -> psycopg.Connection[Any]:
        session = login.connect(Session)
        assert isinstance(session, Session)  # noqa: S101 - as asked for
        with session.cursor() as cursor:
            (pid,) = cursor.execute("SELECT pg_backend_pid()").fetchone() or (None,)
            # A pooler gives its client a process id that is none of the server's.
            session.is_ours = pid == session.info.backend_pid
            cursor.execute(_AS_READ)
            if session.is_ours:
                cursor.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
        return session

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=size,
        pool_timeout=POOL_TIMEOUT_S,
        pool_use_lifo=True,
        hide_parameters=True,
        use_native_hstore=False,
        enable_from_linting=False,  # it doesn't know that a row's place joins, too
    )

    @event.listens_for(engine, "checkin")
    def _rests(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ensure_alive(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        # After a restart of the server the first use finds a new connection, not an error.
        if time.monotonic() - record.info.get(_USED_AT, 0.0) < PING_AFTER_S:
            return
        try:
            connection.execute("")
        except psycopg.Error:
            raise DisconnectionError from None

    @event.listens_for(engine, "handle_error")
    def _failed_over(context: ExceptionContext) -> None:
        # The server became a standby: the pool has to look for the new primary.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_SERVER:
            context.is_disconnect = True

    return engine
