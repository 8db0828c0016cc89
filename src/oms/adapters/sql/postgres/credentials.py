"""Who is who on PostgreSQL: each service's schema and role, and how they log in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from itertools import zip_longest
from typing import Any

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping

from oms.ports.errors import Permanent
from oms.settings.records import PostgresConfig

SERVICES = ("order", "inventory", "payment", "notification")
OPERATOR = "oms_operator"
"""The role that reads every schema and writes none."""

DATABASE = "oms"
"""The database where the address names none: libpq would take one by the name of each role."""

_LONGEST_SLUG = 40
_PATIENCE: Mapping[str, Any] = {
    "connect_timeout": 5,
    # A server that vanished without a word is noticed after about half a minute.
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@attrs.frozen(eq=False)
class Credentials:
    """One role's way to the database: libpq's parameters, which its text never shows."""

    role: str
    parameters: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def place(self) -> str:
        """Server and database, for people."""
        host, port, name = (str(self.parameters.get(key, "")) for key in ("host", "port", "dbname"))
        servers = zip_longest(host.split(","), port.split(","), fillvalue="")
        return f"{','.join(f'{server}:{at or 5432}' for server, at in servers)}/{name}"

    @property
    def has_password(self) -> bool:
        """Whether the settings give one; libpq may find one elsewhere."""
        return bool(self.parameters.get("password"))

    def server_accepts_connections(self) -> bool:
        """Whether a server accepts connections there, of any role to any database."""
        return PGconn.ping(make_conninfo("", **self.parameters).encode()) == Ping.OK

    def connect(self, kind: type[psycopg.Connection[Any]] = psycopg.Connection, **more: Any) -> psycopg.Connection[Any]:
        """A connection in autocommit mode, without prepared statements: it may be a pooler's."""
        return kind.connect(**{**self.parameters, **more}, autocommit=True, prepare_threshold=None)


def schema_of(name: str) -> str:
    """The schema of a service, or of a step's store, whose group may have any name.

    A group that isn't a plain lower-case word gets a digest behind it, so that no two share a schema.
    """
    if name in SERVICES:
        return f"oms_{name}"
    group = name.removeprefix("step-")
    slug = re.sub(r"[^a-z0-9]+", "_", group.lower())[:_LONGEST_SLUG].strip("_")
    if slug != group:
        slug = f"{slug}_{sha256(group.encode()).hexdigest()[:8]}"
    return f"oms_step_{slug}"


def role_of(name: str, config: PostgresConfig) -> str:
    """The role that a store logs in as."""
    return config.user or schema_of(name)


def service_credentials(name: str, config: PostgresConfig) -> Credentials:
    """How the store of a service (or a step) logs in."""
    own = None if config.user else config.service_passwords.get(name)
    password = own or config.password
    return _login(role_of(name, config), password, config)


def operator_credentials(config: PostgresConfig) -> Credentials:
    """How somebody who only looks logs in."""
    if config.user:
        return _login(config.user, config.password, config)
    return _login(OPERATOR, config.operator_password or config.password, config)


def admin_credentials(config: PostgresConfig) -> Credentials:
    """How `oms setup` logs in."""
    return _login(config.admin_user, config.admin_password, config)


def spring_credentials(config: PostgresConfig) -> Credentials:
    """How the migration logs in to the database of the system replaced."""
    return _login(config.user or "", config.password, config)


def _login(role: str, password: str | None, config: PostgresConfig) -> Credentials:
    try:
        address = conninfo_to_dict(config.url)
    except psycopg.Error as error:
        raise Permanent(f"OMS_POSTGRES_URL: {error}") from None
    names = {"dbname": DATABASE, "application_name": role}
    parameters = {**_PATIENCE, **names, **address, "user": role, "client_encoding": "UTF8"}
    if password is not None:
        parameters["password"] = password
    return Credentials(role, parameters)
