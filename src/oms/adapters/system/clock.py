"""The host's clock, and ids made from it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import uuid_utils

from oms.domain.values import OrderId
from oms.ports.clock import Clock, Ids


class SystemClock(Clock):
    """The time of this host."""

    def __init__(self) -> None:
        self._began_at, self._began_s = datetime.now(UTC), time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> datetime:
        """The time at which this clock was made, plus the seconds since then by the monotonic clock."""
        return self._began_at + timedelta(seconds=time.monotonic() - self._began_s)


class SystemIds(Ids):
    """Version 7 UUIDs: new rows are appended to the end of an index instead of being spread over it.

    uuid_utils makes one, and its text, in a fifth of the time that the standard library takes.
    """

    def order_id(self) -> OrderId:
        return OrderId(str(uuid_utils.uuid7()))

    def token(self) -> str:
        return str(uuid_utils.uuid7())
