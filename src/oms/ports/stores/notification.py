"""The notification service's store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from oms.domain.values import OrderId
from oms.ports.extensions import Notification
from oms.ports.stores.store import Store, Transaction


def kind_and_part(notification: Notification) -> str:
    """Return a notification's name within its order: `topic/part` for a shipment or refund, else the topic.

    It is unambiguous, because topics contain no slash.
    """
    return f"{notification.kind}/{notification.part}" if notification.part else notification.kind


class NotificationTransaction(Transaction, Protocol):
    """The notification service's unit of work."""

    @abstractmethod
    def record_notifications(self, notifications: Sequence[Notification], *, delivered: bool = False) -> None:
        """Insert notifications, unless one of the same order, kind and part exists.

        With `delivered`, their time of delivery is now; otherwise they aren't delivered yet.
        """

    @abstractmethod
    def mark_notified(self, ids: Collection[str]) -> None:
        """Record now as the time at which the notifications with these ids were delivered."""


class NotificationStore(Store, Protocol):
    """The notification service's store."""

    @abstractmethod
    def begin(self) -> NotificationTransaction: ...

    @abstractmethod
    def notifications_by_id(self, ids: Collection[str]) -> Mapping[str, Notification]:
        """Return the committed notifications with these ids, without locks."""

    @abstractmethod
    def notifications(self, order: OrderId) -> Sequence[tuple[Notification, datetime | None]]:
        """Return an order's notifications by kind and part, each with the time of its delivery.

        The time is None for one that isn't delivered yet.
        """
