"""Idempotency keys, and the form in which a response is stored under its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.events import Reason
from oms.domain.fulfilment import NOTHING_YET, Fulfilment
from oms.domain.order import Order
from oms.domain.order_table import OrderPayment, OrderState
from oms.domain.refund import Instruction, RefundState, Refusal
from oms.domain.stock import Stock
from oms.engine.command_groups import Key
from oms.ports.extensions import Principal

MAX_KEY = 255


def checked_key(key: str | None, caller: Principal, route: str, body: object) -> Key | None:
    """Return the key with its scope (caller and route) and the fingerprint of the parsed body; None without a key.

    Raises `InvalidValue` unless the key is 1 to `MAX_KEY` printable ASCII characters.
    """
    if key is None:
        return None
    if not (isinstance(key, str) and 1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise InvalidValue("invalid_idempotency_key", f"an Idempotency-Key is 1 to {MAX_KEY} printable characters")
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Key(f"{caller.scope} {route}", key, hashlib.sha256(text.encode()).hexdigest())


@attrs.frozen
class OrderResponse:
    """The fields of a response that may differ from the order's current row: those that later events change."""

    order_id: str
    state: OrderState
    reason: Reason | None
    payment: OrderPayment | None = None
    shipments: int = 0
    """The number of shipments that there were."""

    refunds: Sequence[tuple[RefundState, bool]] = ()
    """The state of each refund that there was, and whether it was paid outside of the gateway."""

    refusals: tuple[Refusal, ...] = ()

    @staticmethod
    def read(body: str) -> OrderResponse:
        """Read the JSON that `dump_order` wrote."""
        stored = json.loads(body)
        return OrderResponse(
            stored["orderId"],
            OrderState(stored["status"]),
            Reason(stored["reason"]) if stored["reason"] else None,
            OrderPayment(stored["payment"]) if "payment" in stored else None,
            stored.get("shipments", 0),
            [(RefundState(state), outside) for state, outside in stored.get("refunds", ())],
            tuple(_refusal(*fields) for fields in stored.get("refusals", ())),
        )

    def applied_to(self, order: Order) -> Order:
        """Return the order as it was in the response. Shipments and refunds are only ever added."""
        now = order.fulfilment
        refunds = tuple(
            attrs.evolve(refund, state=state, outside=outside)
            for refund, (state, outside) in zip(now.refunds, self.refunds, strict=False)
        )
        then = Fulfilment(now.shipments[: self.shipments], refunds, self.refusals)
        return attrs.evolve(order, state=self.state, reason=self.reason, payment=self.payment, fulfilment=then)


def dump_order(order: Order) -> str:
    """Return the fields of `OrderResponse` as JSON, without those that are empty."""
    reason = order.reason.value if order.reason else None
    found: dict[str, object] = {"orderId": order.id, "status": order.state.value, "reason": reason}
    if order.payment is not None:
        found["payment"] = order.payment.value
    if order.fulfilment != NOTHING_YET:
        found |= _dump_parts(order.fulfilment)
    return json.dumps(found)


def _dump_parts(fulfilment: Fulfilment) -> dict[str, object]:
    return {
        "shipments": len(fulfilment.shipments),
        "refunds": [(refund.state.value, refund.outside) for refund in fulfilment.refunds],
        "refusals": [_dump_refusal(refusal) for refusal in fulfilment.refusals],
    }


def _dump_refusal(refusal: Refusal) -> tuple[object, ...]:
    instruction = refusal.instruction.value if refusal.instruction else None
    return refusal.of, refusal.attempt, refusal.reason, instruction, refusal.by, refusal.why


def _refusal(of: str, attempt: int, reason: str, instruction: str | None, by: str, why: str) -> Refusal:
    return Refusal(of, attempt, reason, Instruction(instruction) if instruction else None, by, why)


def dump_stock(stock: Stock) -> str:
    """Return a product's stock as JSON."""
    return json.dumps([stock.sku, stock.on_hand, stock.held])


def restore_stock(body: str) -> Stock:
    """Read the JSON that `dump_stock` wrote."""
    return Stock(*json.loads(body))
