"""Sets a PostgreSQL server up: database, roles, schemas, tables, and who may do what.

The tables belong to the admin who set them up. A service's role may read and write the rows of its own schema's
tables, and nothing else: it makes no tables and sees no other service's. The operator's role reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from oms.adapters.sql.core.connection import SqlConnection
from oms.adapters.sql.core.errors import translated
from oms.adapters.sql.postgres.credentials import (
    Credentials,
    admin_credentials,
    operator_credentials,
    schema_of,
    service_credentials,
)
from oms.adapters.sql.postgres.database import IDLE_TIMEOUT_S, LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S, setup_database
from oms.adapters.sql.postgres.login_errors import MAINTENANCE, login_problem
from oms.adapters.sql.provisioning.migrate import SETUP_LOCK, VERSION_TABLE, lock_setup, migrate_in, version_in
from oms.adapters.sql.stores.tables import kind_of
from oms.ports.errors import Permanent, PortError
from oms.settings.records import PostgresConfig

_ROLE_SETTINGS: Mapping[str, str] = {
    # A transaction sets these for itself; a single statement outside of one has only its role's.
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
    # The driver reads times in this form only.
    "datestyle": "ISO",
    "timezone": "UTC",
}
_SEES, _WRITES = sql.SQL("SELECT"), sql.SQL("SELECT, INSERT, UPDATE, DELETE")


def set_up_postgres(config: PostgresConfig, services: Sequence[str], steps: Sequence[str] = ()) -> Sequence[str]:
    """Bring a server to where these services, and the steps of these groups, can work; what was done, line by line.

    May be repeated, and run by several hosts at once: one works, the others wait and find it done. All but the
    database itself is one transaction. Passwords reach the server only as SCRAM verifiers, so no log of its can show
    one. `Permanent` where the admin can't log in or may not do it; `Retryable` where another host is at it for minutes.
    """
    admin = admin_credentials(config)
    lines = [f"database {admin.parameters['dbname']}: {'made' if _make_database(admin) else 'is there'}"]
    names = [*services, *(f"step-{group}" for group in steps)]
    logins, operator = {name: service_credentials(name, config) for name in names}, operator_credentials(config)
    roles = {login.role: login for login in (*logins.values(), operator)}
    database = setup_database(admin)
    try:
        with database.writing() as connection:
            lock_setup(connection)
            setup = _Setup(connection, admin)
            lines += [f"role {role}: {setup.role(login)}" for role, login in roles.items()]
            for name, login in logins.items():
                lines.append(f"schema {schema_of(name)}: {setup.schema(name, login.role, operator.role)}")
    finally:
        database.close()
    return lines


def _make_database(admin: Credentials) -> bool:
    """Whether there was none. Several hosts may try at once: one makes it, the others wait and find it."""
    name = admin.parameters["dbname"]
    if _refusal(admin) is None:
        return False
    try:
        server = admin.connect(dbname=MAINTENANCE)
    except psycopg.Error:
        server = None
    if server is not None:
        with server, _clear_words():
            server.execute("SELECT pg_advisory_lock(%s)", [SETUP_LOCK])  # until the connection ends
            if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                _create(server, sql.Identifier(name))
                return True
    refused = _refusal(admin)  # another host may have made it since the first look
    if refused is not None:
        raise refused
    return False


def _refusal(admin: Credentials) -> Permanent | None:
    """Why the admin can't log in to the database; None where the admin can."""
    try:
        admin.connect().close()
    except psycopg.Error as error:
        return Permanent(login_problem(admin, error))
    return None


def _create(server: psycopg.Connection[Any], name: sql.Identifier) -> None:
    server.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(name))
    server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


class _Setup:
    """One run, in one transaction."""

    def __init__(self, connection: SqlConnection, admin: Credentials) -> None:
        self._connection, self._admin = connection, admin
        self._driver: psycopg.Connection[Any] = connection.sqlalchemy.connection.driver_connection  # type: ignore[assignment]
        self._database = sql.Identifier(admin.parameters["dbname"])

    def role(self, login: Credentials) -> str:
        """Make a role that can log in, and give it what its single statements need; what was done."""
        if login.role == self._admin.role:
            return "the admin's own, left as it is"
        role = sql.Identifier(login.role)
        done = self._log_in(login, role)
        for name, value in _ROLE_SETTINGS.items():
            text = "ALTER ROLE {} IN DATABASE {} SET {} = {}"
            self._do(text, role, self._database, sql.Identifier(name), sql.Literal(value))
        self._do("GRANT CONNECT ON DATABASE {} TO {}", self._database, role)
        return done

    def schema(self, name: str, owner: str, operator: str) -> str:
        """Make a schema with its tables, for the role that works with it and the one that looks; what was done."""
        schema, connection = sql.Identifier(schema_of(name)), self._connection.for_schema(schema_of(name))
        self._do("CREATE SCHEMA IF NOT EXISTS {}", schema)
        before = version_in(connection)
        migrate_in(connection, kind_of(name))
        after = version_in(connection)
        self._grant(schema, _SEES, sql.Identifier(operator))
        self._grant(schema, _WRITES, sql.Identifier(owner))
        if owner != self._admin.role:
            versions = sql.Identifier(schema_of(name), VERSION_TABLE)
            self._do("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}", versions, sql.Identifier(owner))
        return f"at {after}" if before == after else f"from {before or 'nothing'} to {after}"

    def _log_in(self, login: Credentials, role: sql.Identifier) -> str:
        known = self._driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login.role]).fetchone()
        if not known:
            self._do("CREATE ROLE {} LOGIN", role)
        elif not login.has_password or _gets_in(login):
            return "is there"
        if login.has_password:
            self._do("ALTER ROLE {} PASSWORD {}", role, sql.Literal(self._verifier(login)))
        return "has a new password" if known else "made" if login.has_password else "made, without a password"

    def _verifier(self, login: Credentials) -> str:
        password, role = login.parameters["password"].encode(), login.role.encode()
        return self._driver.pgconn.encrypt_password(password, role, b"scram-sha-256").decode()

    def _grant(self, schema: sql.Identifier, rights: sql.SQL, role: sql.Identifier) -> None:
        self._do("GRANT USAGE ON SCHEMA {} TO {}", schema, role)
        self._do("GRANT {} ON ALL TABLES IN SCHEMA {} TO {}", rights, schema, role)
        self._do("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT {} ON TABLES TO {}", schema, rights, role)

    def _do(self, statement: str, *parts: sql.Composable) -> None:
        with _clear_words():
            self._driver.execute(sql.SQL(statement).format(*parts))


def _gets_in(login: Credentials) -> bool:
    """Whether the role's password is that of the settings; a server that asks for none doesn't say."""
    try:
        with login.connect() as connection:
            return bool(connection.pgconn.used_password)
    except psycopg.Error:
        return False


@contextmanager
def _clear_words() -> Iterator[None]:
    """What the admin may not do is said as the server says it: its words name objects, never values."""
    try:
        yield
    except PortError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise Permanent(f"PostgreSQL: {error.diag.message_primary}") from None
    except psycopg.Error as error:
        raise translated(error) from None
