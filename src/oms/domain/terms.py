"""The terms of an order: customer, total, items and metadata, and the prices of its lines if the caller states them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine, check_currency, check_sum, checked_charges, checked_lines, items_of
from oms.domain.money import Money
from oms.domain.values import NO_METADATA, Items, Metadata, UserId, checked_id, checked_items, checked_metadata


@attrs.frozen
class Terms:
    """The terms of an order: the fields of `order.created` without the order id.

    `items` are the units of each product. `lines` is empty if the caller stated only items; `charges` is empty unless
    the lines have amounts.
    """

    user_id: UserId
    total: Money
    items: Items
    metadata: Metadata = NO_METADATA
    lines: tuple[OrderLine, ...] = ()
    charges: tuple[OrderCharge, ...] = ()

    @classmethod
    def checked(
        cls,
        user_id: str,
        total: Money,
        items: Mapping[str, int] | Iterable[tuple[str, int]] | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        lines: Iterable[OrderLine] | None = None,
        charges: Iterable[OrderCharge] = (),
    ) -> Terms:
        """Return checked terms; raises `InvalidValue` with the code of the first field that is out of bounds.

        Give either `items` or `lines`. `check_amounts` compares the lines with the total, once that is final.
        """
        if (items is None) == (lines is None):
            raise InvalidValue("items_or_lines", "an order has either items or lines")
        user = UserId(checked_id(user_id, name="userId"))
        stated = checked_lines(lines) if lines is not None else ()
        units = items_of(stated) if items is None else checked_items(items)
        added = checked_charges(charges, stated)
        check_currency(stated, added, total.currency)
        return cls(user, total, units, checked_metadata(metadata), stated, added)

    def check_amounts(self) -> None:
        """Raise `InvalidValue` (`amounts_dont_add_up`) unless lines and charges add up to the total."""
        check_sum(self.lines, self.charges, self.total)

    def completed_by(self, other: Terms) -> Terms:
        """Return these terms with the lines and charges of `other`, if these have none and both are the same order."""
        same = (self.user_id, self.total, self.items) == (other.user_id, other.total, other.items)
        if self.lines or not other.lines or not same:
            return self
        return attrs.evolve(self, lines=other.lines, charges=other.charges)
