"""Checks the answers of a notifier."""

from __future__ import annotations

from typing import Any

import attrs

from oms.application.extensions.calling import returns_none
from oms.ports.extensions import Notification, Notifier


@attrs.frozen
class CheckedNotifier(Notifier):
    """A shop's notifier; a delivery counts only if the notifier returns None."""

    inner: Notifier

    def send(self, notification: Notification) -> None:
        """Deliver a notification. Raises `WrongAnswer`, which parks it at once, if the notifier doesn't return None."""
        returns_none("notifier.send", self.inner.send, notification)

    def close(self) -> None:
        """Close the notifier if it has a `close`."""
        close: Any = getattr(self.inner, "close", None)
        if close is not None:
            close()
