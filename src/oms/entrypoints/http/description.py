"""Serves the API's description as an OpenAPI document and as a web page; both are made on first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from oms.bootstrap.app import App
from oms.entrypoints.http import page
from oms.entrypoints.http.openapi import Json, document
from oms.entrypoints.http.request import Handler, Request
from oms.entrypoints.http.responses import Response, json
from oms.entrypoints.http.routes import Route
from oms.ports.extensions import Principal


class Description:
    """`GET /openapi.json` and `GET /docs` of one app."""

    def __init__(self, routes: Sequence[Route], app: App) -> None:
        self._routes, self._app = routes, app

    def by_route(self) -> Mapping[str, Handler]:
        """The handlers by the names of their routes."""
        return {"openapi": self.openapi, "docs": self.docs}

    async def openapi(self, request: Request, _caller: Principal | None) -> Response:
        """GET /openapi.json. The document's server is the path at which the API is mounted."""
        return json({**self._document, "servers": [{"url": request.scope.get("root_path") or "/"}]})

    async def docs(self, _request: Request, _caller: Principal | None) -> Response:
        """GET /docs. The document as a web page."""
        return Response(self._page, headers={**page.HEADERS}, media="text/html; charset=utf-8")

    @cached_property
    def _document(self) -> Json:
        settings = self._app.settings
        spring = settings.http_compat == "spring"
        return document(self._routes, login=self._app.authentication, currency=self._app.currency, spring=spring)

    @cached_property
    def _page(self) -> bytes:
        return page.render(self._document).encode()
