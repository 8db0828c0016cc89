"""Checks that a pooler in front of PostgreSQL gives a reader of several schemas enough connections at once."""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from oms.adapters.sql.postgres.credentials import Credentials, operator_credentials
from oms.adapters.sql.postgres.login_errors import login_problem
from oms.ports.errors import Retryable
from oms.settings.records import PostgresConfig

BEGIN_TIMEOUT_S = 5.0
"""Time limit for all transactions together to begin. A pooler lets a client wait minutes for a connection."""

_BEGIN = b"BEGIN READ ONLY; SELECT pg_backend_pid()"


def check_pooler(config: PostgresConfig, connections: int) -> None:
    """Check that the operator's role can have `connections` transactions open at once.

    `Retryable` if they don't begin within `BEGIN_TIMEOUT_S`, or the server can't be reached. Without a pooler nothing
    is checked: PostgreSQL itself refuses a connection above its limit immediately.
    """
    credentials, until = operator_credentials(config), time.monotonic() + BEGIN_TIMEOUT_S
    with ExitStack() as sessions:
        for number in range(connections):
            try:
                session = credentials.connect()
                sessions.callback(session.close)
                pid = _begin(session, until)
            except psycopg.Error as error:
                raise Retryable(login_problem(credentials, error)) from None
            if pid is None:
                raise Retryable(_too_few(credentials, number, connections))
            if pid == session.info.backend_pid:  # a pooler gives its client a process id that is none of the server's
                return


def _too_few(credentials: Credentials, given: int, needed: int) -> str:
    return (
        f"PostgreSQL at {credentials.place}: the pooler there gave {given} of the {needed} connections to"
        f" the server that are needed at once, and no further one within {BEGIN_TIMEOUT_S:.0f} s. Allow"
        f" {needed} for {credentials.role} (PgBouncer: default_pool_size), or name the server itself in"
        " OMS_POSTGRES_URL"
    )


def _begin(session: psycopg.Connection[Any], until: float) -> int | None:
    """Begin a transaction, which stays open. Returns the process id of the server's session; None at the time limit."""
    libpq = session.pgconn
    libpq.send_query(_BEGIN)
    libpq.flush()
    pid = None
    while True:
        while libpq.is_busy():
            if not select.select([libpq.socket], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            libpq.consume_input()
        result = libpq.get_result()
        if result is None:
            return pid
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
        if result.status == ExecStatus.TUPLES_OK:
            pid = int(result.get_value(0, 0) or b"")
