"""The terms that a message of another service states, to be compared with the order's own."""

from __future__ import annotations

import attrs

from oms.domain.errors import TermsMismatch
from oms.domain.events import InventoryReserved, PaymentEvent
from oms.domain.money import Money
from oms.domain.terms import Terms
from oms.domain.values import Items, OrderId, UserId


@attrs.frozen
class StatedTerms:
    """Customer, amount and, in `inventory.reserved`, the items; `items` is None if the message names none."""

    user_id: UserId
    amount: Money
    items: Items | None = None

    @classmethod
    def of(cls, terms: Terms) -> StatedTerms:
        """Return the comparable part of an order's terms: all but the metadata."""
        return cls(terms.user_id, terms.total, terms.items)

    def differ_from(self, terms: Terms) -> bool:
        """Whether the message is about another customer, amount or items than the order."""
        if self.user_id != terms.user_id or self.amount != terms.total:
            return True
        return self.items is not None and self.items != terms.items

    def check(self, order_id: OrderId, terms: Terms) -> None:
        """Raise `TermsMismatch` if the message contradicts the order."""
        if self.differ_from(terms):
            pairs: dict[str, tuple[object, object]] = {}
            pairs["user"], pairs["amount"] = (self.user_id, terms.user_id), (self.amount, terms.total)
            if self.items is not None:
                pairs["items"] = (str(dict(self.items)), str(dict(terms.items)))
            wrong = (f"{name} {said}, not {ours}" for name, (said, ours) in pairs.items() if said != ours)
            raise TermsMismatch(f"the message about order {order_id} has {'; '.join(wrong)}")

    def __str__(self) -> str:
        return f"user {self.user_id}, {self.amount}"


def stated_in(event: object) -> StatedTerms | None:
    """Return the terms that the order service compares; None for an event that states none."""
    if isinstance(event, PaymentEvent):
        return StatedTerms(event.user_id, event.amount)
    if isinstance(event, InventoryReserved):
        return StatedTerms.of(event.terms)
    return None
