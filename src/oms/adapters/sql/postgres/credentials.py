"""The schema, the role and the credentials of each service on PostgreSQL."""

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
"""The database if the address names none: libpq would use one with the name of the role."""

_LONGEST_SLUG = 40
_TIMEOUTS: Mapping[str, Any] = {
    "connect_timeout": 5,
    # A server whose host vanished is noticed after about half a minute.
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@attrs.frozen(eq=False)
class Credentials:
    """A role and libpq's parameters for its connections. The parameters don't appear in `repr`."""

    role: str
    parameters: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def place(self) -> str:
        """Server and database, for messages."""
        host, port, name = (str(self.parameters.get(key, "")) for key in ("host", "port", "dbname"))
        servers = zip_longest(host.split(","), port.split(","), fillvalue="")
        return f"{','.join(f'{server}:{at or 5432}' for server, at in servers)}/{name}"

    @property
    def has_password(self) -> bool:
        """Whether the settings contain one; libpq may find one elsewhere."""
        return bool(self.parameters.get("password"))

    def server_accepts_connections(self) -> bool:
        """Whether a server accepts connections at the address, of any role and to any database."""
        return PGconn.ping(make_conninfo("", **self.parameters).encode()) == Ping.OK

    def connect(self, kind: type[psycopg.Connection[Any]] = psycopg.Connection, **more: Any) -> psycopg.Connection[Any]:
        """Open a connection in autocommit mode, without prepared statements, because a pooler may be in between."""
        return kind.connect(**{**self.parameters, **more}, autocommit=True, prepare_threshold=None)


def schema_of(name: str) -> str:
    """Return the schema of a service or of a step's store.

    The group of a step may have any name. Unless it is a plain lower-case identifier, a digest is appended, so that no
    two groups share a schema.
    """
    if name in SERVICES:
        return f"oms_{name}"
    group = name.removeprefix("step-")
    slug = re.sub(r"[^a-z0-9]+", "_", group.lower())[:_LONGEST_SLUG].strip("_")
    if slug != group:
        slug = f"{slug}_{sha256(group.encode()).hexdigest()[:8]}"
    return f"oms_step_{slug}"


def role_of(name: str, config: PostgresConfig) -> str:
    """Return the role that a store logs in as."""
    return config.user or schema_of(name)


def service_credentials(name: str, config: PostgresConfig) -> Credentials:
    """Return the credentials of the store of a service (or a step)."""
    own = None if config.user else config.service_passwords.get(name)
    password = own or config.password
    return _credentials(role_of(name, config), password, config)


def operator_credentials(config: PostgresConfig) -> Credentials:
    """Return the credentials of the operator's role, which reads every schema."""
    if config.user:
        return _credentials(config.user, config.password, config)
    return _credentials(OPERATOR, config.operator_password or config.password, config)


def admin_credentials(config: PostgresConfig) -> Credentials:
    """Return the credentials that `oms setup` uses."""
    return _credentials(config.admin_user, config.admin_password, config)


def spring_credentials(config: PostgresConfig) -> Credentials:
    """Return the credentials for the database of the Spring system."""
    return _credentials(config.user or "", config.password, config)


def _credentials(role: str, password: str | None, config: PostgresConfig) -> Credentials:
    try:
        address = conninfo_to_dict(config.url)
    except psycopg.Error as error:
        raise Permanent(f"OMS_POSTGRES_URL: {error}") from None
    names = {"dbname": DATABASE, "application_name": role}
    parameters = {**_TIMEOUTS, **names, **address, "user": role, "client_encoding": "UTF8"}
    if password is not None:
        parameters["password"] = password
    return Credentials(role, parameters)
