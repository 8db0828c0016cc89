"""The orders to place: each has three of a hundred products, so that many orders of a batch share a product."""

from __future__ import annotations

import json
from collections.abc import Sequence

ITEMS = 3
UNITS = (2, 1, 1)
PRODUCTS = tuple(f"sku-{number:02}" for number in range(100))
HOT = "hot"
"""The one product that all orders of kind `hot` contain."""


def lines(number: int) -> Sequence[tuple[str, int]]:
    """Return products and units of the order with this number."""
    first = number * 7
    return [(PRODUCTS[(first + 13 * place) % len(PRODUCTS)], units) for place, units in enumerate(UNITS)]


def is_slow(number: int, kind: str) -> bool:
    """Whether the gateway is slow for this order: for every hundredth order of kind `slow`."""
    return kind == "slow" and number % 100 == 0


def body(number: int, kind: str = "") -> bytes:
    """Return the body of the request for an order. With kind `hot`, it is one unit of the product `HOT`."""
    items = {HOT: 1} if kind == "hot" else dict(lines(number))
    user = "slow" if is_slow(number, kind) else "bench"
    return json.dumps({"userId": user, "amount": 12.5, "items": items}).encode()


REFUNDED_OF = 4
"""One of this many orders gets a refund when it is shipped."""


def commands(number: int) -> Sequence[tuple[str, bytes]]:
    """Return the commands about a confirmed order, as paths below it and bodies: ship all units, perhaps refund 1.00.

    The refund comes first, so that both are under way when the order is completed.
    """
    ship = ("shipments", b"{}")
    refund = ("refunds", json.dumps({"kind": "GOODWILL", "amount": 1, "reason": "late"}).encode())
    return [refund, ship] if number % REFUNDED_OF == 0 else [ship]
