"""The notification service's store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from oms.domain.values import OrderId
from oms.ports.extensions import Notification
from oms.ports.stores.store import Store, Transaction


class NotificationTransaction(Transaction, Protocol):
    """The notification service's unit of work."""

    @abstractmethod
    def record_notifications(self, notifications: Sequence[Notification], *, delivered: bool = False) -> None:
        """Insert rows, one for each (order, kind), as `delivered` now or not yet; those that exist are left."""

    @abstractmethod
    def mark_notified(self, ids: Collection[str]) -> None:
        """They were delivered now."""


class NotificationStore(Store, Protocol):
    """The notification service's record."""

    @abstractmethod
    def begin(self) -> NotificationTransaction: ...

    @abstractmethod
    def notifications_by_id(self, ids: Collection[str]) -> Mapping[str, Notification]:
        """The committed notifications with these ids, without locks."""

    @abstractmethod
    def notifications(self, order: OrderId) -> Sequence[tuple[Notification, datetime | None]]:
        """An order's notifications with the time each was delivered, by kind."""
