"""PostgreSQL: one schema and one role a service, transactions that bring everything they need along.

Nothing is left in a session: time-outs are set for each transaction, tables are named with their schema, and no
statement is prepared by name. So it works behind PgBouncer in transaction mode as well as without.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from oms.adapters.sql.database import Database, Way
from oms.adapters.sql.link import AROUND
from oms.adapters.sql.logins import Login
from oms.ports.clock import Clock

STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 5
IDLE_TIMEOUT_S = 60
"""How long a transaction may wait for its program: the gate's rebuild writes to Redis meanwhile."""

SETUP_TIMEOUT_S = 600
BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
"""Rows are found by their keys, whatever a planner without statistics makes of a table that is small yet: it read
whole tables for each small batch, two thirds of all the server's work. (Where there is no index, it still does.)"""

POOL_TIMEOUT_S = 5.0
READERS, WRITERS = 4, 4
"""Connections that are kept: HTTP threads read, each lane of a service may write. As many more come in a rush."""

PING_AFTER_S = 0.2
"""A connection that rested for longer is asked whether it is still there: a round trip, which a busy service is spared.
No server restarts in less; should it, the batch that notices is tried again."""

_USED_AT = "used_at"
_READ_ONLY_SERVER = "25006"


def postgres_database(login: Login, schema: str, *, clock: Clock | None = None) -> Database:
    """A service's schema on its server; no connection is made before the first use.

    Transactions are READ COMMITTED; several statements of one reader are a REPEATABLE READ snapshot. What `side` wrote
    survives the process, not necessarily the server. The store's time is the server's clock, unless a `clock` is
    given: a test's, that it moves.
    """
    begin = partial(_begin, "READ COMMITTED READ WRITE", LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S)
    write = Way(_engine(login, WRITERS), begin(**BY_KEY))
    single = _engine(login, WRITERS, cursor=_Alone)
    alone = Way(single, begin(**BY_KEY), alone=True)
    side = Way(single, begin(synchronous_commit="off", **BY_KEY), alone=True)
    return Database(*_looking(login), write, alone, side, clock, schema)


def postgres_reader(login: Login, schema: str, *, clock: Clock | None = None) -> Database:
    """A schema that is only looked at."""
    return Database(*_looking(login), write=None, alone=None, side=None, clock=clock, schema=schema)


def setup_database(login: Login, schema: str | None = None) -> Database:
    """For tables to be made in: waits long for another host that is at it, and has time for large tables."""
    way = Way(_engine(login, 1), _begin("READ COMMITTED READ WRITE", SETUP_TIMEOUT_S, SETUP_TIMEOUT_S))
    return Database(way, way, write=way, alone=way, side=None, schema=schema)


def _looking(login: Login) -> tuple[Way, Way]:
    readers = _engine(login, READERS)
    snapshot = _begin("REPEATABLE READ READ ONLY", LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S)
    return Way(readers), Way(readers, snapshot)


def _begin(mode: str, lock_s: float, statement_s: float, **more: str) -> str:
    """One text, one round trip: begin, time-outs, and the server's time."""
    settings = {
        "statement_timeout": f"{statement_s * 1000:.0f}",
        "lock_timeout": f"{lock_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S * 1000}",
        **more,
    }
    local = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    return f"BEGIN ISOLATION LEVEL {mode}; SELECT clock_timestamp(), {local}"


class _LastAnswer(psycopg.Cursor[Any]):
    """Of a text with several statements, shows the last one's answer instead of the first one's."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> _LastAnswer:
        super().execute(query, params, **options)
        while self.nextset():
            pass
        return self


class _Alone(psycopg.ClientCursor[Any]):
    """For a statement between the words that begin a transaction and `COMMIT`: shows that statement's answer.

    A text with several statements takes no parameters of the server's, so they are written into it.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> _Alone:
        super().execute(query, params, **options)
        for _ in _BEFORE:
            self.nextset()
        return self


_BEFORE = ("BEGIN", "SELECT")
"""What answers before a statement that is alone in its transaction."""


def _engine(login: Login, size: int, cursor: type[psycopg.Cursor[Any]] = _LastAnswer) -> Engine:
    def connect() -> psycopg.Connection[Any]:
        return login.connect(cursor_factory=cursor)

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

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _surround(
        _connection: object,
        _cursor: object,
        statement: str,
        parameters: Any,
        context: Any,
        _many: bool,  # noqa: FBT001
    ) -> tuple[str, Any]:
        around = context.execution_options.get(AROUND) if context is not None else None
        return (f"{around}; {statement}; COMMIT" if around else statement), parameters

    @event.listens_for(engine, "handle_error")
    def _failed_over(context: ExceptionContext) -> None:
        # The server became a standby: the pool has to look for the new primary.
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY_SERVER:
            context.is_disconnect = True

    return engine
