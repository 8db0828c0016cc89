"""One function for each route: request to command, result to response. The names are those of the route table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from oms.domain import commands
from oms.domain.errors import InvalidValue
from oms.domain.values import OrderId, checked_id
from oms.entrypoints.app import App
from oms.entrypoints.http import shapes
from oms.entrypoints.http.body import read_body
from oms.entrypoints.http.problems import HttpProblem
from oms.ports.plugs import Principal, Role
from oms.ports.store import DeadLetterState

T = TypeVar("T")

IN_FLIGHT_S = 5.0
READERS = 4

_cancel = msgspec.json.Decoder(shapes.CancelOrder)
_set = msgspec.json.Decoder(shapes.SetStock)
_add = msgspec.json.Decoder(shapes.AddStock)


class Handlers:
    """The API of one app. Reads run on a few threads of their own; commands join the service's next group."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._readers = ThreadPoolExecutor(READERS, "oms-http")
        self._in_flight: dict[tuple[str, str, str], asyncio.Event] = {}

    # -- orders

    async def place_order(self, request: Request, caller: Principal) -> Response:
        """POST /orders."""
        self._refuse_overload()
        body, lines = shapes.read_place(await read_body(request))
        spring = self._app.settings.http_compat == "spring"
        if spring:
            lines = [(sku, units) for sku, units in lines if units != 0]
        command = commands.PlaceOrder.of(body.user_id, self._app.money(body.amount), lines, body.metadata)
        orders = self._app.orders
        if orders.asks_the_shop:
            agreed = await self._read(lambda: orders.agree(command, caller))
        else:
            agreed = orders.agree(command, caller)
        order = await self._keyed(
            request,
            caller,
            lambda key: orders.submit_agreed(command, agreed, caller=caller, key=key),
        )
        headers = {} if spring else {"Location": f"{request.scope.get('root_path', '')}/orders/{order.id}"}
        return _json(shapes.order_view(order), 200 if spring else 201, headers)

    async def list_orders(self, request: Request, caller: Principal) -> Response:
        """GET /orders."""
        number, size = _paging(request)
        user = request.query_params.get("userId")
        page = await self._read(lambda: self._app.orders.page(number, size, user_id=user, caller=caller))
        pages = -(-page.total // size)
        content = [shapes.order_view(order) for order in page.content]
        return _json(
            shapes.OrderPage(
                content,
                not content,
                number == 0,
                number >= pages - 1,
                number,
                len(content),
                shapes.Pageable(number * size, number, size),
                size,
                shapes.Sort(),
                page.total,
                pages,
            )
        )

    async def get_order(self, request: Request, caller: Principal) -> Response:
        """GET /orders/{id}."""
        order = await self._read(lambda: self._app.orders.get(_id(request), caller=caller))
        return _json(shapes.order_view(order))

    async def get_timeline(self, request: Request, caller: Principal) -> Response:
        """GET /orders/{id}/timeline."""
        entries = await self._read(lambda: self._app.orders.timeline(_id(request), caller=caller))
        return _json([shapes.timeline_entry(entry) for entry in entries])

    async def cancel_order(self, request: Request, caller: Principal) -> Response:
        """POST /orders/{id}/cancel."""
        order_id = OrderId(checked_id(_id(request), name="orderId"))
        body = await read_body(request, required=False)
        asked = shapes.decode(_cancel, body) if body else shapes.CancelOrder()
        operator = asked.by == "operator" if asked.by else caller.role is Role.OPERATOR
        command = commands.CancelOrder(order_id, operator)
        order = await self._keyed(
            request, caller, lambda key: self._app.orders.submit_cancel(command, caller=caller, key=key)
        )
        return _json(shapes.order_view(order), 202)

    # -- stock

    async def list_stock(self, request: Request, _caller: Principal) -> Response:
        """GET /stock."""
        number, size = _paging(request)
        page = await self._read(lambda: self._app.stock.page(number, size))
        content = [shapes.stock_view(stock) for stock in page.content]
        return _json(shapes.StockPage(content, number, size, page.total))

    async def get_stock(self, request: Request, _caller: Principal) -> Response:
        """GET /stock/{sku}."""
        stock = await self._read(lambda: self._app.stock.get(request.path_params["sku"]))
        return _json(shapes.stock_view(stock))

    async def set_stock(self, request: Request, caller: Principal) -> Response:
        """PUT /stock/{sku}."""
        asked = shapes.decode(_set, await read_body(request))
        command = commands.SetStock.of(request.path_params["sku"], asked.on_hand)
        stock = await self._keyed(
            request, caller, lambda key: self._app.stock.submit_set(command, caller=caller, key=key)
        )
        return _json(shapes.stock_view(stock))

    async def add_stock(self, request: Request, caller: Principal) -> Response:
        """POST /stock/{sku}/add."""
        asked = shapes.decode(_add, await read_body(request))
        command = commands.AddStock.of(request.path_params["sku"], asked.delta)
        stock = await self._keyed(
            request, caller, lambda key: self._app.stock.submit_add(command, caller=caller, key=key)
        )
        return _json(shapes.stock_view(stock))

    # -- dead letters

    async def list_dead_letters(self, request: Request, _caller: Principal) -> Response:
        """GET /dead-letters."""
        name = request.query_params.get("state", DeadLetterState.PARKED.value)
        if name not in DeadLetterState.__members__:
            raise InvalidValue("invalid_state", f"state is one of {', '.join(DeadLetterState.__members__)}")
        limit = _number(request, "limit", 100, 1000)
        service = request.query_params.get("service")
        found = await self._read(
            lambda: self._app.dead_letters.page(DeadLetterState[name], service=service, limit=limit)
        )
        return _json([shapes.dead_letter_view(owner, letter) for owner, letter in found])

    async def get_dead_letter(self, request: Request, _caller: Principal) -> Response:
        """GET /dead-letters/{id}."""
        return await self._dead_letter(_id(request))

    async def redrive_dead_letter(self, request: Request, _caller: Principal) -> Response:
        """POST /dead-letters/{id}/redrive."""
        letter_id = checked_id(_id(request), name="id")
        future = await self._read(lambda: self._app.dead_letters.submit_redrive(letter_id))
        await asyncio.wrap_future(future)
        return await self._dead_letter(letter_id)

    async def discard_dead_letter(self, request: Request, _caller: Principal) -> Response:
        """POST /dead-letters/{id}/discard."""
        letter_id = checked_id(_id(request), name="id")
        future = await self._read(lambda: self._app.dead_letters.submit_discard(letter_id))
        await asyncio.wrap_future(future)
        return await self._dead_letter(letter_id)

    # -- for operators

    async def health(self, _request: Request, _caller: Principal | None) -> Response:
        """GET /healthz."""
        return _json(shapes.Health("up"))

    async def ready(self, _request: Request, _caller: Principal | None) -> Response:
        """GET /readyz."""
        problems = list(await self._read(self._app.problems))
        return _json(shapes.Health("not ready" if problems else "ready", problems), 503 if problems else 200)

    # -- inside

    async def _dead_letter(self, letter_id: str) -> Response:
        checked_id(letter_id, name="id")
        owner, letter = await self._read(lambda: self._app.dead_letters.get(letter_id))
        return _json(shapes.dead_letter_view(owner, letter))

    def _refuse_overload(self) -> None:
        """Orders that couldn't be settled in their time anyway are refused while there is time for another shop."""
        if self._app.oldest_work_s() > self._app.settings.order_deadline_s / 4:
            raise HttpProblem(503, "overloaded", "orders are waiting too long already", {"Retry-After": "10"})

    def _read(self, call: Callable[[], T]) -> Coroutine[Any, Any, T]:
        async def run() -> T:
            return await asyncio.get_running_loop().run_in_executor(self._readers, call)

        return run()

    async def _keyed(self, request: Request, caller: Principal, submit: Callable[[str | None], Future[T]]) -> T:
        """Run a command; a request with the same key that is under way is waited for, 5 s at most."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return await asyncio.wrap_future(submit(None))
        name = (caller.scope, request.url.path, key)
        while (other := self._in_flight.get(name)) is not None:
            try:
                await asyncio.wait_for(other.wait(), IN_FLIGHT_S)
            except TimeoutError:
                detail = "a request with this Idempotency-Key is still under way"
                raise HttpProblem(409, "request_in_flight", detail) from None
        done = self._in_flight[name] = asyncio.Event()
        try:
            return await asyncio.wrap_future(submit(key))
        finally:
            del self._in_flight[name]
            done.set()


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(shapes.encode(value), status, headers, media_type="application/json")


def _id(request: Request) -> str:
    found: str = request.path_params["id"]
    return found


def _paging(request: Request) -> tuple[int, int]:
    return _number(request, "page", 0, 10**6), _number(request, "size", 10, 100, least=1)


def _number(request: Request, name: str, default: int, most: int, *, least: int = 0) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most:
        return int(text)
    raise InvalidValue(f"invalid_{name}", f"{name} must be a whole number from {least} to {most}")
