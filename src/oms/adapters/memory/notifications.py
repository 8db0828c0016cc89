"""The notification service's store: at most one notification for each order, kind and part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from oms.adapters.memory import column_limits
from oms.adapters.memory.call_hooks import port_call
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.store import MemoryStore
from oms.adapters.memory.tables import Table
from oms.adapters.memory.transaction import MemoryTransaction
from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids
from oms.ports.evidence import NotificationEvidence
from oms.ports.extensions import Notification
from oms.ports.stores.notification import NotificationStore, NotificationTransaction, kind_and_part


@attrs.frozen
class NotificationRow:
    """A notification, and when it was delivered."""

    notification: Notification
    delivered_at: datetime | None = None


def _check_notification(key: str, row: NotificationRow) -> None:
    column_limits.check_notification(key, row.notification)


class NotificationTables(ServiceTables):
    """The notification service's tables, and an index of notifications by order."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        super().__init__(clock, ids)
        self.names: Table[tuple[str, str], str] = Table("notification_names", self._named)
        """(order, kind and part) -> id: the business key, which is unique."""
        self.notifications: Table[str, NotificationRow] = Table("notifications", check_row=_check_notification)
        self.by_order: dict[str, list[str]] = {}

    def _named(self, key: tuple[str, str], _before: str | None, id: str | None) -> None:  # noqa: A002
        if id is not None:
            self.by_order.setdefault(key[0], []).append(id)


class MemoryNotificationTransaction(MemoryTransaction, NotificationTransaction):
    """The notification service's unit of work."""

    _tables: NotificationTables

    @port_call
    def record_notifications(self, notifications: Sequence[Notification], *, delivered: bool = False) -> None:
        work, at = self._open(), self._tables.clock.now() if delivered else None
        for one in sorted(notifications, key=lambda one: (one.order_id, kind_and_part(one))):
            if work.insert(self._tables.names, (one.order_id, kind_and_part(one)), one.id):
                self._insert(self._tables.notifications, one.id, NotificationRow(one, at))

    @port_call
    def mark_notified(self, ids: Collection[str]) -> None:
        now = self._tables.clock.now()
        for name, row in self._lock_rows(self._tables.notifications, ids).items():
            self.work.put(self._tables.notifications, name, NotificationRow(row.notification, now))


class MemoryNotificationStore(MemoryStore[NotificationTables], NotificationStore, NotificationEvidence):
    """The notification service's store in memory."""

    name = "notifications"

    @port_call
    def begin(self) -> NotificationTransaction:
        return MemoryNotificationTransaction(self._tables, self._hooks)

    @port_call
    def notifications_by_id(self, ids: Collection[str]) -> Mapping[str, Notification]:
        rows = self._tables.notifications.rows
        return {name: rows[name].notification for name in ids if name in rows}

    @port_call
    def notifications(self, order: OrderId) -> Sequence[tuple[Notification, datetime | None]]:
        rows = (self._tables.notifications.rows[name] for name in self._tables.by_order.get(order, ()))
        return sorted(((row.notification, row.delivered_at) for row in rows), key=lambda pair: kind_and_part(pair[0]))

    def all_notifications(self) -> Iterable[tuple[Notification, datetime | None]]:
        return [(row.notification, row.delivered_at) for row in self._evidence(self._tables.notifications).values()]

    @classmethod
    def new_tables(cls, clock: Clock, ids: Ids) -> NotificationTables:
        """Empty tables of the notification service."""
        return NotificationTables(clock, ids)
