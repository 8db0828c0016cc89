"""Every route in one table: routing, authorisation, the OpenAPI document and the tests' matrix are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import attrs

from oms.entrypoints.http import shapes
from oms.entrypoints.http.problems import CODES
from oms.ports.extensions import Principal, Role
from oms.settings import Settings


class Allowed(Enum):
    """Who may call a route."""

    ANYBODY = "anybody"
    CALLERS = "authenticated callers; a customer's own orders only"
    READERS = "authenticated callers"
    OPERATORS = "operators"


_ROLES: Mapping[Allowed, frozenset[Role]] = {
    Allowed.CALLERS: frozenset(Role),
    Allowed.READERS: frozenset(Role),
    Allowed.OPERATORS: frozenset({Role.OPERATOR, Role.TRUSTED}),
}


def may(principal: Principal, allowed: Allowed) -> bool:
    """Whether a caller may call a route at all."""
    return allowed is Allowed.ANYBODY or principal.role in _ROLES[allowed]


_BODY = (
    "malformed_json", "disconnected", "body_too_large", "unsupported_media_type", "invalid_body", "repeated_name",
)  # fmt: skip
_KEYED = ("invalid_idempotency_key", "idempotency_key_reused", "request_in_flight")
_QUERY = {"userId": "invalid_id", "service": "invalid_id"}


@attrs.frozen(kw_only=True)
class Route:
    """One operation. Nothing has a default that says who may call it, so a route without a policy fails at import.

    `problems` are the codes that its own logic answers with; `codes` adds those that come with its kind.
    """

    method: str
    path: str
    name: str
    summary: str
    service: str = attrs.field(validator=attrs.validators.in_(("order", "inventory", "any")))
    allowed: Allowed = attrs.field(validator=attrs.validators.instance_of(Allowed))
    ok: int = 200
    answer: Any
    media: str = "application/json"
    body: Any = None
    body_required: bool = True
    query: tuple[str, ...] = ()
    keyed: bool = False
    any_host: bool = False
    """Whether a server that trusts every caller answers under any `Host`: for probes, which may send none."""

    identifies: bool = False
    """Whether it shows more to a caller that proves who it is, where anybody may call it."""

    reads: bool = True
    """Whether it asks a store, which may be out of reach."""

    unready: int | None = None
    """Another status with the same kind of answer."""

    problems: tuple[str, ...] = ()
    details: str = ""

    @property
    def changes(self) -> bool:
        """Whether it is a command."""
        return self.method != "GET"

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of the variable parts of its path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code that it can answer with, sorted by status."""
        found = {"internal_error", "repeated_header", *self.problems}
        found |= {_QUERY.get(name, f"invalid_{name}") for name in self.query}
        for applies, codes in (
            (not self.any_host, ("wrong_host",)),
            (self.allowed is not Allowed.ANYBODY, ("not_authenticated", "too_many_requests")),
            (self.allowed is Allowed.OPERATORS, ("not_allowed",)),
            (self.changes, ("cross_origin", "outcome_unknown")),
            (self.reads, ("unavailable",)),
            (self.path_names, ("invalid_id",)),
            (self.body is not None, _BODY),
            (self.keyed, _KEYED),
        ):
            if applies:
                found.update(codes)
        return tuple(sorted(found, key=lambda code: (CODES[code][0], code)))


_PAGING = ("page", "size")
_TEXT = "text/plain"

METRICS = "/metrics"

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST", path="/orders", name="placeOrder", summary="Place an order", service="order",
        allowed=Allowed.CALLERS, ok=201, answer=shapes.OrderView, body=shapes.PlaceOrder, keyed=True,
        problems=("not_your_user", "invalid_id", "no_items", "too_many_items", "invalid_quantity", "invalid_amount",
                  "invalid_metadata", "metadata_too_large", "overloaded"),
        details="The order is durable when this answers; what becomes of it shows in its status. A shop's own pricing "
                "and policy may refuse with codes of their own.",
    ),
    Route(
        method="GET", path="/orders", name="listOrders", summary="List orders, the newest first", service="order",
        allowed=Allowed.CALLERS, answer=shapes.OrderPage, query=("userId", *_PAGING),
        details="A customer gets own orders only, whatever `userId` says.",
    ),
    Route(
        method="GET", path="/orders/{id}", name="getOrder", summary="Show an order", service="order",
        allowed=Allowed.CALLERS, answer=shapes.OrderView, problems=("order_not_found",),
    ),
    Route(
        method="GET", path="/orders/{id}/timeline", name="getTimeline", service="order",
        summary="Show what the order service did and heard of an order",
        allowed=Allowed.CALLERS, answer=list[shapes.TimelineEntry], problems=("order_not_found",),
    ),
    Route(
        method="POST", path="/orders/{id}/cancel", name="cancelOrder", summary="Cancel an order", service="order",
        allowed=Allowed.CALLERS, ok=202, answer=shapes.OrderView, body=shapes.CancelOrder, body_required=False,
        keyed=True, problems=("operators_only", "order_not_found", "order_settled", "order_legacy"),
        details="Accepted: the order ends CANCELLED as soon as its money is settled. Only an operator can cancel a "
                "confirmed one; it is refunded and restocked.",
    ),
    Route(
        method="POST", path="/orders/{id}/resume", name="resumeOrder", summary="Resume an imported order",
        service="order", allowed=Allowed.OPERATORS, ok=202, answer=shapes.OrderView,
        problems=("order_not_found", "order_settled"),
        details="Accepted: an order of the system replaced (LEGACY) goes on as if it were placed now, and is charged. "
                "Safe to repeat: an order that goes on already stays as it is.",
    ),
    Route(
        method="GET", path="/stock", name="listStock", summary="List products", service="inventory",
        allowed=Allowed.READERS, answer=shapes.StockPage, query=_PAGING,
    ),
    Route(
        method="GET", path="/stock/{sku}", name="getStock", summary="Show a product", service="inventory",
        allowed=Allowed.READERS, answer=shapes.StockView, problems=("product_not_found",),
    ),
    Route(
        method="PUT", path="/stock/{sku}", name="setStock", summary="Count a product", service="inventory",
        allowed=Allowed.OPERATORS, answer=shapes.StockView, body=shapes.SetStock, keyed=True,
        problems=("invalid_units", "stock_below_held"),
        details="So many units are on hand. Refused below what is held for open orders.",
    ),
    Route(
        method="POST", path="/stock/{sku}/add", name="addStock", summary="Receive or write off units",
        service="inventory", allowed=Allowed.OPERATORS, answer=shapes.StockView, body=shapes.AddStock, keyed=True,
        problems=("invalid_units", "stock_below_held"),
        details="So many units came or, negative, were lost.",
    ),
    Route(
        method="POST", path="/gate/rebuild", name="rebuildGate", summary="Rebuild the stock gate from the ledger",
        service="inventory", allowed=Allowed.OPERATORS, answer=shapes.GateView, problems=("no_gate",),
        details="The one repair of a drift between gate and ledger. Orders wait for it; nothing is guessed meanwhile.",
    ),
    Route(
        method="GET", path="/dead-letters", name="listDeadLetters", summary="List what couldn't be handled",
        service="any", allowed=Allowed.OPERATORS, answer=list[shapes.DeadLetterSummary],
        query=("state", "service", "limit"), details="The oldest first.",
    ),
    Route(
        method="GET", path="/dead-letters/{id}", name="getDeadLetter", summary="Show a dead letter", service="any",
        allowed=Allowed.OPERATORS, answer=shapes.DeadLetterView, problems=("dead_letter_not_found",),
    ),
    Route(
        method="POST", path="/dead-letters/{id}/redrive", name="redriveDeadLetter", service="any",
        summary="Handle a dead letter once more", allowed=Allowed.OPERATORS, answer=shapes.DeadLetterView,
        problems=("dead_letter_not_found", "dead_letter_ended", "redrive_failed", "content_not_kept"),
        details="The same message through the same handler. Where it fails again nothing has changed.",
    ),
    Route(
        method="POST", path="/dead-letters/{id}/discard", name="discardDeadLetter", summary="Give a dead letter up",
        service="any", allowed=Allowed.OPERATORS, answer=shapes.DeadLetterView,
        problems=("dead_letter_not_found", "dead_letter_ended"), details="It stays on record as DISCARDED.",
    ),
    Route(
        method="GET", path="/healthz", name="health", summary="Tell whether the process lives", service="any",
        allowed=Allowed.ANYBODY, answer=shapes.Health, reads=False, any_host=True,
    ),
    Route(
        method="GET", path="/readyz", name="ready", summary="Tell whether it can do its work", service="any",
        allowed=Allowed.ANYBODY, identifies=True, answer=shapes.Readiness, unready=503, any_host=True,
        details="Everybody gets the codes of what fails, an operator the details.",
    ),
    Route(
        method="GET", path=METRICS, name="metrics", summary="Count what happened, for Prometheus", service="any",
        allowed=Allowed.ANYBODY, answer=str, media=_TEXT, reads=False,
    ),
    Route(
        method="GET", path="/openapi.json", name="openapi", summary="Describe the API, for programs", service="any",
        allowed=Allowed.ANYBODY, answer=dict[str, Any], reads=False,
    ),
    Route(
        method="GET", path="/docs", name="docs", summary="Describe the API, for people", service="any",
        allowed=Allowed.ANYBODY, answer=str, media="text/html", reads=False,
    ),
)  # fmt: skip


def routes_of(settings: Settings) -> Sequence[Route]:
    """All routes, with the policies that settings decide about."""
    if settings.metrics_access == "anybody":
        return ROUTES
    return [attrs.evolve(route, allowed=Allowed.OPERATORS) if route.path == METRICS else route for route in ROUTES]
