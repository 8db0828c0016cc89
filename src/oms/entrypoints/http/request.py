"""A request as the handlers see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope


class Request:
    """What a request says. Its headers are read once: several are asked for, and each look went through all of them."""

    __slots__ = ("headers", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed([*scope["headers"]])
        }
        """By name in lower case; of a name that comes twice, the first."""

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The variable parts of the path."""
        found: Mapping[str, Any] = self.scope["path_params"]
        return found

    @property
    def query_params(self) -> Mapping[str, str]:
        """What comes behind the path."""
        return QueryParams(self.scope["query_string"])
