"""Checks the answers of a notifier."""

from __future__ import annotations

from typing import Any

import attrs

from oms.application.extensions.calling import returns_none
from oms.ports.extensions import Notification, Notifier


@attrs.frozen
class CheckedNotifier(Notifier):
    """A notifier that has delivered only where it returns None."""

    inner: Notifier

    def send(self, notification: Notification) -> None:
        """Deliver it. `WrongAnswer`, which parks it at once, for any other answer than None."""
        returns_none("notifier.send", self.inner.send, notification)

    def close(self) -> None:
        """Close the notifier, where it can be closed."""
        close: Any = getattr(self.inner, "close", None)
        if close is not None:
            close()
