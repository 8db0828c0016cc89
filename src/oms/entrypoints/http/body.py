"""Reads a request's body, counted while it streams: no header is believed."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from oms.entrypoints.http.problems import HttpProblem

MAX_BODY_BYTES = 64 * 1024


async def read_body(request: Request, *, required: bool = True) -> bytes:
    """The body, of JSON's media type and at most 64 KiB."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise HttpProblem(413, "body_too_large", f"a body is at most {MAX_BODY_BYTES} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise HttpProblem(400, "disconnected", "the body didn't come to its end") from None
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if (size or required) and kind != "application/json" and not kind.endswith("+json"):
        raise HttpProblem(415, "unsupported_media_type", "the body must be application/json")
    return b"".join(parts)
