"""Every route in one table: routing, authorisation, the OpenAPI document and the tests' matrix are made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response

from oms.entrypoints.http import shapes
from oms.ports.plugs import Principal, Role


class Allowed(Enum):
    """Who may call a route."""

    ANYBODY = "anybody"
    CALLERS = "authenticated callers; a customer's own orders only"
    OPERATORS = "operators"


_ROLES = {
    Allowed.CALLERS: frozenset(Role),
    Allowed.OPERATORS: frozenset({Role.OPERATOR, Role.TRUSTED}),
}


def may(principal: Principal, allowed: Allowed) -> bool:
    """Whether a caller may call a route at all."""
    return allowed is Allowed.ANYBODY or principal.role in _ROLES[allowed]


Handler = Callable[[Any, Request, Principal | None], Awaitable[Response]]


@attrs.frozen(kw_only=True)
class Route:
    """One operation. `statuses` are those beside `ok` that its own logic answers with."""

    method: str
    path: str
    name: str
    summary: str
    service: str
    allowed: Allowed
    ok: int
    answer: Any
    body: Any = None
    body_required: bool = True
    query: tuple[str, ...] = ()
    keyed: bool = False
    statuses: tuple[int, ...] = ()


PAGING = ("page", "size")

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST", path="/orders", name="placeOrder", summary="Place an order", service="order",
        allowed=Allowed.CALLERS, ok=201, answer=shapes.OrderView, body=shapes.PlaceOrder, keyed=True,
        statuses=(400, 403, 409, 413, 415, 422, 503),
    ),
    Route(
        method="GET", path="/orders", name="listOrders", summary="List orders, the newest first", service="order",
        allowed=Allowed.CALLERS, ok=200, answer=shapes.OrderPage, query=("userId", *PAGING), statuses=(422,),
    ),
    Route(
        method="GET", path="/orders/{id}", name="getOrder", summary="Show an order", service="order",
        allowed=Allowed.CALLERS, ok=200, answer=shapes.OrderView, statuses=(404, 422),
    ),
    Route(
        method="GET", path="/orders/{id}/timeline", name="getTimeline", service="order",
        summary="What the order service did and heard of an order",
        allowed=Allowed.CALLERS, ok=200, answer=list[shapes.TimelineEntry], statuses=(404, 422),
    ),
    Route(
        method="POST", path="/orders/{id}/cancel", name="cancelOrder", summary="Cancel an order", service="order",
        allowed=Allowed.CALLERS, ok=202, answer=shapes.OrderView, body=shapes.CancelOrder, body_required=False,
        keyed=True, statuses=(400, 403, 404, 409, 413, 415, 422, 503),
    ),
    Route(
        method="GET", path="/stock", name="listStock", summary="List products", service="inventory",
        allowed=Allowed.CALLERS, ok=200, answer=shapes.StockPage, query=PAGING, statuses=(422,),
    ),
    Route(
        method="GET", path="/stock/{sku}", name="getStock", summary="Show a product", service="inventory",
        allowed=Allowed.CALLERS, ok=200, answer=shapes.StockView, statuses=(404, 422),
    ),
    Route(
        method="PUT", path="/stock/{sku}", name="setStock", summary="Count a product", service="inventory",
        allowed=Allowed.OPERATORS, ok=200, answer=shapes.StockView, body=shapes.SetStock, keyed=True,
        statuses=(400, 409, 413, 415, 422, 503),
    ),
    Route(
        method="POST", path="/stock/{sku}/add", name="addStock", summary="Receive or write off units",
        service="inventory", allowed=Allowed.OPERATORS, ok=200, answer=shapes.StockView, body=shapes.AddStock,
        keyed=True, statuses=(400, 409, 413, 415, 422, 503),
    ),
    Route(
        method="GET", path="/dead-letters", name="listDeadLetters", summary="List what couldn't be handled",
        service="any", allowed=Allowed.OPERATORS, ok=200, answer=list[shapes.DeadLetterView],
        query=("state", "service", "limit"), statuses=(422,),
    ),
    Route(
        method="GET", path="/dead-letters/{id}", name="getDeadLetter", summary="Show a dead letter", service="any",
        allowed=Allowed.OPERATORS, ok=200, answer=shapes.DeadLetterView, statuses=(404, 422),
    ),
    Route(
        method="POST", path="/dead-letters/{id}/redrive", name="redriveDeadLetter", service="any",
        summary="Handle a dead letter once more", allowed=Allowed.OPERATORS, ok=200, answer=shapes.DeadLetterView,
        statuses=(404, 409, 422, 503),
    ),
    Route(
        method="POST", path="/dead-letters/{id}/discard", name="discardDeadLetter", summary="Give a dead letter up",
        service="any", allowed=Allowed.OPERATORS, ok=200, answer=shapes.DeadLetterView,
        statuses=(404, 409, 422, 503),
    ),
    Route(
        method="GET", path="/healthz", name="health", summary="Whether the process lives", service="any",
        allowed=Allowed.ANYBODY, ok=200, answer=shapes.Health,
    ),
    Route(
        method="GET", path="/readyz", name="ready", summary="Whether it can do its work", service="any",
        allowed=Allowed.ANYBODY, ok=200, answer=shapes.Health, statuses=(503,),
    ),
)  # fmt: skip
