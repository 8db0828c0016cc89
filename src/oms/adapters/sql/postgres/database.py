"""Opens PostgreSQL databases: one schema and one role for each service.

Timeouts and planner settings are set once for a session of our own, and in each transaction behind a pooler. Statements
name the schema of their tables, and none is prepared by name. So a store works behind PgBouncer in transaction mode as
well.
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

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.database import ConnectionSource, Database
from oms.adapters.sql.core.errors import TRANSLATE_COMMIT_ERRORS, TRANSLATE_ERRORS
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.joining import PostgresJoining
from oms.adapters.sql.postgres.registration import PostgresRegistration
from oms.adapters.sql.postgres.sender import READ_ONLY_SERVER, PostgresSender, TransactionText
from oms.ports.clock import Clock

STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 5
IDLE_TIMEOUT_S = 60
"""Time limit of a transaction that waits for its program: the rebuild of the stock gate writes to Redis meanwhile."""

READER_IDLE_TIMEOUT_S = 3600
"""Time limit of a snapshot of `oms verify` that waits for its program, which reads the whole log meanwhile."""

SETUP_TIMEOUT_S = 600
BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
"""Make the planner find rows by their keys. Without statistics of a small table it scanned the whole table for each
small batch, which was two thirds of all the server's work. (It still scans where there is no index.)"""

_DEFAULT_MODE = {"default_transaction_isolation": "read committed", "default_transaction_read_only": "off"}
_READ_COMMITTED = "ISOLATION LEVEL READ COMMITTED READ WRITE"
_SNAPSHOT = "ISOLATION LEVEL REPEATABLE READ READ ONLY"

_FORMATS = "SET datestyle = 'ISO'; SET timezone = 'UTC'; SET standard_conforming_strings = on"
"""The driver can read times only in this form, and the role or the database may be set to another. Also set behind a
pooler: it tracks these settings for each client, as it does the encoding, which the connection requests."""

POOL_TIMEOUT_S = 5.0
READERS, WRITERS = 4, 4
"""Connections that stay open: HTTP threads read, and each lane of a service may write. Under load the pool opens as
many more."""

PING_AFTER_S = 0.2
"""A connection that was idle for longer is checked before its use. A busy service is spared that round trip: no server
restarts in less time, and if one did, the batch that fails would be retried."""

_USED_AT = "used_at"


class Session(psycopg.Connection[Any]):
    """A connection, and whether it keeps its settings: behind a pooler each transaction may have another session."""

    is_ours: bool = False


def postgres_database(credentials: Credentials, schema: str, *, clock: Clock | None = None) -> Database:
    """Open a service's schema; no connection is made before the first use.

    Transactions are READ COMMITTED, and a snapshot is REPEATABLE READ. Unsynced writes survive the process, but perhaps
    not a crash of the server. The store's time is the server's, unless a test supplies a `clock`.
    """
    settings = {**_timeouts(), **BY_KEY}
    writers = _engine(credentials, WRITERS, {**settings, **_DEFAULT_MODE})
    read, snapshot = _reading(credentials, _timeouts())
    return Database(
        read=read,
        snapshot=snapshot,
        write=_transactions(writers, _READ_COMMITTED, settings),
        autocommit=_autocommit(writers, settings),
        unsynced=_autocommit(writers, settings, "SET LOCAL synchronous_commit = off"),
        join=PostgresJoining(),
        clock=clock,
        schema=schema,
        registration=PostgresRegistration(credentials, schema),
    )


def postgres_reader(credentials: Credentials, schema: str, *, clock: Clock | None = None) -> Database:
    """Open a schema for reading only; snapshots may stay open for an hour, and a query may take ten minutes."""
    read, snapshot = _reading(credentials, _timeouts(statement_s=SETUP_TIMEOUT_S, idle_s=READER_IDLE_TIMEOUT_S))
    return Database(read, snapshot, None, None, None, PostgresJoining(), clock, schema)


def setup_database(credentials: Credentials, schema: str | None = None) -> Database:
    """Open a database for migrations: they wait ten minutes for a host that migrates, and for large tables."""
    timeouts = _timeouts(SETUP_TIMEOUT_S, SETUP_TIMEOUT_S)
    source = _transactions(_engine(credentials, 1, timeouts), _READ_COMMITTED, timeouts)
    return Database(source, source, source, source, None, PostgresJoining(), schema=schema)


def _timeouts(
    lock_s: float | None = None, statement_s: float | None = None, idle_s: float = IDLE_TIMEOUT_S
) -> Mapping[str, str]:
    """Time limits of a statement, of a wait for a lock and of an idle transaction, as the server's settings."""
    lock_s, statement_s = lock_s or LOCK_TIMEOUT_S, statement_s or STATEMENT_TIMEOUT_S
    return {
        "statement_timeout": f"{statement_s * 1000:.0f}ms",
        "lock_timeout": f"{lock_s * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{idle_s * 1000:.0f}ms",
    }


def _reading(credentials: Credentials, timeouts: Mapping[str, str]) -> tuple[ConnectionSource, ConnectionSource]:
    """Connections for single queries, and for snapshots."""
    readers = _engine(credentials, READERS, timeouts)
    query = TransactionText(per_statement=True)
    return _source(readers, query, query), _transactions(readers, _SNAPSHOT, timeouts)


def _transactions(engine: Engine, mode: str, settings: Mapping[str, str]) -> ConnectionSource:
    """Transactions of several statements. Behind a pooler, each begins with its settings."""
    begin, time_query = f"BEGIN {mode}", "SELECT clock_timestamp()"
    ours = TransactionText((begin, time_query), begin_returns_time=True)
    pooled = TransactionText((begin, f"{time_query}, {_set_local(settings)}"), begin_returns_time=True)
    return _source(engine, ours, pooled)


def _autocommit(engine: Engine, settings: Mapping[str, str], *before: str) -> ConnectionSource:
    """Single statements that write: the server runs a text of several statements as one transaction."""
    ours = TransactionText(before, per_statement=True, commits=True)
    begin = (f"BEGIN {_READ_COMMITTED}", f"SELECT {_set_local(settings)}", *before)
    pooled = TransactionText(begin, ("COMMIT",), per_statement=True, commits=True)
    return _source(engine, ours, pooled)


def _source(engine: Engine, ours: TransactionText, pooled: TransactionText) -> ConnectionSource:
    """Connections that begin with the text for a session of our own, or with that for a pooler's."""

    def begin(connection: Connection, schema: str | None, clock: Clock | None) -> SqlConnection:
        session: Any = connection.connection.driver_connection
        text = ours if session.is_ours else pooled
        now = clock.now() if clock and text.begin_returns_time else None
        errors = TRANSLATE_COMMIT_ERRORS if text.commits else TRANSLATE_ERRORS
        return SqlConnection(connection, PostgresSender(connection, text, now), schema, errors=errors)

    return ConnectionSource(engine, begin, per_statement=ours.per_statement)


def _set_local(settings: Mapping[str, str]) -> str:
    """Return expressions that set these settings until the end of the transaction."""
    return ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


def _engine(credentials: Credentials, size: int, settings: Mapping[str, str]) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connect(credentials, settings),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=size,
        pool_timeout=POOL_TIMEOUT_S,
        pool_use_lifo=True,
        hide_parameters=True,
        use_native_hstore=False,
        enable_from_linting=False,  # it doesn't see that `ctid = place` joins two tables
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _ensure_alive)
    event.listen(engine, "handle_error", _disconnect_from_standby)
    return engine


def _connect(credentials: Credentials, settings: Mapping[str, str]) -> psycopg.Connection[Any]:
    session = credentials.connect(Session)
    assert isinstance(session, Session)  # noqa: S101 - the type that was requested
    with session.cursor() as cursor:
        (pid,) = cursor.execute("SELECT pg_backend_pid()").fetchone() or (None,)
        # A pooler gives its client a process id that isn't the server's.
        session.is_ours = pid == session.info.backend_pid
        cursor.execute(_FORMATS)
        if session.is_ours:
            cursor.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
    return session


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _ensure_alive(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """After a restart of the server, let the first use open a new connection instead of failing."""
    if time.monotonic() - record.info.get(_USED_AT, 0.0) < PING_AFTER_S:
        return
    try:
        connection.execute("")
    except psycopg.Error:
        raise DisconnectionError from None


def _disconnect_from_standby(context: ExceptionContext) -> None:
    """If the server became a standby, let the pool look for the new primary."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY_SERVER:
        context.is_disconnect = True
