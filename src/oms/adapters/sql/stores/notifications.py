"""The notification service's table: one row for each order and kind, or for each order, kind and part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec
from sqlalchemy import select, update

from oms.adapters.sql.core.bulk_statements import BulkStatement
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.core.statements import Statement, columns_of, parameter
from oms.adapters.sql.stores.rows import dump, dump_json, load_metadata, money
from oms.adapters.sql.stores.store import SqlStore
from oms.adapters.sql.stores.tables import NOTIFICATION, NotificationTables
from oms.adapters.sql.stores.transaction import SqlTransaction
from oms.domain.events import Reason
from oms.domain.lines import OrderLine
from oms.domain.values import NO_ITEMS, OrderId, Sku, UserId
from oms.ports.clock import Ids
from oms.ports.evidence import NotificationEvidence
from oms.ports.extensions import Notification
from oms.ports.stores.notification import NotificationStore, NotificationTransaction, kind_and_part

_NOTIFICATIONS = NOTIFICATION.notifications
_INSERT_NOTIFICATIONS = BulkStatement(
    lambda row: row.insert_into(_NOTIFICATIONS).on_conflict_do_nothing(),
    columns_of(
        _NOTIFICATIONS,
        *("id", "order_id", "kind", "user_id", "total_minor", "currency", "reason", "metadata", "at", "details"),
    ),
    columns_of(_NOTIFICATIONS, "sent_at"),
)
_READ_NOTIFICATIONS = Statement(select(_NOTIFICATIONS), among=_NOTIFICATIONS.c.id)
_MARK_DELIVERED = Statement(
    update(_NOTIFICATIONS).values(sent_at=parameter(_NOTIFICATIONS.c.sent_at)),
    _NOTIFICATIONS.c.id,
    columns_of(_NOTIFICATIONS, "sent_at"),
)


class SqlNotificationTransaction(SqlTransaction[NotificationTables], NotificationTransaction):
    """The notification service's unit of work."""

    def record_notifications(self, notifications: Sequence[Notification], *, delivered: bool = False) -> None:
        sent_at = self._connection.now if delivered else None
        self._connection.run_for_rows(
            _INSERT_NOTIFICATIONS, [_row_of(notification) for notification in notifications], sent_at=sent_at
        )

    def mark_notified(self, ids: Collection[str]) -> None:
        self._connection.run(_MARK_DELIVERED, ids, sent_at=self._connection.now)


class SqlNotificationStore(SqlStore[NotificationTables], NotificationStore, NotificationEvidence):
    """Notifications."""

    def __init__(self, database: Database, ids: Ids) -> None:
        super().__init__(database, NOTIFICATION, ids)

    def begin(self) -> SqlNotificationTransaction:
        return SqlNotificationTransaction(self._database, self._tables, self._database.begin())

    def notifications_by_id(self, ids: Collection[str]) -> Mapping[str, Notification]:
        with self._database.reading() as connection:
            rows = connection.fetch(_READ_NOTIFICATIONS, ids)
        return {row.id: notification_of(row) for row in rows}

    def notifications(self, order: OrderId) -> Sequence[tuple[Notification, datetime | None]]:
        found = select(_NOTIFICATIONS).where(_NOTIFICATIONS.c.order_id == order).order_by(_NOTIFICATIONS.c.kind)
        with self._database.reading() as connection:
            return [(notification_of(row), row.sent_at) for row in connection.all(found)]

    def all_notifications(self) -> Iterable[tuple[Notification, datetime | None]]:
        return ((notification_of(row), row.sent_at) for row in self._database.stream(select(_NOTIFICATIONS)))


def _row_of(notification: Notification) -> tuple[Any, ...]:
    return (
        notification.id,
        notification.order_id,
        kind_and_part(notification),
        notification.user_id,
        notification.amount.minor if notification.amount else 0,
        notification.amount.currency.code if notification.amount else "",
        notification.reason.value if notification.reason else None,
        dump(notification.metadata),
        notification.at,
        _details_text(notification),
    )


class _Line(msgspec.Struct, omit_defaults=True, frozen=True):
    sku: Sku
    quantity: int
    name: str | None = None


class _Details(msgspec.Struct, omit_defaults=True, frozen=True):
    """The column `details`; lines of a notification have no amounts."""

    items: dict[Sku, int] = {}
    lines: list[_Line] = []
    carrier: str | None = None
    tracking_number: str | None = None


_NO_DETAILS = _Details()
_read_details = msgspec.json.Decoder(_Details).decode


def _details_text(one: Notification) -> str | None:
    lines = [_Line(line.sku, line.quantity, line.name) for line in one.lines]
    details = _Details(dict(one.items), lines, one.carrier, one.tracking_number)
    return None if details == _NO_DETAILS else dump_json(details)


def notification_of(row: Any) -> Notification:
    """Return the notification of a row; one without an amount has no currency."""
    details = _read_details(row.details) if row.details else _NO_DETAILS
    kind, _, part = row.kind.partition("/")
    return Notification(
        row.id,
        OrderId(row.order_id),
        UserId(row.user_id),
        kind,
        money(row.total_minor, row.currency) if row.currency else None,
        Reason(row.reason) if row.reason else None,
        load_metadata(row.metadata),
        row.at,
        part=part,
        items=MappingProxyType(details.items) if details.items else NO_ITEMS,
        lines=tuple(OrderLine(line.sku, line.quantity, None, line.name) for line in details.lines),
        carrier=details.carrier,
        tracking_number=details.tracking_number,
    )
