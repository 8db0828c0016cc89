"""Commands, in the imperative. Their values are checked when a command is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Money
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku, checked_id

MAX_UNITS = 10**12
"""Largest count or delta of a product's stock."""


@attrs.frozen
class PlaceOrder:
    """Place an order. The service makes the order's id, before anything is written."""

    terms: Terms

    @classmethod
    def of(
        cls,
        user_id: str,
        amount: Money,
        items: Mapping[str, int] | Iterable[tuple[str, int]] | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        lines: Iterable[OrderLine] | None = None,
        charges: Iterable[OrderCharge] = (),
    ) -> PlaceOrder:
        """Return a checked command of either `items` or `lines`; `charges` need lines with amounts.

        Raises `InvalidValue` for the first field that is out of bounds. The use case compares the amounts of lines and
        charges with the total, after pricing.
        """
        return cls(Terms.checked(user_id, amount, items, metadata, lines=lines, charges=charges))


@attrs.frozen
class CancelOrder:
    """Cancel an order. `by_operator` may also cancel a confirmed one, which is refunded and restocked."""

    order_id: OrderId
    by_operator: bool = False


@attrs.frozen
class SetStock:
    """Set the units on hand, after a count. Refused if more units are held."""

    sku: Sku
    on_hand: int

    @classmethod
    def of(cls, sku: str, on_hand: int) -> SetStock:
        """Return a checked command; raises `InvalidValue` for a bad product id or number."""
        if type(on_hand) is not int or not 0 <= on_hand <= MAX_UNITS:
            raise InvalidValue("invalid_units", f"a count is a whole number from 0 to {MAX_UNITS}")
        return cls(Sku(checked_id(sku, name="productId")), on_hand)


@attrs.frozen
class AddStock:
    """Add units that arrived, or remove lost ones (negative). Refused if more units are held than are left."""

    sku: Sku
    delta: int

    @classmethod
    def of(cls, sku: str, delta: int) -> AddStock:
        """Return a checked command; raises `InvalidValue` for a bad product id or number."""
        if type(delta) is not int or delta == 0 or abs(delta) > MAX_UNITS:
            raise InvalidValue("invalid_units", f"a delta is a whole number up to {MAX_UNITS}, and not 0")
        return cls(Sku(checked_id(sku, name="productId")), delta)
