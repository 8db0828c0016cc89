"""Examples of the API's requests and responses, for its OpenAPI document."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from oms.entrypoints.http import part_shapes, shapes

ORDER_ID = "01a20628-41c1-770b-8bd7-7ea3ee2bd282"
LETTER_ID = "01a20628-9d1c-7f4e-a3c5-2f61a7c0b9d4"
REFUND_ID = "01a20a1e-93b4-7c02-9d41-5b7e1f0c2a88"
SKU = "espresso-cup"
USER = "customer-1"
_WHY = "the customer gave another account"
_AT = "2026-11-23T09:30:00.120000+00:00"
_LATER = "2026-11-23T09:30:00.260000+00:00"
_DAY_2 = "2026-11-24T14:05:00+00:00"

_ORDER = shapes.OrderView(
    ORDER_ID, {SKU: 2}, "CREATED", Decimal(20), USER, metadata={"channel": "web"}, currency="USD",
    lines=[shapes.LineView(SKU, 2, 0, 0, 0)], refunded_amount=Decimal(0),
)  # fmt: skip
_CANCELLING = msgspec.structs.replace(_ORDER, status="CANCELLING", reason="CUSTOMER")
_SHIPMENT = part_shapes.ShipmentView(
    "01a20a1d-7f60-7e9b-8c35-0a4d6e2b9f17", {SKU: 1}, _DAY_2, "DHL", "00340434161094042557"
)
_REFUSAL = part_shapes.RefusalView(REFUND_ID, 1, "account closed")
_REFUND = part_shapes.RefundView(
    REFUND_ID, "CANCEL", "DUE", Decimal(10), "USD", restock=True, reason="out of stock", requested_at=_DAY_2,
    items={SKU: 1},
)  # fmt: skip
_REFUSED = msgspec.structs.replace(_REFUND, state="REFUSED", refusal=_REFUSAL)
_SHIPPED = msgspec.structs.replace(
    _ORDER, status="COMPLETED", lines=[shapes.LineView(SKU, 2, 1, 1, 0)], refunded_amount=Decimal(10),
    payment=part_shapes.PaymentView("CAPTURED"), shipments=[_SHIPMENT], refunds=[_REFUSED],
)  # fmt: skip


def _instructed(what: str) -> shapes.OrderView:
    decided = msgspec.structs.replace(_REFUSAL, instruction=what, by="ops", why=_WHY)
    return msgspec.structs.replace(_SHIPPED, refunds=[msgspec.structs.replace(_REFUND, refusal=decided)])


_STOCK = shapes.StockView(SKU, 100, 2, 98)
_SUMMARY = shapes.DeadLetterSummary(
    LETTER_ID, "payment", "payment-group", "inventory.reserved", 2, 1041, ORDER_ID,
    "ImpossibleTransition", "payment in state DECLINED can't get captured", 1, _AT, "PARKED",
)  # fmt: skip
_LETTER = shapes.DeadLetterView(
    **msgspec.structs.asdict(_SUMMARY),
    message_id="9c3c7a0e-51f2-5f4e-8f0c-0f5d8a1f6f11",
    key="MDFhMjA2Mjg=",
    value="eyJvcmRlcklkIjoiMDFhMjA2MjgifQ==",
    text='{"orderId":"01a20628"}',
    headers=[shapes.Header("ce_type", "inventory.reserved", base64=False)],
)

_RESPONSES: dict[str, object] = {
    "placeOrder": _ORDER,
    "listOrders": shapes.OrderPage(
        content=[_ORDER], empty=False, first=True, last=True, number=0, number_of_elements=1,
        pageable=shapes.Pageable(0, 0, 10), size=10, sort=shapes.Sort(), total_elements=1, total_pages=1,
    ),
    "getOrder": _SHIPPED,
    "getTimeline": [
        shapes.TimelineEntry(1, _AT, "place", "ABSENT", "CREATED"),
        shapes.TimelineEntry(2, _LATER, "inventory.reserved", "CREATED", "RESERVED"),
    ],
    "cancelOrder": _CANCELLING,
    "resumeOrder": _ORDER,
    "shipOrder": _SHIPMENT,
    "listShipments": [_SHIPMENT],
    "refundOrder": _REFUND,
    "listRefunds": [_REFUSED],
    "retryPayment": _instructed("retry"),
    "resolvePayment": _instructed("resolve"),
    "listStock": shapes.StockPage([_STOCK], 0, 10, 1),
    "getStock": _STOCK,
    "setStock": _STOCK,
    "addStock": _STOCK,
    "rebuildGate": shapes.GateView(2),
    "listDeadLetters": [_SUMMARY],
    "getDeadLetter": _LETTER,
    "redriveDeadLetter": msgspec.structs.replace(_LETTER, state="REDRIVEN"),
    "discardDeadLetter": msgspec.structs.replace(_LETTER, state="DISCARDED"),
    "health": shapes.Health("up"),
    "ready": shapes.Readiness("ready", (), ()),
}  # fmt: skip
_BODIES: dict[str, object] = {
    "placeOrder": {"userId": USER, "amount": 20, "items": {SKU: 2}, "metadata": {"channel": "web"}},
    "cancelOrder": {"by": "customer"},
    "shipOrder": part_shapes.ShipOrder({SKU: 1}, "DHL", "00340434161094042557"),
    "refundOrder": part_shapes.RefundOrder("CANCEL", "out of stock", {SKU: 1}, 10),
    "retryPayment": part_shapes.InstructPayment(REFUND_ID, _WHY),
    "resolvePayment": part_shapes.InstructPayment(REFUND_ID, _WHY),
    "setStock": shapes.SetStock(100),
    "addStock": shapes.AddStock(24),
}

PATHS = {"orders": ORDER_ID, "stock": SKU, "dead-letters": LETTER_ID}
"""An example id of each kind of resource, by the first segment of its path."""

NOT_READY = shapes.Readiness("not ready", ("store_not_writable",), ())


def response_to(route: str) -> Any:
    """Return an example of a route's response; None if there is none."""
    return plain(_RESPONSES.get(route))


def body_of(route: str) -> Any:
    """Return an example of a route's request body."""
    return plain(_BODIES[route])


def plain(value: object) -> Any:
    """Return a value as its JSON is decoded: dictionaries, lists and plain values."""
    return msgspec.json.decode(shapes.encode(value))
