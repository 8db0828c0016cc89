"""A PostgreSQL server of the tests' own, which a test may kill, fill up and restart; it requires passwords."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from oms.adapters.sql.postgres.credentials import Credentials
from oms.testing.servers.native.postgres import NativePostgres

PASSWORD = "admins-own-password"


class OwnPostgres(NativePostgres):
    """One cluster, whose superuser has a password that tests know. Use it as a context manager."""

    def __init__(self, **settings: str) -> None:
        super().__init__(settings)

    def _find(self) -> None:
        super()._find()
        self.password = PASSWORD

    @property
    def admin(self) -> str:
        """The superuser's way in."""
        return self.url

    def run(self, statement: str) -> list[Any]:
        """A superuser's statement."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def new_database(self, name: str) -> Credentials:
        """An empty database, and the superuser's way to it."""
        self.run(f"CREATE DATABASE {name}")
        return Credentials("postgres", conninfo_to_dict(make_conninfo(self.admin, dbname=name)))
