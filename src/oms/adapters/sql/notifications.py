"""The notification service's record: one row for each order and kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import sqlite

from oms.adapters.sql.rows import chunks, dump, load, money
from oms.adapters.sql.schema import NotificationTables
from oms.adapters.sql.store import SqlStore
from oms.adapters.sql.transaction import SqlTransaction
from oms.domain.events import Reason
from oms.domain.values import OrderId, UserId
from oms.ports.evidence import NotificationEvidence
from oms.ports.plugs import Notification
from oms.ports.store import NotificationStore, NotificationTransaction


class SqlNotificationTransaction(SqlTransaction[NotificationTables], NotificationTransaction):
    """The notification service's unit of work."""

    def record_notifications(self, notifications: Sequence[Notification]) -> None:
        """Insert those that aren't there."""
        new = sqlite.insert(self._tables.notifications).on_conflict_do_nothing()
        self._many(new, [_row(notification) for notification in notifications])

    def load_notifications(self, ids: Collection[str]) -> Mapping[str, Notification]:
        """The notifications with these ids."""
        table, wanted, found = self._tables.notifications, set(ids), {}
        for part in chunks(sorted({_parts(name)[0] for name in wanted})):
            rows = self._rows(select(table).where(table.c.order_id.in_(part)))
            found.update({one.id: one for one in map(notification_of, rows) if one.id in wanted})
        return found

    def mark_notified(self, ids: Collection[str]) -> None:
        """They were delivered now."""
        table = self._tables.notifications
        sent = (
            update(table)
            .where(table.c.order_id == bindparam("o"), table.c.kind == bindparam("k"))
            .values(sent_at=self._now)
        )
        self._many(sent, [{"o": _parts(name)[0], "k": _parts(name)[1]} for name in ids])


class SqlNotificationStore(SqlStore[NotificationTables], NotificationStore, NotificationEvidence):
    """Notifications."""

    def begin(self) -> SqlNotificationTransaction:
        """Start a write transaction."""
        return SqlNotificationTransaction(self._connect(), self._tables, self._clock.now())

    def notifications(self, order: OrderId) -> Sequence[tuple[Notification, datetime | None]]:
        """An order's notifications, by kind."""
        table = self._tables.notifications
        rows = self._read(select(table).where(table.c.order_id == order).order_by(table.c.kind))
        return [(notification_of(row), row.sent_at) for row in rows]

    def all_notifications(self) -> Iterable[tuple[Notification, datetime | None]]:
        """Every notification."""
        return ((notification_of(row), row.sent_at) for row in self._stream(select(self._tables.notifications)))


def _parts(name: str) -> tuple[str, str]:
    order_id, _, kind = name.rpartition(":")
    return order_id, kind


def _row(notification: Notification) -> dict[str, Any]:
    return {
        "order_id": notification.order_id,
        "kind": notification.kind,
        "user_id": notification.user_id,
        "total_minor": notification.amount.minor,
        "currency": notification.amount.currency.code,
        "reason": notification.reason.value if notification.reason else None,
        "metadata": dump(notification.metadata),
        "at": notification.at,
        "sent_at": None,
    }


def notification_of(row: Any) -> Notification:
    """The notification of a row."""
    return Notification(
        f"{row.order_id}:{row.kind}",
        OrderId(row.order_id),
        UserId(row.user_id),
        row.kind,
        money(row.total_minor, row.currency),
        Reason(row.reason) if row.reason else None,
        load(row.metadata),
        row.at,
    )
