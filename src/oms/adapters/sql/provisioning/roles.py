"""Sets a PostgreSQL server up: database, roles, schemas, tables and rights.

The admin who sets the server up owns the tables. A service's role may read and write the rows of the tables in its own
schema and nothing else: it can't create tables, nor read those of another service. The operator's role reads all.
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
    # A transaction sets these itself; a single statement behind a pooler has only those of its role.
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
    # The driver can read times only in this form.
    "datestyle": "ISO",
    "timezone": "UTC",
}
_READ, _WRITE = sql.SQL("SELECT"), sql.SQL("SELECT, INSERT, UPDATE, DELETE")


def set_up_postgres(config: PostgresConfig, services: Sequence[str], steps: Sequence[str] = ()) -> Sequence[str]:
    """Create what these services and the steps of these groups need; return one line for each thing, done or found.

    May be repeated, and run on several hosts at once: one works, the others wait and find it done. Everything except
    the database itself is created in one transaction. Passwords reach the server only as SCRAM verifiers, so its logs
    can't show one. `Permanent` if the admin can't log in or lacks a right; `Retryable` if another host takes minutes.
    """
    admin = admin_credentials(config)
    lines = [f"database {admin.parameters['dbname']}: {'made' if _create_database(admin) else 'is there'}"]
    names = [*services, *(f"step-{group}" for group in steps)]
    credentials_by_name = {name: service_credentials(name, config) for name in names}
    operator = operator_credentials(config)
    roles = {credentials.role: credentials for credentials in (*credentials_by_name.values(), operator)}
    database = setup_database(admin)
    try:
        with database.writing() as connection:
            lock_setup(connection)
            setup = _Setup(connection, admin)
            lines += [f"role {role}: {setup.role(credentials)}" for role, credentials in roles.items()]
            for name, credentials in credentials_by_name.items():
                lines.append(f"schema {schema_of(name)}: {setup.schema(name, credentials.role, operator.role)}")
    finally:
        database.close()
    return lines


def _create_database(admin: Credentials) -> bool:
    """Create the database unless it exists, and return whether it was created. Safe on several hosts at once."""
    name = admin.parameters["dbname"]
    if _login_error(admin) is None:
        return False
    try:
        server = admin.connect(dbname=MAINTENANCE)
    except psycopg.Error:
        server = None
    if server is not None:
        with server, _translating_errors():
            server.execute("SELECT pg_advisory_lock(%s)", [SETUP_LOCK])  # until the connection ends
            if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                _execute_create_database(server, sql.Identifier(name))
                return True
    error = _login_error(admin)  # another host may have created it since the first check
    if error is not None:
        raise error
    return False


def _login_error(admin: Credentials) -> Permanent | None:
    """Return the error if the admin can't log in to the database; None if the admin can."""
    try:
        admin.connect().close()
    except psycopg.Error as error:
        return Permanent(login_problem(admin, error))
    return None


def _execute_create_database(server: psycopg.Connection[Any], name: sql.Identifier) -> None:
    server.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(name))
    server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


class _Setup:
    """One run of the setup, in one transaction."""

    def __init__(self, connection: SqlConnection, admin: Credentials) -> None:
        self._connection, self._admin = connection, admin
        self._driver: psycopg.Connection[Any] = connection.sqlalchemy.connection.driver_connection  # type: ignore[assignment]
        self._database = sql.Identifier(admin.parameters["dbname"])

    def role(self, credentials: Credentials) -> str:
        """Create a role that can log in, with the settings of its single statements; return what was done."""
        if credentials.role == self._admin.role:
            return "the admin's own, left as it is"
        role = sql.Identifier(credentials.role)
        done = self._create_role(credentials, role)
        for name, value in _ROLE_SETTINGS.items():
            text = "ALTER ROLE {} IN DATABASE {} SET {} = {}"
            self._do(text, role, self._database, sql.Identifier(name), sql.Literal(value))
        self._do("GRANT CONNECT ON DATABASE {} TO {}", self._database, role)
        return done

    def schema(self, name: str, owner: str, operator: str) -> str:
        """Create or migrate a schema, and grant rights to its owner and the operator; return what was done."""
        schema, connection = sql.Identifier(schema_of(name)), self._connection.for_schema(schema_of(name))
        self._do("CREATE SCHEMA IF NOT EXISTS {}", schema)
        before = version_in(connection)
        migrate_in(connection, kind_of(name))
        after = version_in(connection)
        self._grant(schema, _READ, sql.Identifier(operator))
        self._grant(schema, _WRITE, sql.Identifier(owner))
        if owner != self._admin.role:
            versions = sql.Identifier(schema_of(name), VERSION_TABLE)
            self._do("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}", versions, sql.Identifier(owner))
        return f"at {after}" if before == after else f"from {before or 'nothing'} to {after}"

    def _create_role(self, credentials: Credentials, role: sql.Identifier) -> str:
        known = self._driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [credentials.role]).fetchone()
        if not known:
            self._do("CREATE ROLE {} LOGIN", role)
        elif not credentials.has_password or _password_works(credentials):
            return "is there"
        if credentials.has_password:
            self._do("ALTER ROLE {} PASSWORD {}", role, sql.Literal(self._verifier(credentials)))
        return "has a new password" if known else "made" if credentials.has_password else "made, without a password"

    def _verifier(self, credentials: Credentials) -> str:
        password, role = credentials.parameters["password"].encode(), credentials.role.encode()
        return self._driver.pgconn.encrypt_password(password, role, b"scram-sha-256").decode()

    def _grant(self, schema: sql.Identifier, rights: sql.SQL, role: sql.Identifier) -> None:
        self._do("GRANT USAGE ON SCHEMA {} TO {}", schema, role)
        self._do("GRANT {} ON ALL TABLES IN SCHEMA {} TO {}", rights, schema, role)
        self._do("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT {} ON TABLES TO {}", schema, rights, role)

    def _do(self, statement: str, *parts: sql.Composable) -> None:
        with _translating_errors():
            self._driver.execute(sql.SQL(statement).format(*parts))


def _password_works(credentials: Credentials) -> bool:
    """Whether the server accepted the password of the settings; false if it requires none."""
    try:
        with credentials.connect() as connection:
            return bool(connection.pgconn.used_password)
    except psycopg.Error:
        return False


@contextmanager
def _translating_errors() -> Iterator[None]:
    """Translate errors; for a missing right with the server's own message, which names objects and never values."""
    try:
        yield
    except PortError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise Permanent(f"PostgreSQL: {error.diag.message_primary}") from None
    except psycopg.Error as error:
        raise translated(error) from None
