"""Idempotency keys, and the form in which a response is stored under its key."""

from __future__ import annotations

import hashlib
import json

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.events import Reason
from oms.domain.order import Order, OrderState
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
    """The fields of a response that may differ from the order's current row: its state at the time of the request."""

    order_id: str
    state: OrderState
    reason: Reason | None

    @staticmethod
    def read(body: str) -> OrderResponse:
        """Read the JSON that `dump_order` wrote."""
        stored = json.loads(body)
        reason = Reason(stored["reason"]) if stored["reason"] else None
        return OrderResponse(stored["orderId"], OrderState(stored["status"]), reason)

    def applied_to(self, order: Order) -> Order:
        """Return the order as it was in the response."""
        return attrs.evolve(order, state=self.state, reason=self.reason)


def dump_order(order: Order) -> str:
    """Return the fields of `OrderResponse` as JSON."""
    reason = order.reason.value if order.reason else None
    return json.dumps({"orderId": order.id, "status": order.state.value, "reason": reason})


def dump_stock(stock: Stock) -> str:
    """Return a product's stock as JSON."""
    return json.dumps([stock.sku, stock.on_hand, stock.held])


def restore_stock(body: str) -> Stock:
    """Read the JSON that `dump_stock` wrote."""
    return Stock(*json.loads(body))
