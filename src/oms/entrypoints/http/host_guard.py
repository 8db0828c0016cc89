"""Protection against DNS rebinding for servers that trust every caller.

A web page can have its own name resolve to the address of such a server. Its visitor's browser then takes the server
for the page's own site, and the page can read and change everything. The `Host` header reveals the page's name,
because the browser sets it and no page can change it. An IP address in `Host` was never resolved, so the address at
which a request arrived is always allowed; probes and scrapers use it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

from starlette.types import Scope

from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.request import Request
from oms.settings.settings import ANY_HOST, Settings

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:,@/?#\s]+)(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


@lru_cache(maxsize=100)
def name_of(host: str) -> str | None:
    """Return the host of a `Host` header in lower case, without its port; None for an invalid header.

    Any port is allowed: a tunnel's or a container's differs from the server's, and a page gains nothing by choosing it.
    """
    found = _HOST.fullmatch(host)
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        return None
    return _plain(found["name"])


def _plain(name: str) -> str:
    """Normalise a name or address: lower case, no brackets, IPv6 addresses in their short form."""
    bare = name.strip("[]").lower()
    return str(ip_address(bare)) if _is_address(bare) else bare


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class HostGuard:
    """Allows requests whose `Host` is one of `OMS_HTTP_HOSTS`, the bound host, or the address they arrived at."""

    def __init__(self, settings: Settings) -> None:
        self._any = ANY_HOST in settings.http_hosts
        self._names = frozenset(map(_plain, (*settings.http_hosts, settings.http_host)))

    def check(self, request: Request) -> None:
        """Raise `HttpProblem` (421) for another host. `X-Forwarded-Host` and similar headers are ignored."""
        if self._any:
            return
        name = name_of(request.headers.get("host", ""))
        if name is None or (name not in self._names and name != _address_arrived_at(request.scope)):
            raise HttpProblem("wrong_host", "the Host header is none of OMS_HTTP_HOSTS")


def _address_arrived_at(scope: Scope) -> str | None:
    """Return the server's own address; None if the ASGI server gives none, or gives a name from the request."""
    server = scope.get("server")
    return _plain(server[0]) if server and _is_address(server[0]) else None
