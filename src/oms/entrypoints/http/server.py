"""The ASGI application: one way through for every request, whatever it meets on it."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from oms.bootstrap.app import App
from oms.domain.errors import DomainError, OmsError
from oms.domain.text import storable_text
from oms.engine.call_health import count_error
from oms.entrypoints.http.description import Description
from oms.entrypoints.http.handlers import Handlers
from oms.entrypoints.http.host_guard import HostGuard
from oms.entrypoints.http.problems import HttpProblem, problem, response_to
from oms.entrypoints.http.rate_limit import RateLimit
from oms.entrypoints.http.refusals import STATUSES as REFUSED_STATUSES
from oms.entrypoints.http.refusals import Refusals
from oms.entrypoints.http.request import Request
from oms.entrypoints.http.request_waits import RequestWaits
from oms.entrypoints.http.responses import SAFE_HEADERS, Response
from oms.entrypoints.http.routes import Allowed, Route, may, routes_of
from oms.ports.errors import Retryable
from oms.ports.extensions import Authentication, Authenticator, Principal, Role

SERVICES = ("order", "inventory")

CREDENTIALS = ("authorization", "x-api-key", "cookie")
"""Headers without any of which a caller is a stranger to routes that anybody may call."""

Handler = Callable[[Request, Principal | None], Awaitable[Response]]


def asgi(app: App, services: Collection[str] | None = None, *, run: bool = False) -> Starlette:
    """The API of a system, to be served or mounted.

    `services` names the services whose routes the API has: "order", "inventory", or both. The default is those that
    run in this process. Health, metrics, dead letters and documentation are always there. A request for a route of
    another service gets 404.
    It starts and stops nothing, unless `run`: then the ASGI server's lifespan starts and stops the app. (A mounted
    application gets no lifespan: its host calls `app.start()` and `app.stop()`.)
    """
    if services is None:
        services = [name for name in SERVICES if name in app.services]
    unknown = set(services) - set(SERVICES)
    if unknown:
        raise ValueError(f"there are no routes of {sorted(unknown)}; services are {list(SERVICES)}")
    chosen = [route for route in routes_of(app.settings) if route.service in (*services, "any")]
    waits = RequestWaits(app.settings.call_limit_s(), app.telemetry.alert, app.health_record.of("http"))
    gate = _Gate(app, waits)
    tables = (Handlers(app, waits), Description(chosen, app))
    paths: dict[str, dict[str, _Endpoint]] = {}
    for route in chosen:
        paths.setdefault(route.path, {})[route.method] = _Endpoint(route, _handler(route, tables), gate)
    endpoints = {path: _Methods(methods) for path, methods in paths.items()}
    made = _Api(
        {path: methods for path, methods in endpoints.items() if "{" not in path},
        routes=[StarletteRoute(path, methods) for path, methods in endpoints.items()],
        exception_handlers={404: _nothing_here},
        lifespan=_running(app) if run else None,
    )
    made.state.waits = waits
    made.router.redirect_slashes = False  # a redirect would trust the Host header
    return made


class _Api(Starlette):
    """Has a shorter way for paths without variable parts: three layers and a search less, an eighth of a request.

    Nothing that an endpoint answers needs those layers. A host application's middleware does, and gets all requests.
    """

    def __init__(self, plain: Mapping[str, ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._plain = plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope["type"] == "http" and not scope.get("root_path") and not self.user_middleware
        endpoint = self._plain.get(scope["path"]) if known else None
        await (endpoint or super().__call__)(scope, receive, send)


def _running(app: App) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_made: Starlette) -> AsyncIterator[None]:
        with app:
            yield

    return lifespan


def _handler(route: Route, tables: Collection[object]) -> Handler:
    """The method that is named like the route, in snake_case; a route without one fails here, at the start."""
    name = re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found.group(1).lower(), route.name)
    found: Handler = next(getattr(table, name) for table in tables if hasattr(table, name))
    return found


class _Gate:
    """Checks that come before every handler: headers, host, origin, authentication, and who may call the route."""

    def __init__(self, app: App, waits: RequestWaits) -> None:
        self.app, self._waits = app, waits
        self._authenticator, authentication = app.authenticator, app.authentication
        self._may_block = authentication is Authentication.HOST
        self._host_guard = HostGuard(app.settings) if authentication is Authentication.NONE else None
        self._refusals = Refusals(app.telemetry)
        per_second = app.settings.rate_limit
        self._rate_limit = RateLimit(per_second) if per_second else None

    async def caller(self, request: Request, route: Route) -> Principal | None:
        """The caller, None where anybody may call; else `HttpProblem`."""
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
        """Who a caller is that needn't say it; None also where that can't be known: the route answers nevertheless."""
        try:
            if self._host_guard is not None:  # a page under another name could read what a trusting server shows
                self._host_guard.check(request)
            elif not any(name in request.headers for name in CREDENTIALS):
                return None  # a probe that sends none must not wait for a shop's own authenticator
            return await self._authenticated(request)
        except (HttpProblem, OmsError):
            return None

    async def _authenticated(self, request: Request) -> Principal | None:
        """Who the caller is, within its rate limit."""
        headers = request.headers
        if self._may_block:  # a shop's own may ask a database
            caller = await self._asked(self._authenticator, headers)
        else:
            caller = self._authenticator.authenticate(headers)
        request.caller = caller
        if self._rate_limit is not None:
            _refuse_too_many(self._rate_limit, request, caller)
        return caller

    async def _asked(self, authenticator: Authenticator, headers: Mapping[str, str]) -> Principal | None:
        """Whatever goes wrong in a shop's own authenticator is logged, and the caller may come again: 503."""
        try:
            return await self._waits.extension("authenticator", lambda: authenticator.authenticate(headers))
        except Exception as error:
            count_error(self.app.telemetry, "authenticator", type(error).__name__)
            self.app.telemetry.failure("caller not authenticated", error, extension="authenticator")
            if response_to(error) is not None:
                raise
            raise Retryable("the authenticator failed") from error

    def refused(self, request: Request, route: Route, code: str) -> None:
        """Count and log a request that was refused because of its caller."""
        self._refusals.refused(request, route.name, code, request.caller, monotonic())

    def fault(self, route: Route, error: Exception) -> Response:
        """Tells nobody but the operators what it was."""
        name = str(uuid.uuid4())
        self.app.telemetry.failure("request failed", error, id=name, route=route.name)
        self.app.telemetry.alert("request failed", id=name, route=route.name, cause=_cause(error))
        detail = "something went wrong here; it has been reported"
        return problem(500, "internal_error", detail, instance=f"urn:uuid:{name}")


def _refuse_too_many(limit: RateLimit, request: Request, caller: Principal | None) -> None:
    """Counts a customer by user, an operator by credential, and a caller that proves no identity by address."""
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
    """A browser sends some POSTs without asking first, and a server on loopback trusts whoever reaches it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != headers.get("host")
    if foreign:
        raise HttpProblem("cross_origin", "changes can't be asked for by a page of another site")


def _cause(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {storable_text(error)}{where}"


class _Endpoint:
    """One route: every error on the way becomes a problem."""

    def __init__(self, route: Route, handler: Handler, gate: _Gate) -> None:
        self._route, self._handler, self._gate = route, handler, gate

    async def answer(self, request: Request) -> Response:
        """What the request is answered with; never raises."""
        try:
            return await self._handler(request, await self._gate.caller(request, self._route))
        except Exception as error:  # noqa: BLE001 - reported, and answered with a 500
            answer = response_to(error) or self._gate.fault(self._route, error)
            if answer.status in REFUSED_STATUSES and isinstance(error, (HttpProblem, DomainError)):
                self._gate.refused(request, self._route, error.code)
            return answer


class _Methods:
    """The endpoints of one path; a wrong method is told all that are right."""

    def __init__(self, methods: Mapping[str, _Endpoint]) -> None:
        self._methods = {**methods, **({"HEAD": methods["GET"]} if "GET" in methods else {})}
        self._allow = ", ".join(sorted(self._methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._methods.get(scope["method"])
        if endpoint is None:
            detail = f"this path has {self._allow}"
            answer = problem(405, "method_not_allowed", detail, {"Allow": self._allow})
        else:
            answer = await endpoint.answer(Request(scope, receive))
        await answer(scope, receive, send)


async def _nothing_here(_request: StarletteRequest, _error: Exception) -> StarletteResponse:
    found = problem(404, "no_such_route", "there is nothing at this path")
    return StarletteResponse(found.body, found.status, dict(SAFE_HEADERS), found.media)
