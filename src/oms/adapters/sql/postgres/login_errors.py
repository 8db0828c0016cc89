"""Explains why a role can't connect to PostgreSQL, for the person who configures the program."""

from __future__ import annotations

import psycopg

from oms.adapters.sql.postgres.credentials import Credentials

MAINTENANCE = "postgres"
"""The database that every server has."""

_SETUP = "; run `oms setup`"


def login_problem(
    credentials: Credentials,
    error: psycopg.Error,
    *,
    credential_setting: str = "OMS_POSTGRES_PASSWORD",
    remedy: str = _SETUP,
) -> str:
    """Return one line with the server's own reason, which never contains a password.

    `credential_setting` is named where the server wants a password and none is set. `remedy` is appended where the
    database doesn't exist.
    """
    where = f"PostgreSQL at {credentials.place}"
    if error.pgconn is not None and error.pgconn.needs_password:
        return f"{where}: {credentials.role} can't log in: the server wants a password, {credential_setting} gives none"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[-1].rpartition("failed: ")[2].rpartition("FATAL:")[2].strip()
    if not credentials.server_accepts_connections():
        return f"{where}: can't be reached: {reason}"
    line = f"{where}: {credentials.role} can't log in: {reason}"
    return f"{line}{remedy}" if remedy and _lacks_database(credentials) else line


def _lacks_database(credentials: Credentials) -> bool:
    """Whether the server has no such database: libpq reports a failed login without an SQLSTATE."""
    name = credentials.parameters["dbname"]
    try:
        with credentials.connect(dbname=MAINTENANCE) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None
    except psycopg.Error:
        return False
