"""Reads the orders of the Spring system from its PostgreSQL database, with any role that may read its tables.

Known are the names of its tables, and the fields that its API shows. For each field, the first of the column names
listed below that the table has is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql

from oms.adapters.sql.core.errors import TRANSLATE_ERRORS
from oms.adapters.sql.postgres.credentials import Credentials, spring_credentials
from oms.adapters.sql.postgres.login_errors import login_problem
from oms.ports.errors import Permanent, Retryable
from oms.ports.legacy import LegacyOrder, LegacyOrders
from oms.settings.records import PostgresConfig

ORDERS: Mapping[str, Sequence[str]] = {
    "id": ("id", "order_id"),
    "user": ("user_id",),
    "total": ("total_amount", "amount"),
    "status": ("status",),
}
CREATED: Sequence[str] = ("created_at", "created_date", "order_date")
"""The tables may have none of these."""

LINES: Mapping[str, Sequence[str]] = {
    "order": ("order_id", "orders_id", "order_entity_id"),
    "product": ("product_id", "items_key"),
    "quantity": ("quantity", "items"),
}

_CHUNK = 1000
_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_name = %s AND table_schema = ANY (current_schemas(false))
"""
_ROWS = """
    SELECT coalesce(o.{id}::text, l.{order}::text), o.{user}::text, o.{total}::text, o.{status}::text,
           {created}, l.{product}::text, l.{quantity}::text, l.{order} IS NOT NULL
    FROM orders o FULL JOIN order_items l ON l.{order} = o.{id}
    ORDER BY 1, 6
"""


class PostgresLegacyOrders(LegacyOrders):
    """The tables `orders` and `order_items`, in one read-only snapshot."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    @classmethod
    def from_config(cls, config: PostgresConfig) -> PostgresLegacyOrders:
        """Return the orders in the database that `OMS_SPRING_POSTGRES_URL` names."""
        return cls(spring_credentials(config))

    def orders(self) -> Iterable[LegacyOrder]:
        with self._connected() as connection, TRANSLATE_ERRORS:
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute("SET datestyle = 'ISO'")
            query = self._query(connection)
            with connection.cursor(name="orders") as rows:
                rows.itersize = _CHUNK
                rows.execute(query)
                yield from _orders(rows)

    def _connected(self) -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(**self._credentials.parameters)
        except psycopg.Error as error:
            problem = login_problem(
                self._credentials, error, credential_setting="OMS_SPRING_POSTGRES_PASSWORD", remedy=""
            )
            raise Retryable(problem) from None
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        return connection

    def _query(self, connection: psycopg.Connection[Any]) -> sql.Composed:
        orders, lines = (self._columns(connection, table) for table in ("orders", "order_items"))
        names = {field: self._column("orders", known, orders) for field, known in ORDERS.items()}
        names |= {field: self._column("order_items", known, lines) for field, known in LINES.items()}
        columns: dict[str, sql.Composable] = {field: sql.Identifier(name) for field, name in names.items()}
        created = next((name for name in CREATED if name in orders), None)
        no_time = sql.SQL("NULL::timestamptz")
        at = sql.SQL("o.{}::timestamptz").format(sql.Identifier(created)) if created else no_time
        return sql.SQL(_ROWS).format(**columns, created=at)

    def _columns(self, connection: psycopg.Connection[Any], table: str) -> frozenset[str]:
        found = frozenset(name for (name,) in connection.execute(_COLUMNS, [table]))
        if not found:
            raise Permanent(f"PostgreSQL at {self._credentials.place}: there is no table {table}")
        return found

    def _column(self, table: str, known: Sequence[str], existing: frozenset[str]) -> str:
        for name in known:
            if name in existing:
                return name
        raise Permanent(
            f"PostgreSQL at {self._credentials.place}: the table {table} has no column {' or '.join(known)}"
        )


def _orders(rows: Iterable[tuple[Any, ...]]) -> Iterator[LegacyOrder]:
    for order_id, group in groupby(rows, key=lambda row: row[0]):
        order_rows = list(group)
        _, user, total, status, created, *_ = order_rows[0]
        lines = tuple((product, quantity) for *_, product, quantity, is_line in order_rows if is_line)
        yield LegacyOrder(order_id, user, total, status, _utc(created), lines)


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at is not None else None
