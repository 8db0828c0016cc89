"""The orders that are placed: three products each, of a hundred, so that a product is in many orders of a batch."""

from __future__ import annotations

import json
from collections.abc import Sequence

ITEMS = 3
UNITS = (2, 1, 1)
PRODUCTS = tuple(f"sku-{number:02}" for number in range(100))
HOT = "hot"
"""The one product that everybody wants at once."""


def lines(number: int) -> Sequence[tuple[str, int]]:
    """Products and units of the order with this number."""
    first = number * 7
    return [(PRODUCTS[(first + 13 * place) % len(PRODUCTS)], units) for place, units in enumerate(UNITS)]


def is_slow(number: int, kind: str) -> bool:
    """Whether the gateway takes long for this order: every hundredth, where that is asked for."""
    return kind == "slow" and number % 100 == 0


def body(number: int, kind: str = "") -> bytes:
    """What a buyer posts. `hot` is one unit of the product that everybody wants."""
    items = {HOT: 1} if kind == "hot" else dict(lines(number))
    user = "slow" if is_slow(number, kind) else "bench"
    return json.dumps({"userId": user, "amount": 12.5, "items": items}).encode()
