"""The ASGI application: one way through for every request, whatever it meets on it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from oms.entrypoints.app import App
from oms.entrypoints.http.handlers import Handlers
from oms.entrypoints.http.openapi import document, render
from oms.entrypoints.http.problems import HttpProblem, answer_of, problem
from oms.entrypoints.http.routes import ROUTES, Allowed, Route, may
from oms.entrypoints.http.shapes import encode
from oms.ports.plugs import Principal

SERVICES = ("order", "inventory")
_SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_PAGE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def asgi(app: App, services: Collection[str] = SERVICES) -> Starlette:
    """The API of a system, to be served or mounted. It starts and stops nothing: that is the app's owner's.

    `services` chooses whose routes there are; health, metrics and documentation are always there.
    """
    handlers = Handlers(app)
    chosen = [route for route in ROUTES if route.service in (*services, "any")]
    described = document(chosen, app.settings)
    page = render(described)
    table = [StarletteRoute(route.path, _endpoint(app, handlers, route), methods=[route.method]) for route in chosen]

    async def metrics(_request: Request) -> Response:
        return Response(app.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8", headers=_SAFE)

    async def openapi(_request: Request) -> Response:
        return Response(encode(described), media_type="application/json", headers=_SAFE)

    async def docs(_request: Request) -> Response:
        return HTMLResponse(page, headers=_PAGE)

    table += [
        StarletteRoute("/metrics", metrics, methods=["GET"]),
        StarletteRoute("/openapi.json", openapi, methods=["GET"]),
        StarletteRoute("/docs", docs, methods=["GET"]),
    ]
    return Starlette(routes=_by_path(table), exception_handlers={HTTPException: _refused})  # type: ignore[dict-item]


def _by_path(table: list[StarletteRoute]) -> list[StarletteRoute]:
    """One route for each path: a wrong method then names all that are right, in `Allow`."""
    paths: dict[str, dict[str, Callable[..., Any]]] = {}
    for route in table:
        methods = paths.setdefault(route.path, {})
        methods.update(dict.fromkeys(sorted(route.methods or ()), route.endpoint))
    return [StarletteRoute(path, _Dispatch(methods)) for path, methods in paths.items()]


class _Dispatch:
    """Calls the endpoint of a request's method."""

    def __init__(self, methods: dict[str, Callable[..., Any]]) -> None:
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._methods.get(scope["method"])
        if endpoint is None:
            allow = {"Allow": ", ".join(sorted(self._methods))} | _SAFE
            response = problem(405, "method_not_allowed", f"{scope['method']} isn't possible here", allow)
        else:
            response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


def _endpoint(app: App, handlers: Handlers, route: Route) -> Callable[[Request], Awaitable[Response]]:
    handler: Callable[[Request, Principal | None], Awaitable[Response]] = getattr(handlers, _snake(route.name))

    async def endpoint(request: Request) -> Response:
        try:
            caller = None if route.allowed is Allowed.ANYBODY else _caller(app, request, route)
            response = await handler(request, caller)
        except Exception as error:  # noqa: BLE001 - answered as what it is; an unexpected one is reported
            found = answer_of(error)
            if found is None:
                app.signals.alarm("request failed", route=route.name, cause=f"{type(error).__name__}: {error}")
                found = problem(500, "internal_error", "something went wrong here; it has been reported")
            response = found
        response.headers.update(_SAFE)
        return response

    return endpoint


def _caller(app: App, request: Request, route: Route) -> Principal:
    caller = app.authenticator.authenticate(request.headers)
    if caller is None:
        raise HttpProblem(401, "not_authenticated", "an API key is needed", {"WWW-Authenticate": "Bearer"})
    if not may(caller, route.allowed):
        raise HttpProblem(403, "not_allowed", f"this is for {route.allowed.value}")
    return caller


async def _refused(_request: Request, _error: HTTPException) -> Response:
    return problem(404, "no_such_route", "there is nothing here", dict(_SAFE))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found.group(1).lower(), name)
