"""Handlers of shipments and refunds, one method for each route: from request to use case, from result to response."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from oms.bootstrap.app import App
from oms.domain.refund import Instruction
from oms.entrypoints.http import part_views
from oms.entrypoints.http.body import read_body
from oms.entrypoints.http.part_bodies import read_instruction, read_refund, read_shipment
from oms.entrypoints.http.request import Handler, Request
from oms.entrypoints.http.request_waits import RequestWaits
from oms.entrypoints.http.responses import Response, json
from oms.entrypoints.http.routes import Allowed, may
from oms.entrypoints.http.views import order_view
from oms.ports.extensions import Principal


class PartHandlers:
    """The handlers of what happens to an order after its confirmation."""

    def __init__(self, app: App, waits: RequestWaits) -> None:
        self._app, self._waits = app, waits
        self._spring = app.settings.http_compat == "spring"

    def by_route(self) -> Mapping[str, Handler]:
        """The handlers by the names of their routes."""
        return {
            "shipOrder": self.ship,
            "listShipments": self.list_shipments,
            "refundOrder": self.refund,
            "listRefunds": self.list_refunds,
            "retryPayment": partial(self.instruct, Instruction.RETRY),
            "resolvePayment": partial(self.instruct, Instruction.RESOLVE),
        }

    async def ship(self, request: Request, caller: Principal) -> Response:
        """POST /orders/{id}/shipments."""
        command = read_shipment(request.path_id, await read_body(request, required=False))
        use_case = self._app.orders.ship_order
        async with self._waits.context(request, caller, "ship") as context:
            shipment = await self._waits.reply(partial(use_case.submit, command, context))
        return json(part_views.shipment_view(shipment), 201)

    async def list_shipments(self, request: Request, caller: Principal) -> Response:
        """GET /orders/{id}/shipments."""
        order = await self._waits.read(lambda: self._app.orders.get(request.path_id, caller=caller))
        return json(part_views.shipment_views(order))

    async def refund(self, request: Request, caller: Principal) -> Response:
        """POST /orders/{id}/refunds."""
        command = read_refund(request.path_id, await read_body(request), self._app.currency)
        use_case = self._app.orders.refund_order
        async with self._waits.context(request, caller, "refund") as context:
            refund = await self._waits.reply(partial(use_case.submit, command, context))
        return json(part_views.refund_view(refund, refund.state), 201)

    async def list_refunds(self, request: Request, caller: Principal) -> Response:
        """GET /orders/{id}/refunds."""
        order = await self._waits.read(lambda: self._app.orders.get(request.path_id, caller=caller))
        return json(part_views.refund_views(order, for_operator=may(caller, Allowed.OPERATORS)))

    async def instruct(self, what: Instruction, request: Request, caller: Principal) -> Response:
        """POST /orders/{id}/payment/retry and /orders/{id}/payment/resolve."""
        command = read_instruction(what, request.path_id, await read_body(request))
        use_case = self._app.orders.instruct_payment
        async with self._waits.context(request, caller, f"payment.{what.value}") as context:
            order = await self._waits.reply(partial(use_case.submit, command, context))
        return json(order_view(order, spring=self._spring, for_operator=True), 202)
