"""The table of all routes, from which routing, authorisation, the OpenAPI document and the test matrix are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import attrs

from oms.entrypoints.http import part_shapes, shapes
from oms.entrypoints.http.problems import CODES
from oms.ports.extensions import Principal, Role
from oms.settings import Settings


class Allowed(Enum):
    """The callers that may call a route."""

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
    """Whether a caller may call a route."""
    return allowed is Allowed.ANYBODY or principal.role in _ROLES[allowed]


_BODY = (
    "malformed_json", "disconnected", "body_too_large", "unsupported_media_type", "invalid_body", "repeated_name",
)  # fmt: skip
_KEYED = ("invalid_idempotency_key", "idempotency_key_reused", "request_in_flight")
_QUERY = {"userId": "invalid_id", "service": "invalid_id"}


@attrs.frozen(kw_only=True)
class Route:
    """One operation. `allowed` has no default, so a route without a policy fails at import.

    `problems` are the error codes of its use case; `codes` adds those that every route of its kind has.
    """

    method: str
    path: str
    name: str
    summary: str
    service: str = attrs.field(validator=attrs.validators.in_(("order", "inventory", "any")))
    allowed: Allowed = attrs.field(validator=attrs.validators.instance_of(Allowed))
    ok: int = 200
    response: Any
    media: str = "application/json"
    body: Any = None
    body_required: bool = True
    query: tuple[str, ...] = ()
    keyed: bool = False
    any_host: bool = False
    """Whether a server that trusts every caller accepts any `Host` here: for probes, which may send none."""

    identifies: bool = False
    """Whether a route for anybody shows more to authenticated callers."""

    reads: bool = True
    """Whether it reads a store, which may be unreachable."""

    unready: int | None = None
    """A second status with the same kind of response."""

    problems: tuple[str, ...] = ()
    details: str = ""

    @property
    def changes(self) -> bool:
        """Whether the route may change data."""
        return self.method != "GET"

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of its path parameters."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def codes(self) -> tuple[str, ...]:
        """Every error code that the route can return, sorted by status."""
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


_CONFIRMED = ("order_not_found", "order_not_confirmed", "order_completed", "order_settled")
_UNITS = ("no_items", "too_many_items", "invalid_quantity")
_INSTRUCTED = ("order_not_found", "refund_not_found", "nothing_refused", "invalid_text")
_PAGING = ("page", "size")
_TEXT = "text/plain"

METRICS = "/metrics"

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST", path="/orders", name="placeOrder", summary="Place an order", service="order",
        allowed=Allowed.CALLERS, ok=201, response=shapes.OrderView, body=shapes.PlaceOrder, keyed=True,
        problems=("not_your_user", "invalid_id", "no_items", "too_many_items", "invalid_quantity", "invalid_amount",
                  "items_or_lines", "repeated_product", "invalid_text", "amounts_on_some_lines", "too_many_charges",
                  "charges_without_amounts", "amounts_dont_add_up", "invalid_metadata", "metadata_too_large",
                  "overloaded"),
        details="State the units of each product as `items`, or as `lines` with prices and names. The amounts of lines "
                "and charges add up to `amount`, or to the total of the shop's own pricing. The order is durable once "
                "the response is sent; its status shows how it goes on. A shop's own pricing and policy may refuse "
                "with codes of their own.",
    ),
    Route(
        method="GET", path="/orders", name="listOrders", summary="List orders, the newest first", service="order",
        allowed=Allowed.CALLERS, response=shapes.OrderPage, query=("userId", *_PAGING),
        details="A customer gets only their own orders, whatever `userId` says.",
    ),
    Route(
        method="GET", path="/orders/{id}", name="getOrder", summary="Show an order", service="order",
        allowed=Allowed.CALLERS, response=shapes.OrderView, problems=("order_not_found",),
        details="Only operators get the gateway's refusals (`refusal`).",
    ),
    Route(
        method="GET", path="/orders/{id}/timeline", name="getTimeline", service="order",
        summary="Show what the order service did with an order and consumed about it",
        allowed=Allowed.CALLERS, response=list[shapes.TimelineEntry], problems=("order_not_found",),
        details="Only operators get `detail`.",
    ),
    Route(
        method="POST", path="/orders/{id}/cancel", name="cancelOrder", summary="Cancel an order", service="order",
        allowed=Allowed.CALLERS, ok=202, response=shapes.OrderView, body=shapes.CancelOrder, body_required=False,
        keyed=True, problems=("operators_only", "order_not_found", "order_settled", "order_legacy"),
        details="Accepted: the order ends CANCELLED as soon as its money is settled. Only an operator can cancel a "
                "confirmed one; it is refunded and restocked.",
    ),
    Route(
        method="POST", path="/orders/{id}/resume", name="resumeOrder", summary="Resume an imported order",
        service="order", allowed=Allowed.OPERATORS, ok=202, response=shapes.OrderView,
        problems=("order_not_found", "order_settled"),
        details="Accepted: an order imported from the Spring system (LEGACY) goes on as if it were placed now, and is "
                "charged. Safe to repeat: an order that goes on already stays as it is.",
    ),
    Route(
        method="POST", path="/orders/{id}/shipments", name="shipOrder", summary="Ship units of a confirmed order",
        service="order", allowed=Allowed.OPERATORS, ok=201, response=part_shapes.ShipmentView,
        body=part_shapes.ShipOrder, body_required=False, keyed=True,
        problems=(*_CONFIRMED, *_UNITS, "not_enough_units", "too_many_parts", "invalid_text"),
        details="Records a parcel that leaves the warehouse. The order is FULFILLING then, and COMPLETED once every "
                "unit is shipped or cancelled.",
    ),
    Route(
        method="GET", path="/orders/{id}/shipments", name="listShipments", summary="List the shipments of an order",
        service="order", allowed=Allowed.CALLERS, response=list[part_shapes.ShipmentView],
        problems=("order_not_found",), details="The oldest first.",
    ),
    Route(
        method="POST", path="/orders/{id}/refunds", name="refundOrder", summary="Refund units or money of an order",
        service="order", allowed=Allowed.OPERATORS, ok=201, response=part_shapes.RefundView,
        body=part_shapes.RefundOrder, keyed=True,
        problems=(*_CONFIRMED, *_UNITS, "not_enough_units", "too_many_parts", "invalid_text", "invalid_kind",
                  "invalid_amount", "amount_required", "amount_must_be_rest", "refund_exceeds_total",
                  "goodwill_has_no_items"),
        details="The refund is DUE: the payment service calls the gateway afterwards, and the refund is PAID, or "
                "REFUSED until an operator decides. All refunds together never exceed the total. Cancelling the last "
                "open units before the first shipment refunds all that is left.",
    ),
    Route(
        method="GET", path="/orders/{id}/refunds", name="listRefunds", summary="List the refunds of an order",
        service="order", allowed=Allowed.CALLERS, response=list[part_shapes.RefundView],
        problems=("order_not_found",), details="The oldest first. Only operators get `refusal`.",
    ),
    Route(
        method="POST", path="/orders/{id}/payment/retry", name="retryPayment", summary="Retry a refused refund",
        service="order", allowed=Allowed.OPERATORS, ok=202, response=shapes.OrderView,
        body=part_shapes.InstructPayment, keyed=True, problems=_INSTRUCTED,
        details="Accepted: the payment service calls the gateway again for the refund `of`, under a new key.",
    ),
    Route(
        method="POST", path="/orders/{id}/payment/resolve", name="resolvePayment",
        summary="Record that a refused refund was paid outside of the gateway", service="order",
        allowed=Allowed.OPERATORS, ok=202, response=shapes.OrderView, body=part_shapes.InstructPayment, keyed=True,
        problems=_INSTRUCTED,
        details="Accepted: the refund `of` becomes PAID, with `outside`; the gateway isn't called.",
    ),
    Route(
        method="GET", path="/stock", name="listStock", summary="List products", service="inventory",
        allowed=Allowed.READERS, response=shapes.StockPage, query=_PAGING,
    ),
    Route(
        method="GET", path="/stock/{sku}", name="getStock", summary="Show a product", service="inventory",
        allowed=Allowed.READERS, response=shapes.StockView, problems=("product_not_found",),
    ),
    Route(
        method="PUT", path="/stock/{sku}", name="setStock", summary="Set a product's stock", service="inventory",
        allowed=Allowed.OPERATORS, response=shapes.StockView, body=shapes.SetStock, keyed=True,
        problems=("invalid_units", "stock_below_held"),
        details="`onHand` is the number of units counted. Refused if fewer than the units held for open orders.",
    ),
    Route(
        method="POST", path="/stock/{sku}/add", name="addStock", summary="Receive or write off units",
        service="inventory", allowed=Allowed.OPERATORS, response=shapes.StockView, body=shapes.AddStock, keyed=True,
        problems=("invalid_units", "stock_below_held"),
        details="`delta` is the number of units received or, negative, lost.",
    ),
    Route(
        method="POST", path="/gate/rebuild", name="rebuildGate", summary="Rebuild the stock gate from the ledger",
        service="inventory", allowed=Allowed.OPERATORS, response=shapes.GateView, problems=("no_gate",),
        details="Repairs a difference between gate and ledger. Orders wait until it is done.",
    ),
    Route(
        method="GET", path="/dead-letters", name="listDeadLetters", summary="List dead letters",
        service="any", allowed=Allowed.OPERATORS, response=list[shapes.DeadLetterSummary],
        query=("state", "service", "limit"), details="The oldest first.",
    ),
    Route(
        method="GET", path="/dead-letters/{id}", name="getDeadLetter", summary="Show a dead letter", service="any",
        allowed=Allowed.OPERATORS, response=shapes.DeadLetterView, problems=("dead_letter_not_found",),
    ),
    Route(
        method="POST", path="/dead-letters/{id}/redrive", name="redriveDeadLetter", service="any",
        summary="Handle a dead letter once more", allowed=Allowed.OPERATORS, response=shapes.DeadLetterView,
        problems=("dead_letter_not_found", "dead_letter_ended", "redrive_failed", "content_not_kept"),
        details="Passes the same message to the same handler. If it fails again, nothing has changed.",
    ),
    Route(
        method="POST", path="/dead-letters/{id}/discard", name="discardDeadLetter", summary="Discard a dead letter",
        service="any", allowed=Allowed.OPERATORS, response=shapes.DeadLetterView,
        problems=("dead_letter_not_found", "dead_letter_ended"), details="It is kept, in state DISCARDED.",
    ),
    Route(
        method="GET", path="/healthz", name="health", summary="Tell whether the process is alive", service="any",
        allowed=Allowed.ANYBODY, response=shapes.Health, reads=False, any_host=True,
    ),
    Route(
        method="GET", path="/readyz", name="ready", summary="Tell whether the process can do its work", service="any",
        allowed=Allowed.ANYBODY, identifies=True, response=shapes.Readiness, unready=503, any_host=True,
        details="Every caller gets the codes of the open problems, an operator also the details.",
    ),
    Route(
        method="GET", path=METRICS, name="metrics", summary="Export metrics for Prometheus", service="any",
        allowed=Allowed.ANYBODY, response=str, media=_TEXT, reads=False,
    ),
    Route(
        method="GET", path="/openapi.json", name="openapi", summary="Describe the API, for programs", service="any",
        allowed=Allowed.ANYBODY, response=dict[str, Any], reads=False,
    ),
    Route(
        method="GET", path="/docs", name="docs", summary="Describe the API, for people", service="any",
        allowed=Allowed.ANYBODY, response=str, media="text/html", reads=False,
    ),
)  # fmt: skip


def routes_of(settings: Settings) -> Sequence[Route]:
    """Return all routes, with the policies that the settings decide."""
    if settings.metrics_access == "anybody":
        return ROUTES
    return [attrs.evolve(route, allowed=Allowed.OPERATORS) if route.path == METRICS else route for route in ROUTES]
