"""Limits of the HTTP server for clients that haven't authenticated yet."""

from __future__ import annotations

import resource

import attrs

from oms.settings import Settings

RESERVED_DESCRIPTORS = 256
"""File descriptors kept for stores, brokers, gateway calls and log files: 64 + 32 calls and a few pools by default."""

FEWEST_CONNECTIONS = 16


@attrs.frozen(kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds; docs/settings.md describes each (`OMS_HTTP_...`)."""

    connections: int
    head_bytes: int
    head_s: float
    body_s: float
    send_s: float
    keep_alive_s: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the configured limits; the number of connections stays below the process's limit of descriptors."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        available = settings.http_connections
        if descriptors != resource.RLIM_INFINITY:
            available = max(FEWEST_CONNECTIONS, descriptors - RESERVED_DESCRIPTORS)
        return cls(
            connections=min(settings.http_connections, available),
            head_bytes=settings.http_head_bytes,
            head_s=settings.http_head_s,
            body_s=settings.http_body_s,
            send_s=settings.http_send_s,
            keep_alive_s=settings.http_keep_alive_s,
        )
