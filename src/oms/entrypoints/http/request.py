"""The request that the handlers receive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope

from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.responses import Response
from oms.ports.extensions import Principal

_SINGLE = frozenset({
    "authorization",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "origin",
    "sec-fetch-site",
    "x-api-key",
})  # fmt: skip
"""Headers that may have only one value. With two, a proxy could check one, and this server could use the other."""


class Request:
    """An ASGI request. Its headers are decoded once, because every request reads several."""

    __slots__ = ("caller", "headers", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1").strip(" \t")
            for name, value in reversed([*scope["headers"]])
        }
        """Headers by name in lower case, without blanks around the value; the first value of a repeated name."""
        self.caller: Principal | None = None
        """Set when the caller has been authenticated."""

    def check_headers(self) -> None:
        """Raise `HttpProblem` (400) if a header that may have only one value is repeated."""
        if len(self.headers) == len(self.scope["headers"]):
            return
        counts = Counter(name.decode("latin-1") for name, _ in self.scope["headers"])
        repeated = sorted(name for name in _SINGLE if counts[name] > 1)
        if repeated:
            raise HttpProblem("repeated_header", f"the header {repeated[0]} comes {counts[repeated[0]]} times")

    @property
    def client(self) -> str:
        """The address of the connection's other end, which may be a proxy; empty if the ASGI server gives none."""
        address = self.scope.get("client")
        return str(address[0]) if address else ""

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The path parameters by name."""
        found: Mapping[str, Any] = self.scope["path_params"]
        return found

    @property
    def path_id(self) -> str:
        """The path parameter `id`."""
        found: str = self.path_params["id"]
        return found

    @property
    def trace(self) -> str | None:
        """The header `traceparent`."""
        return self.headers.get("traceparent")

    @property
    def query_params(self) -> Mapping[str, str]:
        """The query parameters by name."""
        return QueryParams(self.scope["query_string"])


Handler = Callable[[Request, Any], Awaitable[Response]]
"""Handles the requests of one route. The second argument is the `Principal`; None for an anonymous caller."""
