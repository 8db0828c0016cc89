"""The ASGI application: every request passes the access checks and its handler, and every error becomes a problem."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any

import attrs
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from oms.bootstrap.app import App
from oms.domain.errors import DomainError
from oms.domain.text import storable_text
from oms.entrypoints.http.access import AccessChecks
from oms.entrypoints.http.description import Description
from oms.entrypoints.http.handlers import Handlers
from oms.entrypoints.http.problems import HttpProblem, problem, response_to
from oms.entrypoints.http.refusals import STATUSES as REFUSED_STATUSES
from oms.entrypoints.http.refusals import Refusals
from oms.entrypoints.http.request import Handler, Request
from oms.entrypoints.http.request_waits import RequestWaits
from oms.entrypoints.http.responses import SAFE_HEADERS, Response
from oms.entrypoints.http.routes import Route, routes_of

SERVICES = ("order", "inventory")


def asgi(app: App, services: Collection[str] | None = None, *, run: bool = False) -> Starlette:
    """Return the HTTP API of a system as an ASGI application, to be served or mounted.

    `services` names the services whose routes the API has: "order", "inventory", or both. The default is those that
    run in this process. Health, metrics, dead letters and documentation are always there. A request for a route of
    another service gets 404.
    With `run`, the ASGI server's lifespan starts and stops the app; without it, the caller does. (A mounted application
    gets no lifespan: its host calls `app.start()` and `app.stop()`.)
    """
    if services is None:
        services = [name for name in SERVICES if name in app.services]
    unknown = set(services) - set(SERVICES)
    if unknown:
        raise ValueError(f"there are no routes of {sorted(unknown)}; services are {list(SERVICES)}")
    chosen = [route for route in routes_of(app.settings) if route.service in (*services, "any")]
    waits = RequestWaits(app.settings.call_limit_s(), app.telemetry.alert, app.health_record.of("http"))
    endpoints = _endpoints(app, chosen, waits)
    made = _Api(
        {path: methods for path, methods in endpoints.items() if "{" not in path},
        routes=[StarletteRoute(path, methods) for path, methods in endpoints.items()],
        exception_handlers={404: _nothing_here},
        lifespan=_running(app) if run else None,
    )
    made.state.waits = waits
    made.router.redirect_slashes = False  # a redirect would trust the Host header
    return made


def _endpoints(app: App, routes: Sequence[Route], waits: RequestWaits) -> Mapping[str, _Methods]:
    """Return the endpoints by path; raises `KeyError` for a route without a handler."""
    handlers = {**Handlers(app, waits).by_route(), **Description(routes, app).by_route()}
    access, reports = AccessChecks(app, waits), _Reports(app)
    paths: dict[str, dict[str, _Endpoint]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method] = _Endpoint(route, handlers[route.name], access, reports)
    return {path: _Methods(methods) for path, methods in paths.items()}


class _Api(Starlette):
    """Calls the endpoints of paths without parameters directly, which saves an eighth of a request's time.

    That skips three layers and a search, which the endpoints don't need. A host application's middleware still gets
    all requests.
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


class _Reports:
    """Counts and logs the requests of one app that are refused or fail."""

    def __init__(self, app: App) -> None:
        self._app, self._refusals = app, Refusals(app.telemetry)

    def error(self, request: Request, route: Route, error: Exception) -> Response:
        """Return the response to an error; a refusal because of the caller is counted, a fault raises an alert."""
        response = response_to(error) or self._fault(route, error)
        if response.status in REFUSED_STATUSES and isinstance(error, (HttpProblem, DomainError)):
            self._refusals.refused(request, route.name, error.code, request.caller, monotonic())
        return response

    def _fault(self, route: Route, error: Exception) -> Response:
        """Report an unexpected error; the response names only the report, the log has the error."""
        name = str(uuid.uuid4())
        self._app.telemetry.failure("request failed", error, id=name, route=route.name)
        self._app.telemetry.alert("request failed", id=name, route=route.name, cause=_cause(error))
        detail = "something went wrong here; it has been reported"
        return problem(500, "internal_error", detail, instance=f"urn:uuid:{name}")


def _cause(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {storable_text(error)}{where}"


@attrs.frozen
class _Endpoint:
    """One route: its access checks, its handler, and the response to every error."""

    _route: Route
    _handler: Handler
    _access: AccessChecks
    _reports: _Reports

    async def respond(self, request: Request) -> Response:
        """Return the response; never raises."""
        try:
            return await self._handler(request, await self._access.caller(request, self._route))
        except Exception as error:  # noqa: BLE001 - reported, and the response is 500
            return self._reports.error(request, self._route, error)


class _Methods:
    """The endpoints of one path; the response to another method names all allowed ones."""

    def __init__(self, methods: Mapping[str, _Endpoint]) -> None:
        self._methods = {**methods, **({"HEAD": methods["GET"]} if "GET" in methods else {})}
        self._allow = ", ".join(sorted(self._methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._methods.get(scope["method"])
        if endpoint is None:
            detail = f"this path has {self._allow}"
            response = problem(405, "method_not_allowed", detail, {"Allow": self._allow})
        else:
            response = await endpoint.respond(Request(scope, receive))
        await response(scope, receive, send)


async def _nothing_here(_request: StarletteRequest, _error: Exception) -> StarletteResponse:
    found = problem(404, "no_such_route", "there is nothing at this path")
    return StarletteResponse(found.body, found.status, dict(SAFE_HEADERS), found.media)
