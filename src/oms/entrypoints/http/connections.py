"""The open connections of the HTTP server: their limit, and which one is closed to admit a new one."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Protocol

from oms.entrypoints.http.limits import Limits
from oms.ports.telemetry import Telemetry

REPORT_EVERY_S = 60.0
EXTRA = 32
"""Connections above the limit that may stay open while they are being refused; taken from the reserved descriptors."""


class Limited(Protocol):
    """The methods of a connection that the registry calls."""

    @abstractmethod
    def abort(self) -> None:
        """Close at once, without sending anything more."""

    @abstractmethod
    def close_if_late(self, now: float) -> None:
        """Close if a time limit has passed at `now` (seconds of the event loop's clock)."""


class Connections:
    """All connections of one server. Used on the event loop's thread only."""

    def __init__(self, limits: Limits, telemetry: Telemetry) -> None:
        self.limits = limits
        self._telemetry = telemetry
        self._open: set[Limited] = set()
        self._waiting: dict[Limited, None] = {}
        """Connections that wait for their client, the longest waiting first."""
        self._report_at = 0.0

    def admit(self, new: Limited) -> bool:
        """Register a new connection; False if the limit is reached and every connection has a request in progress.

        At the limit, the connection that has waited longest for its client is closed. So clients that send complete
        requests are admitted, even if other clients hold many connections open.
        """
        self._open.add(new)
        if len(self._open) > self.limits.connections:
            self._report()
            longest = next(iter(self._waiting), None)
            if longest is None:
                return False
            self.works(longest)
            longest.abort()
        self._waiting[new] = None
        return True

    @property
    def crowded(self) -> bool:
        """Whether so many connections are being refused that a further one gets no response."""
        return len(self._open) > self.limits.connections + EXTRA

    def waits(self, connection: Limited) -> None:
        """Record that the connection waits for its client."""
        if connection in self._open:
            self._waiting[connection] = None

    def works(self, connection: Limited) -> None:
        """Record that the connection has a complete request, so that it isn't closed in favour of a new one."""
        self._waiting.pop(connection, None)

    def remove(self, connection: Limited) -> None:
        """Remove a closed connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def close_late(self, now: float) -> None:
        """Close every connection that has passed one of its time limits."""
        for connection in tuple(self._open):
            connection.close_if_late(now)

    def refused(self, code: str) -> None:
        """Count a request that was refused before it reached the application."""
        self._telemetry.count("http_refused", code=code)

    def _report(self) -> None:
        self._telemetry.count("http_connection_limit_reached")
        now = time.monotonic()
        if now >= self._report_at:
            self._report_at = now + REPORT_EVERY_S
            self._telemetry.alert("HTTP connection limit reached", limit=self.limits.connections)
