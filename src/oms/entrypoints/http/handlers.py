"""One method for each route, named as in the route table: from request to use case, from result to response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from oms.application.use_cases.place_order import Quote
from oms.application.use_cases.requests import MAX_PAGE, MAX_PAGE_NUMBER, RequestContext
from oms.bootstrap.app import App
from oms.domain import commands
from oms.domain.errors import InvalidValue
from oms.domain.order import Order
from oms.domain.values import OrderId, checked_id
from oms.engine.command_groups import Reply
from oms.entrypoints.http import shapes, views
from oms.entrypoints.http.body import read_body, read_typed, whole
from oms.entrypoints.http.order_body import read_order, read_spring_order
from oms.entrypoints.http.part_handlers import PartHandlers
from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.request import Handler, Request
from oms.entrypoints.http.request_waits import RequestWaits
from oms.entrypoints.http.responses import Response, json
from oms.entrypoints.http.routes import Allowed, may
from oms.ports.extensions import Principal, Role
from oms.ports.stores.rows import DeadLetterState

MAX_LETTERS = 1000
OVERLOADED_RETRY_S = 10

_cancel = msgspec.json.Decoder(shapes.CancelOrder)
_set = msgspec.json.Decoder(shapes.SetStockBody)
_add = msgspec.json.Decoder(shapes.AddStockBody)


class Handlers:
    """The handlers of one app."""

    def __init__(self, app: App, waits: RequestWaits) -> None:
        self._app, self._waits = app, waits
        self._read = waits.read
        self._spring = app.settings.http_compat == "spring"
        self._read_order = read_spring_order if self._spring else read_order

    def by_route(self) -> Mapping[str, Handler]:
        """The handlers by the names of their routes."""
        return {
            "placeOrder": self.place_order,
            "listOrders": self.list_orders,
            "getOrder": self.get_order,
            "getTimeline": self.get_timeline,
            "cancelOrder": self.cancel_order,
            "resumeOrder": self.resume_order,
            **PartHandlers(self._app, self._waits).by_route(),
            "listStock": self.list_stock,
            "rebuildGate": self.rebuild_gate,
            "getStock": self.get_stock,
            "setStock": self.set_stock,
            "addStock": self.add_stock,
            "listDeadLetters": self.list_dead_letters,
            "getDeadLetter": self.get_dead_letter,
            "redriveDeadLetter": self.redrive_dead_letter,
            "discardDeadLetter": self.discard_dead_letter,
            "health": self.health,
            "ready": self.ready,
            "metrics": self.metrics,
        }

    # -- orders

    async def place_order(self, request: Request, caller: Principal) -> Response:
        """POST /orders."""
        self._refuse_overload()
        command = self._read_order(await read_body(request), self._app.currency)
        use_case = self._app.orders.place_order
        async with self._waits.context(request, caller, "place") as context:
            quote_order = partial(use_case.quote, command, context)
            quote = await self._extension(quote_order) if use_case.quote_may_block else quote_order()
            order = await self._waits.reply(partial(use_case.submit, quote))
        view = self._view(order, caller)
        if self._spring:
            return json(view)
        return json(view, 201, {"Location": f"{request.scope.get('root_path', '')}/orders/{order.id}"})

    async def list_orders(self, request: Request, caller: Principal) -> Response:
        """GET /orders."""
        number, size = _paging(request)
        user = request.query_params.get("userId")
        return await self._read(lambda: self._page(number, size, user, caller))

    async def get_order(self, request: Request, caller: Principal) -> Response:
        """GET /orders/{id}."""
        order = await self._read(lambda: self._app.orders.get(request.path_id, caller=caller))
        return json(self._view(order, caller))

    async def get_timeline(self, request: Request, caller: Principal) -> Response:
        """GET /orders/{id}/timeline."""
        entries = await self._read(lambda: self._app.orders.timeline(request.path_id, caller=caller))
        for_operator = _is_operator(caller)
        return json([views.timeline_entry(entry, for_operator=for_operator) for entry in entries])

    async def cancel_order(self, request: Request, caller: Principal) -> Response:
        """POST /orders/{id}/cancel."""
        order_id = OrderId(checked_id(request.path_id, name="orderId"))
        body = await read_body(request, required=False)
        options = read_typed(_cancel, body) if body else shapes.CancelOrder()
        by_operator = options.by == "operator" if options.by else caller.role is Role.OPERATOR
        command = commands.CancelOrder(order_id, by_operator)
        use_case = self._app.orders.cancel_order
        async with self._waits.context(request, caller, "cancel") as context:
            order = await self._waits.reply(partial(use_case.submit, command, context))
        return json(self._view(order, caller), 202)

    async def resume_order(self, request: Request, caller: Principal) -> Response:
        """POST /orders/{id}/resume."""
        context = RequestContext(caller, trace=request.trace)
        order = await self._waits.reply(partial(self._app.orders.resume_order.submit, request.path_id, context))
        return json(self._view(order, caller), 202)

    # -- stock

    async def list_stock(self, request: Request, _caller: Principal) -> Response:
        """GET /stock."""
        number, size = _paging(request)
        return json(views.stock_page(await self._read(lambda: self._app.stock.page(number, size))))

    async def rebuild_gate(self, _request: Request, _caller: Principal) -> Response:
        """POST /gate/rebuild."""
        return json(shapes.GateView(await self._read(self._app.stock.rebuild_gate)))

    async def get_stock(self, request: Request, _caller: Principal) -> Response:
        """GET /stock/{sku}."""
        stock = await self._read(lambda: self._app.stock.get(_sku(request)))
        return json(views.stock_view(stock))

    async def set_stock(self, request: Request, caller: Principal) -> Response:
        """PUT /stock/{sku}."""
        change = read_typed(_set, await read_body(request))
        command = commands.SetStock.of(_sku(request), whole(change.on_hand, "onHand"))
        async with self._waits.context(request, caller, "stock.set") as context:
            stock = await self._waits.reply(partial(self._app.stock.submit_set, command, context))
        return json(views.stock_view(stock))

    async def add_stock(self, request: Request, caller: Principal) -> Response:
        """POST /stock/{sku}/add."""
        change = read_typed(_add, await read_body(request))
        command = commands.AddStock.of(_sku(request), whole(change.delta, "delta"))
        async with self._waits.context(request, caller, "stock.add") as context:
            stock = await self._waits.reply(partial(self._app.stock.submit_add, command, context))
        return json(views.stock_view(stock))

    # -- dead letters

    async def list_dead_letters(self, request: Request, _caller: Principal) -> Response:
        """GET /dead-letters."""
        state = request.query_params.get("state", DeadLetterState.PARKED.value)
        if state not in shapes.LETTER_STATES:
            raise InvalidValue("invalid_state", f"state is one of {', '.join(shapes.LETTER_STATES)}")
        service = request.query_params.get("service")
        if service is not None:
            checked_id(service, name="service")
        limit = _number(request, "limit", 100, MAX_LETTERS, least=1)
        dead_letters = self._app.dead_letters
        found = await self._read(lambda: dead_letters.page(DeadLetterState(state), service=service, limit=limit))
        return json([views.dead_letter_summary(owner, letter) for owner, letter in found])

    async def get_dead_letter(self, request: Request, _caller: Principal) -> Response:
        """GET /dead-letters/{id}."""
        return await self._dead_letter(request)

    async def redrive_dead_letter(self, request: Request, _caller: Principal) -> Response:
        """POST /dead-letters/{id}/redrive."""
        return await self._end_dead_letter(request, self._app.dead_letters.submit_redrive)

    async def discard_dead_letter(self, request: Request, _caller: Principal) -> Response:
        """POST /dead-letters/{id}/discard."""
        return await self._end_dead_letter(request, self._app.dead_letters.submit_discard)

    # -- for operators

    async def health(self, _request: Request, _caller: Principal | None) -> Response:
        """GET /healthz."""
        return json(shapes.Health("up"))

    async def ready(self, _request: Request, caller: Principal | None) -> Response:
        """GET /readyz."""
        report = self._app.health()
        return json(views.readiness(report, details=_is_operator(caller)), 503 if report.not_ready else 200)

    async def metrics(self, _request: Request, _caller: Principal | None) -> Response:
        """GET /metrics."""
        return Response(self._app.metrics(), media="text/plain; version=0.0.4; charset=utf-8")

    # -- internals

    def _page(self, number: int, size: int, user: str | None, caller: Principal) -> Response:
        """Return a page of orders. It runs on a reader thread: orders with hundreds of parts take time to encode."""
        page = self._app.orders.page(number, size, user_id=user, caller=caller)
        return json(views.order_page(page, spring=self._spring, for_operator=_is_operator(caller)))

    def _view(self, order: Order, caller: Principal) -> shapes.OrderView:
        return views.order_view(order, spring=self._spring, for_operator=_is_operator(caller))

    async def _extension(self, quote_order: Callable[[], Quote]) -> Quote:
        return await self._waits.extension("pricing and policy", quote_order)

    async def _dead_letter(self, request: Request) -> Response:
        letter_id = checked_id(request.path_id, name="id")
        owner, letter = await self._read(lambda: self._app.dead_letters.get(letter_id))
        return json(views.dead_letter_view(owner, letter))

    async def _end_dead_letter(self, request: Request, submit: Callable[[str, str, Reply], None]) -> Response:
        letter_id = checked_id(request.path_id, name="id")
        service, _ = await self._read(lambda: self._app.dead_letters.get(letter_id))
        await self._waits.reply(partial(submit, service, letter_id))
        return await self._dead_letter(request)

    def _refuse_overload(self) -> None:
        """Refuse an order at once if, because of the backlog, it probably couldn't settle before its deadline."""
        if self._app.oldest_work_s() > self._app.settings.order_deadline_s / 4:
            retry = {"Retry-After": str(OVERLOADED_RETRY_S)}
            raise HttpProblem("overloaded", "orders are waiting too long already", retry)


def _is_operator(caller: Principal | None) -> bool:
    return caller is not None and may(caller, Allowed.OPERATORS)


def _sku(request: Request) -> str:
    found: str = request.path_params["sku"]
    return found


def _paging(request: Request) -> tuple[int, int]:
    return _number(request, "page", 0, MAX_PAGE_NUMBER), _number(request, "size", 10, MAX_PAGE, least=1)


def _number(request: Request, name: str, default: int, most: int, *, least: int = 0) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most:
        return int(text)
    raise InvalidValue(f"invalid_{name}", f"{name} must be a whole number from {least} to {most}")
