"""Request heads and responses as bytes: the checks of a head, its form without an upgrade, and the last response."""

from __future__ import annotations

from collections.abc import Sequence

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.responses import Response

HeaderLines = Sequence[tuple[bytes, bytes]]
"""(name in lower case, value) pairs."""

_UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})


def head_without_upgrade(method: bytes, target: bytes, version: bytes, headers: HeaderLines) -> bytes:
    """Return the head of a request without its request for an upgrade."""
    lines = [b"%b %b HTTP/%b" % (method, target, version)]
    lines += [
        b"%b: %b" % (name, _without_upgrade(value) if name == b"connection" else value)
        for name, value in headers
        if name not in _UPGRADE_HEADERS
    ]
    return b"\r\n".join([*lines, b"", b""])


def _without_upgrade(options: bytes) -> bytes:
    return b",".join(option for option in options.split(b",") if option.strip().lower() not in _UPGRADE_HEADERS)


def check_version(version: str, headers: HeaderLines) -> None:
    """Raise `HttpProblem` unless the version is 1.1, or 1.0 without a transfer encoding."""
    if version != "1.1" and (version != "1.0" or any(name == b"transfer-encoding" for name, _ in headers)):
        raise HttpProblem("malformed_request", "the version must be HTTP/1.1, or HTTP/1.0 with a Content-Length")


def path_of(target: bytes, headers: HeaderLines) -> bytes:
    """Return the path and query of a target with a host, `http://host/path`.

    Raises `HttpProblem` unless it is the host of the Host header (RFC 9112, section 3.2.2).
    """
    scheme, _, rest = target.partition(b"://")
    authority, _, path = rest.partition(b"/")
    hosts = [value.strip().lower() for name, value in headers if name == b"host"]
    if scheme.lower() not in (b"http", b"https") or [authority.lower()] != hosts:
        raise HttpProblem("malformed_request", "the target must be a path on the host of the Host header")
    return b"/" + path


def parser_error_detail(error: httptools.HttpParserError) -> str:
    """Return the parser's description of an error, for the client."""
    if isinstance(error, httptools.HttpParserCallbackError):
        return "the target of the request can't be read"
    return str(error)


def closing_response(response: Response) -> bytes:
    """Return a complete response as bytes, with the header `Connection: close`."""
    lines = [b"%b: %b\r\n" % header for header in response.header_lines()]
    return b"".join([STATUS_LINE[response.status], *lines, b"connection: close\r\n\r\n", response.body])
