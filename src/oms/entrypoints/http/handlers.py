"""One method for each route: request to command, result to answer. The names are those of the route table."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TypeVar

import msgspec

from oms.application.use_cases.commands import MAX_PAGE, MAX_PAGE_NUMBER
from oms.bootstrap.app import App
from oms.domain import commands
from oms.domain.errors import InvalidValue
from oms.domain.money import Money
from oms.domain.values import OrderId, checked_id
from oms.entrypoints.http import shapes, views
from oms.entrypoints.http.body import read_body, read_place, read_typed, whole
from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.request import Request
from oms.entrypoints.http.request_waits import Waiting
from oms.entrypoints.http.responses import Answer, json
from oms.entrypoints.http.routes import Allowed, may
from oms.ports.extensions import Principal, Role
from oms.ports.stores.rows import DeadLetterState

T = TypeVar("T")

MAX_LETTERS = 1000
OVERLOADED_RETRY_S = 10

_cancel = msgspec.json.Decoder(shapes.CancelOrder)
_set = msgspec.json.Decoder(shapes.SetStockBody)
_add = msgspec.json.Decoder(shapes.AddStockBody)


class Handlers:
    """The API of one app."""

    def __init__(self, app: App, waiting: Waiting) -> None:
        self._app, self._waiting = app, waiting
        self._read = waiting.read
        self._spring = app.settings.http_compat == "spring"

    # -- orders

    async def place_order(self, request: Request, caller: Principal) -> Answer:
        """POST /orders."""
        self._refuse_overload()
        body, amount, lines = read_place(await read_body(request), spring=self._spring)
        if self._spring:
            lines = {sku: units for sku, units in lines.items() if units != 0}
        total = Money.rounded(amount, self._app.currency) if self._spring else self._app.money(amount)
        command = commands.PlaceOrder.of(body.user_id, total, lines, body.metadata)
        orders = self._app.orders
        async with self._turn(request, caller, "place") as key:
            agree = partial(orders.agree, command, caller, key)
            agreed = await self._agreed(agree) if orders.asks_the_shop else agree()
            trace = request.headers.get("traceparent")
            order = await self._waiting.ask(*orders.placing(command, agreed, caller=caller, key=key, trace=trace))
        view = views.order_view(order, spring=self._spring)
        if self._spring:
            return json(view)
        return json(view, 201, {"Location": f"{request.scope.get('root_path', '')}/orders/{order.id}"})

    async def list_orders(self, request: Request, caller: Principal) -> Answer:
        """GET /orders."""
        number, size = _paging(request)
        user = request.query_params.get("userId")
        page = await self._read(lambda: self._app.orders.page(number, size, user_id=user, caller=caller))
        return json(views.order_page(page, spring=self._spring))

    async def get_order(self, request: Request, caller: Principal) -> Answer:
        """GET /orders/{id}."""
        order = await self._read(lambda: self._app.orders.get(_id(request), caller=caller))
        return json(views.order_view(order, spring=self._spring))

    async def get_timeline(self, request: Request, caller: Principal) -> Answer:
        """GET /orders/{id}/timeline."""
        entries = await self._read(lambda: self._app.orders.timeline(_id(request), caller=caller))
        return json([views.timeline_entry(entry) for entry in entries])

    async def cancel_order(self, request: Request, caller: Principal) -> Answer:
        """POST /orders/{id}/cancel."""
        order_id = OrderId(checked_id(_id(request), name="orderId"))
        body = await read_body(request, required=False)
        asked = read_typed(_cancel, body) if body else shapes.CancelOrder()
        by_operator = asked.by == "operator" if asked.by else caller.role is Role.OPERATOR
        command = commands.CancelOrder(order_id, by_operator)
        orders, trace = self._app.orders, request.headers.get("traceparent")
        order = await self._command(
            request, caller, "cancel", lambda key: orders.submit_cancel(command, caller=caller, key=key, trace=trace)
        )
        return json(views.order_view(order, spring=self._spring), 202)

    async def resume_order(self, request: Request, caller: Principal) -> Answer:
        """POST /orders/{id}/resume."""
        trace = request.headers.get("traceparent")
        order = await self._waiting.answer(self._app.orders.submit_resume(_id(request), caller=caller, trace=trace))
        return json(views.order_view(order, spring=self._spring), 202)

    # -- stock

    async def list_stock(self, request: Request, _caller: Principal) -> Answer:
        """GET /stock."""
        number, size = _paging(request)
        return json(views.stock_page(await self._read(lambda: self._app.stock.page(number, size))))

    async def rebuild_gate(self, _request: Request, _caller: Principal) -> Answer:
        """POST /gate/rebuild."""
        return json(shapes.GateView(await self._read(self._app.stock.rebuild_gate)))

    async def get_stock(self, request: Request, _caller: Principal) -> Answer:
        """GET /stock/{sku}."""
        stock = await self._read(lambda: self._app.stock.get(_sku(request)))
        return json(views.stock_view(stock))

    async def set_stock(self, request: Request, caller: Principal) -> Answer:
        """PUT /stock/{sku}."""
        asked = read_typed(_set, await read_body(request))
        command = commands.SetStock.of(_sku(request), whole(asked.on_hand, "onHand"))
        desk = self._app.stock
        stock = await self._command(
            request, caller, "stock.set", lambda key: desk.submit_set(command, caller=caller, key=key)
        )
        return json(views.stock_view(stock))

    async def add_stock(self, request: Request, caller: Principal) -> Answer:
        """POST /stock/{sku}/add."""
        asked = read_typed(_add, await read_body(request))
        command = commands.AddStock.of(_sku(request), whole(asked.delta, "delta"))
        desk = self._app.stock
        stock = await self._command(
            request, caller, "stock.add", lambda key: desk.submit_add(command, caller=caller, key=key)
        )
        return json(views.stock_view(stock))

    # -- dead letters

    async def list_dead_letters(self, request: Request, _caller: Principal) -> Answer:
        """GET /dead-letters."""
        state = request.query_params.get("state", DeadLetterState.PARKED.value)
        if state not in shapes.LETTER_STATES:
            raise InvalidValue("invalid_state", f"state is one of {', '.join(shapes.LETTER_STATES)}")
        service = request.query_params.get("service")
        if service is not None:
            checked_id(service, name="service")
        limit = _number(request, "limit", 100, MAX_LETTERS, least=1)
        desk = self._app.dead_letters
        found = await self._read(lambda: desk.page(DeadLetterState(state), service=service, limit=limit))
        return json([views.dead_letter_summary(owner, letter) for owner, letter in found])

    async def get_dead_letter(self, request: Request, _caller: Principal) -> Answer:
        """GET /dead-letters/{id}."""
        return await self._dead_letter(request)

    async def redrive_dead_letter(self, request: Request, _caller: Principal) -> Answer:
        """POST /dead-letters/{id}/redrive."""
        return await self._end_dead_letter(request, self._app.dead_letters.submit_redrive)

    async def discard_dead_letter(self, request: Request, _caller: Principal) -> Answer:
        """POST /dead-letters/{id}/discard."""
        return await self._end_dead_letter(request, self._app.dead_letters.submit_discard)

    # -- for operators

    async def health(self, _request: Request, _caller: Principal | None) -> Answer:
        """GET /healthz."""
        return json(shapes.Health("up"))

    async def ready(self, _request: Request, caller: Principal | None) -> Answer:
        """GET /readyz."""
        is_operator = caller is not None and may(caller, Allowed.OPERATORS)
        report = self._app.health()
        return json(views.readiness(report, details=is_operator), 503 if report.not_ready else 200)

    async def metrics(self, _request: Request, _caller: Principal | None) -> Answer:
        """GET /metrics."""
        return Answer(self._app.metrics(), media="text/plain; version=0.0.4; charset=utf-8")

    # -- inside

    async def _agreed(self, agree: Callable[[], T]) -> T:
        return await self._waiting.extension("pricing and policy", agree)

    async def _dead_letter(self, request: Request) -> Answer:
        letter_id = checked_id(_id(request), name="id")
        owner, letter = await self._read(lambda: self._app.dead_letters.get(letter_id))
        return json(views.dead_letter_view(owner, letter))

    async def _end_dead_letter(self, request: Request, submit: Callable[[str], Future[T]]) -> Answer:
        letter_id = checked_id(_id(request), name="id")
        future = await self._read(lambda: submit(letter_id))  # it looks up whose the letter is
        await self._waiting.answer(future)
        return await self._dead_letter(request)

    def _refuse_overload(self) -> None:
        """An order that couldn't settle in its time anyway is refused while there is time for another shop."""
        if self._app.oldest_work_s() > self._app.settings.order_deadline_s / 4:
            retry = {"Retry-After": str(OVERLOADED_RETRY_S)}
            raise HttpProblem("overloaded", "orders are waiting too long already", retry)

    async def _command(
        self, request: Request, caller: Principal, route: str, submit: Callable[[str | None], Future[T]]
    ) -> T:
        async with self._turn(request, caller, route) as key:
            return await self._waiting.answer(submit(key))

    def _turn(self, request: Request, caller: Principal, route: str) -> AbstractAsyncContextManager[str | None]:
        """The request's idempotency key, while no other request of this caller and route has it."""
        key = request.headers.get("idempotency-key")
        return nullcontext() if key is None else self._waiting.turn((caller.scope, route, key))


def _id(request: Request) -> str:
    found: str = request.path_params["id"]
    return found


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
