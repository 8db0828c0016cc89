"""Checks before every handler: headers, host, origin, authentication, rate limit, and who may call the route."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import monotonic

from oms.bootstrap.app import App
from oms.domain.errors import OmsError
from oms.engine.call_health import count_error
from oms.entrypoints.http.host_guard import HostGuard
from oms.entrypoints.http.problems import HttpProblem, response_to
from oms.entrypoints.http.rate_limit import RateLimit
from oms.entrypoints.http.request import Request
from oms.entrypoints.http.request_waits import RequestWaits
from oms.entrypoints.http.routes import Allowed, Route, may
from oms.ports.errors import Retryable
from oms.ports.extensions import Authentication, Authenticator, Principal, Role

CREDENTIALS = ("authorization", "x-api-key", "cookie")
"""A caller that sends none of these headers is anonymous on routes for anybody."""


class AccessChecks:
    """The checks of one app."""

    def __init__(self, app: App, waits: RequestWaits) -> None:
        self._app, self._waits = app, waits
        authentication = app.authentication
        self._may_block = authentication is Authentication.HOST
        self._host_guard = HostGuard(app.settings) if authentication is Authentication.NONE else None
        per_second = app.settings.rate_limit
        self._rate_limit = RateLimit(per_second) if per_second else None

    async def caller(self, request: Request, route: Route) -> Principal | None:
        """Return the caller if the request is allowed, or None if it is anonymous; else raise `HttpProblem`."""
        request.check_headers()
        if self._host_guard is not None and not route.any_host:
            self._host_guard.check(request)
        headers = request.headers
        if route.changes:
            _refuse_other_sites(headers)
        if route.allowed is Allowed.ANYBODY:
            return await self._identified(request) if route.identifies else None
        caller = await self._authenticated(request)
        if caller is None:
            raise HttpProblem("not_authenticated", "a valid API key is needed", {"WWW-Authenticate": "Bearer"})
        if not may(caller, route.allowed):
            raise HttpProblem("not_allowed", f"this is for {route.allowed.value}")
        return caller

    async def _identified(self, request: Request) -> Principal | None:
        """Return the caller on a route for anybody; None if it is anonymous or can't be authenticated."""
        try:
            if self._host_guard is not None:  # else a web page under another name could read the details
                self._host_guard.check(request)
            elif not any(name in request.headers for name in CREDENTIALS):
                return None  # a probe mustn't wait for a shop's own authenticator
            return await self._authenticated(request)
        except (HttpProblem, OmsError):
            return None

    async def _authenticated(self, request: Request) -> Principal | None:
        """Authenticate the request and apply the caller's rate limit; None for an unknown caller."""
        headers, authenticator = request.headers, self._app.authenticator  # a restarted app has made another one
        if self._may_block:  # a shop's own authenticator may query a database
            caller = await self._called(authenticator, headers)
        else:
            caller = authenticator.authenticate(headers)
        request.caller = caller
        if self._rate_limit is not None:
            _refuse_too_many(self._rate_limit, request, caller)
        return caller

    async def _called(self, authenticator: Authenticator, headers: Mapping[str, str]) -> Principal | None:
        """Call a shop's own authenticator. Its errors are logged; unexpected ones become `Retryable` (503)."""
        try:
            return await self._waits.extension("authenticator", lambda: authenticator.authenticate(headers))
        except Exception as error:
            count_error(self._app.telemetry, "authenticator", type(error).__name__)
            self._app.telemetry.failure("caller not authenticated", error, extension="authenticator")
            if response_to(error) is not None:
                raise
            raise Retryable("the authenticator failed") from error


def _refuse_too_many(limit: RateLimit, request: Request, caller: Principal | None) -> None:
    """Raise `HttpProblem` (429) above the rate limit of the customer, the operator's credential, or the address."""
    if caller is None or caller.role is Role.TRUSTED:
        name = f"address:{request.client}"
    elif caller.owner is None and caller.credential is not None:
        name = f"credential:{caller.credential}"
    else:
        name = caller.scope
    wait_s = limit.wait_s(name, monotonic())
    if wait_s:
        retry = {"Retry-After": str(math.ceil(wait_s))}
        raise HttpProblem("too_many_requests", "too many requests; come again later", retry)


def _refuse_other_sites(headers: Mapping[str, str]) -> None:
    """Raise `HttpProblem` (403) if a page of another site sent the request.

    Browsers send some POSTs of other sites' pages without a preflight, and a server on loopback trusts every caller.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != headers.get("host")
    if foreign:
        raise HttpProblem("cross_origin", "a page of another site may not request changes")
