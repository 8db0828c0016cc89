"""The HTTP API: an ASGI application that `oms serve` runs, or that a host application mounts."""

from __future__ import annotations

from oms.entrypoints.http.server import asgi

__all__ = ["asgi"]
