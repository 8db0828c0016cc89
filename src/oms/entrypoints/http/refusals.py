"""Counts and logs the requests that were refused because of their caller: 401, 403 and 429."""

from __future__ import annotations

from oms.entrypoints.http.problems import CODES
from oms.entrypoints.http.rate_limit import RateLimit
from oms.entrypoints.http.request import Request
from oms.ports.extensions import Principal
from oms.ports.telemetry import Telemetry

STATUSES = frozenset({401, 403, 429})
LINES_PER_S = 10
"""Most log lines per second, so that a client that is refused often can't fill the log."""

BY_THE_SHOP = "refused_by_shop"
"""The counter's label for all codes of a shop's own pricing and policy, whose number isn't limited."""


class Refusals:
    """The refused requests of one app."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lines = RateLimit(LINES_PER_S)
        self._unlogged = 0

    def refused(self, request: Request, route: str, code: str, caller: Principal | None, now: float) -> None:
        """Count a request in `oms_http_refused_total`, and log it unless this second's lines are used up."""
        self._telemetry.count("http_refused", code=code if code in CODES else BY_THE_SHOP)
        if self._lines.wait_s("", now):
            self._unlogged += 1
            return
        fields: dict[str, object] = {"code": code, "route": route, "client": request.client}
        if caller is not None:
            fields |= {"role": caller.role.value, "user": caller.user_id}
            if caller.credential is not None:
                fields["credential"] = caller.credential
        if self._unlogged:
            fields["unlogged_before"], self._unlogged = self._unlogged, 0
        self._telemetry.failure("request refused", None, **fields)
