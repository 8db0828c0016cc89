"""The notification service: one notification for each order and kind, delivered at least once under the same id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import cast

import attrs

from oms.domain.events import (
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderRejected,
    OrderShipped,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
)
from oms.domain.tasks import TaskKind, TaskRequest, composite_key, key_fields, order_of
from oms.engine.parking import Failure, task_letter
from oms.engine.recorded_changes import RecordedChanges
from oms.engine.retries import next_try
from oms.engine.service import Handler, Service
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.errors import Permanent
from oms.ports.extensions import Notification, Notifier
from oms.ports.messages import AnyEvent
from oms.ports.stores.notification import NotificationStore, NotificationTransaction
from oms.ports.stores.rows import DeadLetter, Postponed, Task
from oms.ports.stores.store import Transaction

GROUP = "notification-group"
GIVE_UP_AFTER = timedelta(hours=24)
LONGEST_WAIT_S = 3600.0

PaymentOutcome = PaymentSucceeded | PaymentFailed | PaymentVoided | PaymentRefunded
OrderEnd = OrderCancelled | OrderRejected


class NotificationWork:
    """Notifications to insert, and those that were delivered. `calls` is true if there is a notifier to call."""

    def __init__(self, transaction: NotificationTransaction, now: datetime, *, calls: bool) -> None:
        self.changes = RecordedChanges()
        self.now = now
        self._transaction, self._calls = transaction, calls
        self._new: list[Notification] = []
        self._sent: list[str] = []

    def load(self, events: Sequence[AnyEvent]) -> None:
        """Lock nothing: notifications are only inserted."""

    def notify(self, notification: Notification) -> None:
        """Insert a notification with its delivery task; without a notifier, log it instead of the task."""
        self._new.append(notification)
        if self._calls:
            self.changes.tasks.append(TaskRequest(TaskKind.NOTIFY, notification.id))
        else:
            self.changes.note("Notification sent", order_id=notification.order_id, kind=notification.kind)

    def sent(self, notification_id: str) -> None:
        """Record that a notification was delivered."""
        self._sent.append(notification_id)

    def flush(self) -> None:
        """Write notifications and deliveries."""
        if self._new:
            self._transaction.record_notifications(self._new, delivered=not self._calls)
        if self._sent:
            self._transaction.mark_notified(self._sent)


def _id(event: AnyEvent) -> str:
    """Return the notification's id. It is unambiguous although order ids may contain colons: topics contain none."""
    part = event.part
    return composite_key(event.order_id, event.topic, part) if part else f"{event.order_id}:{event.topic}"


def _kind(notification_id: str) -> str:
    """Return the topic in a notification's id."""
    fields = key_fields(notification_id)
    return str(fields[1]) if fields is not None else notification_id.rpartition(":")[2]


def payment_outcome(event: PaymentOutcome, work: NotificationWork) -> None:
    """Notify of a payment's outcome."""
    work.notify(
        Notification(
            _id(event), event.order_id, event.user_id, event.topic, event.amount, reason=event.reason, at=work.now
        )
    )


def order_confirmed(event: OrderConfirmed, work: NotificationWork) -> None:
    """Notify that the order will be shipped."""
    terms = event.terms
    work.notify(
        Notification(
            _id(event), event.order_id, terms.user_id, event.topic, terms.total, None, terms.metadata, work.now
        )
    )


def order_ended(event: OrderEnd, work: NotificationWork) -> None:
    """Notify that the order won't be shipped."""
    work.notify(
        Notification(
            _id(event),
            event.order_id,
            event.user_id,
            event.topic,
            event.total,
            event.reason,
            event.metadata,
            work.now,
        )
    )


def shipped(event: OrderShipped, work: NotificationWork) -> None:
    """Notify of one shipment."""
    work.notify(
        Notification(
            _id(event),
            event.order_id,
            event.user_id,
            event.topic,
            None,
            metadata=event.metadata,
            at=work.now,
            part=event.part,
            items=event.items,
            lines=event.lines,
            carrier=event.carrier,
            tracking_number=event.tracking_number,
        )
    )


def refund_paid(event: PaymentRefundPaid, work: NotificationWork) -> None:
    """Notify of one refund, once it is paid."""
    work.notify(
        Notification(
            _id(event),
            event.order_id,
            event.user_id,
            event.topic,
            event.amount,
            metadata=event.metadata,
            at=work.now,
            part=event.part,
            items=event.items,
        )
    )


def completed(event: OrderCompleted, work: NotificationWork) -> None:
    """Notify that every unit was shipped or cancelled."""
    work.notify(
        Notification(
            _id(event),
            event.order_id,
            event.user_id,
            event.topic,
            event.total,
            metadata=event.metadata,
            at=work.now,
            items=event.items,
        )
    )


ROUTES: Mapping[str, Handler[NotificationWork]] = {
    PaymentSucceeded.topic: cast("Handler[NotificationWork]", payment_outcome),
    PaymentFailed.topic: cast("Handler[NotificationWork]", payment_outcome),
    PaymentVoided.topic: cast("Handler[NotificationWork]", payment_outcome),
    PaymentRefunded.topic: cast("Handler[NotificationWork]", payment_outcome),
    OrderConfirmed.topic: cast("Handler[NotificationWork]", order_confirmed),
    OrderCancelled.topic: cast("Handler[NotificationWork]", order_ended),
    OrderRejected.topic: cast("Handler[NotificationWork]", order_ended),
    OrderShipped.topic: cast("Handler[NotificationWork]", shipped),
    PaymentRefundPaid.topic: cast("Handler[NotificationWork]", refund_paid),
    OrderCompleted.topic: cast("Handler[NotificationWork]", completed),
}


@attrs.frozen
class Deliveries:
    """Task NOTIFY: passes notifications to the notifier, repeats with back-off for 24 h, then parks them.

    Without a notifier, tasks that were created while there was one end with a log line.
    """

    store: NotificationStore
    notifier: Notifier | None
    new_id: Callable[[], str]

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Return one delivery for each task; none without a notifier."""
        if self.notifier is None:
            return {}
        notifications = self.store.notifications_by_id([task.key for task in tasks])
        return {key: partial(self.notifier.send, one) for key, one in notifications.items()}

    def load(self, work: NotificationWork, tasks: Sequence[Task]) -> None:
        """Lock nothing."""

    def finish(self, work: NotificationWork, ended: Ended[Task]) -> Postponed | None:
        """Record the delivery, postpone it, or park it with an alert."""
        task = ended.token
        if ended.error is None:
            work.sent(task.key)
            order_id, kind = order_of(task.kind, task.key), _kind(task.key)
            work.changes.note("Notification sent", order_id=order_id, kind=kind)
            return None
        if isinstance(ended.error, Permanent) or work.now - task.created_at >= GIVE_UP_AFTER:
            work.changes.parked.append(self._dead_letter(task, ended.error, work.now))
            work.changes.alerts.append(("notification parked", {"notification": task.key}))
            return None
        return Postponed(
            task,
            next_try(work.now, task.attempts, longest_s=LONGEST_WAIT_S),
            note=type(ended.error).__name__,
        )

    def _dead_letter(self, task: Task, error: Exception, now: datetime) -> DeadLetter:
        return task_letter(task, Failure(error, task.attempts, now), GROUP, self.new_id())


def notification_service(
    store: NotificationStore, clock: Clock, notifier: Notifier | None, new_id: Callable[[], str]
) -> Service[NotificationWork]:
    """Make the notification service. Without a notifier, notifications are only logged."""

    def open_work(transaction: Transaction) -> NotificationWork:
        return NotificationWork(cast("NotificationTransaction", transaction), clock.now(), calls=notifier is not None)

    return Service(
        "notification",
        GROUP,
        store,
        ROUTES,
        open_work,
        {TaskKind.NOTIFY: Deliveries(store, notifier, new_id)},
        extension="notifier",
    )
