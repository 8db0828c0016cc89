"""Under which names a server that trusts whoever reaches it may be asked.

Any web page can have its own name point to 127.0.0.1 (DNS rebinding). Its visitor's browser then takes the server on
that machine for the page's own site and lets the page read and change everything. The `Host` header gives it away: a
page can choose where its name points to, but not the name that the browser asks for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from oms.entrypoints.http.problems import CODES, problem

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:,\s]+)(?::[0-9]{1,5})?")


@lru_cache(maxsize=100)
def is_local(host: str, own: str) -> bool:
    """Whether a `Host` header names this machine: `localhost`, a loopback address, or `own`, the bound one.

    Any port will do: a tunnel's is another than the server's, and a page can't choose more than the port either.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].strip("[]").lower()
    return name in ("localhost", own.lower()) or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


class LocalNames:
    """Lets only requests through that ask for this machine by name; the others get 421 and reach nothing."""

    def __init__(self, app: ASGIApp, own: str) -> None:
        self._app, self._own = app, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and not self._allows([value for name, value in scope["headers"] if name == b"host"]):
            status, detail = CODES["wrong_host"]
            await problem(status, "wrong_host", detail)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allows(self, hosts: Sequence[bytes]) -> bool:
        return len(hosts) == 1 and is_local(hosts[0].decode("latin-1"), self._own)
