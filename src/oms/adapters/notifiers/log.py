"""Tells nobody but the log, whose line the notification service writes for every notification."""

from __future__ import annotations

from oms.ports.plugs import Notification, Notifier


class LogNotifier(Notifier):
    """Always delivers: the line `Notification sent` in the log is the delivery."""

    def send(self, notification: Notification) -> None:
        """Nothing beyond the log's line."""
