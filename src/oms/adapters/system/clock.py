"""The host's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from oms.ports.clock import Clock


class SystemClock(Clock):
    """The time of this host."""

    def __init__(self) -> None:
        self._began_at, self._began_s = datetime.now(UTC), time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> datetime:
        """When this was made, and the seconds since."""
        return self._began_at + timedelta(seconds=time.monotonic() - self._began_s)
