"""Commands, in the imperative. Their values are checked when a command is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Money, exact_amount
from oms.domain.refund import Instruction, RefundKind
from oms.domain.terms import Terms
from oms.domain.values import Items, OrderId, Sku, checked_id, checked_items, checked_part_id, checked_text

MAX_UNITS = 10**12
"""Largest count or delta of a product's stock."""

MAX_REASON = 500
MAX_CARRIER = 100
"""Largest length of a reason, and of a carrier's name or a tracking number, in characters."""


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
class ShipOrder:
    """Ship units of a confirmed order; without `items`, all open ones (neither cancelled nor shipped)."""

    order_id: OrderId
    items: Items | None = None
    carrier: str | None = None
    tracking_number: str | None = None

    @classmethod
    def of(
        cls,
        order_id: str,
        items: Mapping[str, int] | None = None,
        carrier: str | None = None,
        tracking_number: str | None = None,
    ) -> ShipOrder:
        """Return a checked command; raises `InvalidValue` for the first field that is out of bounds."""
        return cls(
            OrderId(checked_id(order_id, name="orderId")),
            None if items is None else checked_items(items),
            None if carrier is None else checked_text(carrier, "carrier", MAX_CARRIER),
            None if tracking_number is None else checked_text(tracking_number, "trackingNumber", MAX_CARRIER),
        )


@attrs.frozen
class RefundOrder:
    """Refund units or money of a confirmed order.

    CANCEL takes open units out of the order (without `items`, all of them) and restocks them unless `restock` is false.
    RETURN takes shipped units back (without `items`, all of them) and restocks them only if `restock` is true. GOODWILL
    gives money back and has no items. `amount` is in major units of the order's currency; None for the default: the
    share of the lines' amounts, or all that is left if the whole order is cancelled before its first shipment.
    """

    order_id: OrderId
    kind: RefundKind
    reason: str
    items: Items | None = None
    amount: Decimal | None = None
    restock: bool | None = None

    @classmethod
    def of(
        cls,
        order_id: str,
        kind: RefundKind | str,
        reason: str,
        *,
        items: Mapping[str, int] | None = None,
        amount: Decimal | int | str | None = None,
        restock: bool | None = None,
    ) -> RefundOrder:
        """Return a checked command; raises `InvalidValue` for the first field that is out of bounds."""
        checked = _refund_kind(kind)
        if checked is RefundKind.GOODWILL and (items is not None or restock):
            raise InvalidValue("goodwill_has_no_items", "a goodwill refund gives money back, and has no items")
        return cls(
            OrderId(checked_id(order_id, name="orderId")),
            checked,
            checked_text(reason, "reason", MAX_REASON),
            None if items is None else checked_items(items),
            None if amount is None else exact_amount(amount),
            restock,
        )


def _refund_kind(kind: RefundKind | str) -> RefundKind:
    try:
        return RefundKind(kind)
    except ValueError:
        kinds = ", ".join(one.value for one in RefundKind)
        raise InvalidValue("invalid_kind", f"the kind of a refund is one of {kinds}") from None


@attrs.frozen
class InstructPayment:
    """Decide about a refund that the gateway refused: `of` is its id, or `whole` for that of a cancelled order.

    RETRY calls the gateway again; RESOLVE records that the money was given back outside of the gateway. `why` is the
    reason, for the record.
    """

    order_id: OrderId
    of: str
    what: Instruction
    why: str

    @classmethod
    def to(cls, what: Instruction, order_id: str, of: str, why: str) -> InstructPayment:
        """Return a checked command; raises `InvalidValue` for the first field that is out of bounds."""
        order = OrderId(checked_id(order_id, name="orderId"))
        return cls(
            order,
            checked_part_id(of, name="of"),
            what,
            checked_text(why, "why", MAX_REASON),
        )


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
