"""The response of a handler, sent without Starlette's layers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from starlette.types import Receive, Scope, Send

from oms.entrypoints.http.shapes import encode

NO_HEADERS: Mapping[str, str] = {}
SAFE_HEADERS: Mapping[str, str] = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_SAFE = tuple((name.encode(), value.encode()) for name, value in SAFE_HEADERS.items())


@attrs.frozen
class Response:
    """A complete response. Its headers forbid caches to store it, and browsers to guess another media type."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = NO_HEADERS
    media: str = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's shape
        """Send the response; a HEAD request gets only the headers."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.header_lines()})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self.body})

    def header_lines(self) -> list[tuple[bytes, bytes]]:
        """Return all headers, with names in lower case."""
        headers = [(b"content-type", self.media.encode()), (b"content-length", b"%d" % len(self.body)), *_SAFE]
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        return headers


def json(value: object, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """Return a value as a JSON response; amounts are numbers."""
    return Response(encode(value), status, headers)
