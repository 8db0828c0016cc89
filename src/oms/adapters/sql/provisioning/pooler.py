"""Whether a pooler in front of PostgreSQL gives as many connections at once as a reader of several schemas holds."""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from oms.adapters.sql.postgres.credentials import operator_credentials
from oms.adapters.sql.postgres.login_errors import login_problem
from oms.ports.errors import Retryable
from oms.settings.records import PostgresConfig

ANSWERS_WITHIN_S = 5.0
"""How long all transactions together may take to begin. A pooler lets a client wait for a connection for minutes."""

_BEGIN = b"BEGIN READ ONLY; SELECT pg_backend_pid()"


def check_pooler(config: PostgresConfig, connections: int) -> None:
    """Have a pooler show that the operator's role can have `connections` transactions open at once.

    `Retryable` where it can't within `ANSWERS_WITHIN_S`, or can't be reached. Without a pooler there is nothing to
    show: PostgreSQL refuses a connection too many at once.
    """
    login, until = operator_credentials(config), time.monotonic() + ANSWERS_WITHIN_S
    with ExitStack() as sessions:
        for number in range(connections):
            try:
                session = login.connect()
                sessions.callback(session.close)
                pid = _begin(session, until)
            except psycopg.Error as error:
                raise Retryable(login_problem(login, error)) from None
            if pid is None:
                raise Retryable(
                    f"PostgreSQL at {login.place}: the pooler there gave {number} of the {connections} connections to"
                    f" the server that are needed at once, and no further one within {ANSWERS_WITHIN_S:.0f} s. Allow"
                    f" {connections} for {login.role} (PgBouncer: default_pool_size), or name the server itself in"
                    " OMS_POSTGRES_URL"
                )
            if pid == session.info.backend_pid:  # a pooler gives its client a process id that is none of the server's
                return


def _begin(session: psycopg.Connection[Any], until: float) -> int | None:
    """Begin a transaction, which stays open; the process id of the server's side, or None without an answer in time."""
    connection = session.pgconn
    connection.send_query(_BEGIN)
    connection.flush()
    pid = None
    while True:
        while connection.is_busy():
            if not select.select([connection.socket], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            connection.consume_input()
        result = connection.get_result()
        if result is None:
            return pid
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
        if result.status == ExecStatus.TUPLES_OK:
            pid = int(result.get_value(0, 0) or b"")
