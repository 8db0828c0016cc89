"""The stock of a product, and the ledger of its changes. The database is authoritative for both."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import attrs

from oms.domain.errors import Conflict
from oms.domain.events import Shortage
from oms.domain.values import Items, Sku


class MovementKind(Enum):
    """The reason of a change. The ledger has one row for each (order or adjustment, product, kind)."""

    HOLD = "HOLD"
    COMMIT = "COMMIT"
    RELEASE = "RELEASE"
    RESTOCK = "RESTOCK"
    REFUND = "REFUND"
    """Units of a refund that are available again."""

    RECEIVE = "RECEIVE"
    COUNT = "COUNT"
    DEFAULT = "DEFAULT"


@attrs.frozen
class Movement:
    """One ledger row: the units by which `reference` (an order, a refund or an adjustment) changed one product."""

    reference: str
    sku: Sku
    kind: MovementKind
    on_hand: int
    held: int


@attrs.frozen
class Stock:
    """Units of one product: `0 <= held <= on_hand`."""

    sku: Sku
    on_hand: int
    held: int = 0

    @property
    def available(self) -> int:
        """Units that a new order may hold."""
        return self.on_hand - self.held

    def moved(self, movement: Movement) -> Stock:
        """Return the stock after a ledger row; raises `Conflict` if that breaks `0 <= held <= on_hand`."""
        on_hand, held = self.on_hand + movement.on_hand, self.held + movement.held
        if not 0 <= held <= on_hand:
            raise Conflict(
                "stock_below_held",
                f"{self.sku} would have {on_hand} on hand and {held} held; a count can't be below what is held",
            )
        return Stock(self.sku, on_hand, held)


def shortages(items: Items, stock: Mapping[Sku, Stock]) -> tuple[Shortage, ...]:
    """Return the lines for which the stock doesn't suffice, by product; empty if it suffices for all."""
    return tuple(
        Shortage(sku, wanted, stock[sku].available if sku in stock else 0)
        for sku, wanted in sorted(items.items())
        if sku not in stock or stock[sku].available < wanted
    )


_SIGNS: Mapping[MovementKind, tuple[int, int]] = {
    MovementKind.HOLD: (0, 1),
    MovementKind.COMMIT: (-1, -1),
    MovementKind.RELEASE: (0, -1),
    MovementKind.RESTOCK: (1, 0),
    MovementKind.REFUND: (1, 0),
}


def movements(reference: str, kind: MovementKind, items: Items) -> tuple[Movement, ...]:
    """Return the ledger rows of an order's hold, commit, release or restock, or of a refund, by product."""
    on_hand, held = _SIGNS[kind]
    return tuple(Movement(reference, sku, kind, on_hand * units, held * units) for sku, units in sorted(items.items()))
