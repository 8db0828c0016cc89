"""The HTTP API, to be served or mounted."""

from __future__ import annotations

from oms.entrypoints.http.server import asgi

__all__ = ["asgi"]
