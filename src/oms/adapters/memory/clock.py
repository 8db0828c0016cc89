"""A clock and ids that a test controls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock(Clock):
    """A clock that only `advance` and `set` move."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward; returns the new time."""
        self._now += by
        return self._now

    def set(self, now: datetime) -> None:
        """Set the clock, also to an earlier time."""
        self._now = now.astimezone(UTC)


class CountedIds(Ids):
    """Ids from a counter. Order ids look like version 7 UUIDs. Each `source` makes different ids."""

    def __init__(self, source: int = 0) -> None:
        self._source = source
        self._orders = 0
        self._tokens = 0

    def order_id(self) -> OrderId:
        self._orders += 1
        return OrderId(str(UUID(int=(0x7000 << 64) | (0x8000 | self._source) << 48 | self._orders)))

    def token(self) -> str:
        self._tokens += 1
        return f"{self._source:x}-{self._tokens:08x}"
