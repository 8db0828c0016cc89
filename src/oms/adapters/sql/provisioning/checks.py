"""Checks of a PostgreSQL server, whose findings are shown to the person who starts the program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any

import attrs
import psycopg

from oms.adapters.sql.postgres.credentials import Credentials, operator_credentials, schema_of, service_credentials
from oms.adapters.sql.postgres.login_errors import login_problem
from oms.adapters.sql.provisioning.migrate import HEADS, VERSION_TABLE
from oms.adapters.sql.stores.tables import kind_of
from oms.ports.errors import Retryable
from oms.ports.findings import Finding, warning
from oms.settings.records import PostgresConfig

OLDEST_SERVER = 14
_SETUP = "run `oms setup`"

_SERVER = """
    SELECT current_setting('server_encoding'), pg_is_in_recovery(), has_schema_privilege('public', 'CREATE'),
           current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')
"""
_ROLE = "SELECT 1 FROM pg_roles WHERE rolname = %s"
_SCHEMA = "SELECT has_schema_privilege(%s, oid, 'USAGE') FROM pg_namespace WHERE nspname = %s"
_STEPS = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'oms_step_')"
_UNSENT = """
    SELECT topic, count(*), min(at) FROM {schema}.outbox WHERE at < now() - make_interval(secs => {age_s})
    GROUP BY topic ORDER BY topic LIMIT 100
"""
UNSENT_AFTER_S = 60
"""A message that is older, in seconds, is reported as unsent: the relay sends most within a second."""

_TABLES = """
    SELECT bool_and(has_table_privilege(%s, c.oid, 'SELECT') AND has_table_privilege(%s, c.oid, 'INSERT')
                    AND has_table_privilege(%s, c.oid, 'UPDATE') AND has_table_privilege(%s, c.oid, 'DELETE'))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname <> %s
"""


def check_postgres(config: PostgresConfig, services: Sequence[str], *, by_operator: bool = False) -> Sequence[Finding]:
    """Return one finding for each problem of these services (or steps), without repetitions.

    With `by_operator`, logs in as the operator's role if the settings contain its password and not the service's; that
    checks everything except the service's own login. Changes nothing. No finding shows a password.
    """
    problems: dict[Finding, None] = {}
    for name in services:
        role = service_credentials(name, config).role
        credentials = _operator_or_service(name, config) if by_operator else service_credentials(name, config)
        try:
            with credentials.connect() as connection:
                problems.update(dict.fromkeys(_problems(connection, name, credentials, role)))
        except psycopg.Error as error:
            problems[Finding(login_problem(credentials, error))] = None
    return list(problems)


def other_currencies(config: PostgresConfig, services: Sequence[str], currency: str) -> Sequence[Finding]:
    """Return one finding for each service (or step) whose store was started with another currency.

    A server that can't be reached makes no finding here, but one of `check_postgres`.
    """
    problems = []
    for name in services:
        credentials = _operator_or_service(name, config)
        with suppress(psycopg.Error), credentials.connect() as connection:
            kept = _currency(connection, schema_of(name))
            if kept not in (None, currency):
                where = f"PostgreSQL at {credentials.place}: the amounts of the schema {schema_of(name)}"
                problems.append(Finding(f"{where} are in {kept}, OMS_CURRENCY is {currency}"))
    return problems


def other_steps(config: PostgresConfig, known: Sequence[str]) -> Sequence[str]:
    """Return the schemas of steps that aren't `known`; `Retryable` if the operator's role can't connect."""
    credentials = operator_credentials(config)
    try:
        with credentials.connect() as connection:
            rows = connection.execute(_STEPS).fetchall()
    except psycopg.Error as error:
        raise Retryable(login_problem(credentials, error)) from None
    return sorted({name for (name,) in rows} - {schema_of(name) for name in known})


def _operator_or_service(name: str, config: PostgresConfig) -> Credentials:
    """The service's credentials, or the operator's if the settings contain only the operator's password."""
    credentials, operator = service_credentials(name, config), operator_credentials(config)
    return operator if operator.has_password and not credentials.has_password else credentials


def _problems(connection: psycopg.Connection[Any], name: str, credentials: Credentials, role: str) -> Iterator[Finding]:
    where = f"PostgreSQL at {credentials.place}"
    major = connection.info.server_version // 10000
    if major < OLDEST_SERVER:
        yield Finding(f"{where}: version {major} is too old, {OLDEST_SERVER} is needed")
    for found in (*_of_server(connection, credentials), *_of_schema(connection, name, role)):
        yield attrs.evolve(found, text=f"{where}: {found.text}")


def _of_server(connection: psycopg.Connection[Any], credentials: Credentials) -> Iterator[Finding]:
    encoding, standby, creates, fsync, full_pages, synchronous = _row(connection, _SERVER)
    if encoding != "UTF8":
        yield Finding(f"the database's encoding is {encoding}; make it with UTF8")
    if standby:
        yield Finding("a standby, which can't be written to")
    if creates:
        yield warning(f"{credentials.role} may make tables in the schema public, as anybody may there")
    if fsync == "off":
        yield warning("fsync is off, so a crash of the machine may lose or damage orders")
    if full_pages == "off":
        yield warning("full_page_writes is off, so a crash of the machine may damage orders")
    if synchronous == "off":
        yield warning("synchronous_commit is off, so a crash of the server may lose accepted orders")


def _of_schema(connection: psycopg.Connection[Any], name: str, role: str) -> Iterator[Finding]:
    schema, head = schema_of(name), HEADS[kind_of(name)]
    if _row(connection, _ROLE, role) is None:
        yield Finding(f"the role {role} is missing; {_SETUP}")
        return
    usable = _row(connection, _SCHEMA, role, schema)
    if usable is None:
        yield Finding(f"the schema {schema} is missing; {_SETUP}")
    elif not usable[0]:
        yield Finding(f"{role} may not use the schema {schema}; {_SETUP}")
    elif (found := _revision(connection, schema)) != head:
        yield Finding(f"the schema {schema} is at revision {found}, this program knows {head}; {_SETUP}")
    elif not _row(connection, _TABLES, *[role] * 4, schema, VERSION_TABLE)[0]:
        yield Finding(f"{role} may not write all tables of the schema {schema}; {_SETUP}")
    else:
        yield from _unsent(connection, name, schema)


def _unsent(connection: psycopg.Connection[Any], name: str, schema: str) -> Iterator[Finding]:
    query = _UNSENT.format(schema=schema, age_s=UNSENT_AFTER_S)
    for topic, count, since in connection.execute(query.encode()):
        yield warning(
            f"{name}: {count} messages wait to be sent to the topic {topic}, the oldest since"
            f" {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}: does the topic exist, and may the service write to it?"
        )


def _revision(connection: psycopg.Connection[Any], schema: str) -> str | None:
    known = _row(connection, "SELECT to_regclass(%s)", f"{schema}.{VERSION_TABLE}")
    if known[0] is None:
        return None
    row = _row(connection, f"SELECT version_num FROM {schema}.{VERSION_TABLE}")  # noqa: S608 - a name of ours
    return row[0] if row else None


def _currency(connection: psycopg.Connection[Any], schema: str) -> str | None:
    if _row(connection, "SELECT to_regclass(%s)", f"{schema}.pinned")[0] is None:
        return None
    row = _row(connection, f"SELECT value FROM {schema}.pinned WHERE name = 'currency'")  # noqa: S608 - a name of ours
    return row[0] if row else None


def _row(connection: psycopg.Connection[Any], query: str, *values: str) -> Any:
    return connection.execute(query.encode(), values or None).fetchone()
