"""The host's clock."""

from __future__ import annotations

from datetime import UTC, datetime

from oms.ports.clock import Clock


class SystemClock(Clock):
    """The time of this host."""

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)
