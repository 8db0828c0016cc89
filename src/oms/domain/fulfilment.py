"""What happened to an order after its confirmation: shipments, refunds, and the gateway's refusals.

For each product the order counts the units that were ordered (q), cancelled (c), shipped (s) and returned (r):
`c + s <= q` and `r <= s`. A unit is open while it is neither cancelled nor shipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

import attrs

from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.errors import Conflict, InvalidValue
from oms.domain.lines import priced
from oms.domain.money import Money
from oms.domain.refund import OrderRefund, RefundKind, RefundState, Refusal
from oms.domain.shipment import Shipment
from oms.domain.terms import Terms
from oms.domain.values import Items, Sku

MAX_PARTS = 500
"""Largest number of shipments and refunds of one order together; they are stored with the order."""


@attrs.frozen
class LineCounts:
    """The units of one product."""

    ordered: int
    cancelled: int = 0
    shipped: int = 0
    returned: int = 0

    @property
    def open(self) -> int:
        """Units that are neither cancelled nor shipped."""
        return self.ordered - self.cancelled - self.shipped


@attrs.frozen
class Fulfilment:
    """The shipments and refunds of one order, oldest first, and the last refusal for each refund."""

    shipments: tuple[Shipment, ...] = ()
    refunds: tuple[OrderRefund, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def counts(self, ordered: Items) -> Mapping[Sku, LineCounts]:
        """Return the units of each ordered product."""
        shipped = _summed(shipment.items for shipment in self.shipments)
        cancelled = _summed(refund.items for refund in self.refunds if refund.kind is RefundKind.CANCEL)
        returned = _summed(refund.items for refund in self.refunds if refund.kind is RefundKind.RETURN)
        return {sku: LineCounts(units, cancelled[sku], shipped[sku], returned[sku]) for sku, units in ordered.items()}

    def open_items(self, ordered: Items) -> Items:
        """Return the products with open units."""
        return MappingProxyType({sku: one.open for sku, one in self.counts(ordered).items() if one.open})

    @property
    def refunded(self) -> int:
        """The sum of all refunds that were requested, in minor units."""
        return sum(refund.amount.minor for refund in self.refunds)

    @property
    def refunded_before_shipment(self) -> int:
        """The sum of the refunds that were requested before the first shipment, in minor units."""
        return sum(refund.amount.minor for refund in self.refunds if refund.before_shipment)

    @property
    def shipped_items(self) -> Items:
        """All shipped units."""
        return MappingProxyType(dict(_summed(shipment.items for shipment in self.shipments)))

    def refund(self, refund_id: str) -> OrderRefund | None:
        """Return a refund by its id."""
        return next((one for one in self.refunds if one.id == refund_id), None)

    def refusal(self, of: str) -> Refusal | None:
        """Return the last refusal for a refund, or for `WHOLE`."""
        return next((one for one in self.refusals if one.of == of), None)

    def ship(self, shipment_id: str, command: ShipOrder, ordered: Items, at: datetime) -> Fulfilment:
        """Add a shipment; raises `Conflict` (`not_enough_units`) for more units than are open."""
        self._check_number()
        open_items = self.open_items(ordered)
        items = command.items if command.items is not None else open_items
        _check_units(items, open_items, "open")
        shipment = Shipment(shipment_id, items, at, command.carrier, command.tracking_number)
        return attrs.evolve(self, shipments=(*self.shipments, shipment))

    def refunding(self, refund_id: str, command: RefundOrder, terms: Terms, at: datetime) -> Fulfilment:
        """Add a refund; raises `Conflict` for units or money that isn't there, `InvalidValue` for a wrong amount."""
        self._check_number()
        items = self._items_to_refund(command, terms.items)
        amount = self._amount(command, items, terms)
        left = terms.total.minor - self.refunded
        if amount.minor > left:
            rest = Money(left, terms.total.currency)
            raise Conflict("refund_exceeds_total", f"{amount} can't be refunded: {rest} of {terms.total} are left")
        restock = command.kind is RefundKind.CANCEL if command.restock is None else command.restock
        refund = OrderRefund(
            refund_id,
            command.kind,
            items,
            amount,
            restock and bool(items),
            command.reason,
            not self.shipments,
            at,
            after_completion=not self.open_items(terms.items),
        )
        return attrs.evolve(self, refunds=(*self.refunds, refund))

    def with_refund(self, refund: OrderRefund) -> Fulfilment:
        """Return the same with another state of a refund."""
        return attrs.evolve(self, refunds=tuple(refund if one.id == refund.id else one for one in self.refunds))

    def with_refusal(self, refusal: Refusal) -> Fulfilment:
        """Return the same with the last refusal for `refusal.of`."""
        return attrs.evolve(self, refusals=(*self.without_refusal(refusal.of).refusals, refusal))

    def without_refusal(self, of: str) -> Fulfilment:
        """Return the same without a refusal for `of`."""
        kept = tuple(one for one in self.refusals if one.of != of)
        return self if len(kept) == len(self.refusals) else attrs.evolve(self, refusals=kept)

    def state_of(self, refund: OrderRefund) -> RefundState:
        """Return the state of a refund: REFUSED while a refusal isn't followed by an instruction to try again."""
        refusal = self.refusal(refund.id)
        refused = refusal is not None and refusal.instruction is None
        return RefundState.REFUSED if refused else refund.state

    def _check_number(self) -> None:
        if len(self.shipments) + len(self.refunds) >= MAX_PARTS:
            raise Conflict("too_many_parts", f"an order has at most {MAX_PARTS} shipments and refunds")

    def _items_to_refund(self, command: RefundOrder, ordered: Items) -> Items:
        counts = self.counts(ordered)
        if command.kind is RefundKind.GOODWILL:
            return MappingProxyType({})
        if command.kind is RefundKind.CANCEL:
            open_items = self.open_items(ordered)
            items = command.items if command.items is not None else open_items
            _check_units(items, open_items, "open")
            return items
        there = {sku: one.shipped - one.returned for sku, one in counts.items()}
        items = command.items if command.items is not None else {sku: units for sku, units in there.items() if units}
        _check_units(items, there, "shipped and not returned")
        return MappingProxyType(dict(items))

    def _amount(self, command: RefundOrder, items: Items, terms: Terms) -> Money:
        currency = terms.total.currency
        stated = Money.of(command.amount, currency) if command.amount is not None else None
        if self._cancels_everything(command, items, terms.items):
            rest = Money(terms.total.minor - self.refunded, currency)
            if stated not in (None, rest):
                raise InvalidValue("amount_must_be_rest", f"this cancels the whole order, so the amount must be {rest}")
            return rest
        if stated is not None:
            return stated
        if not items or not priced(terms.lines):
            raise InvalidValue(
                "amount_required", "amount is required: only units of lines that have amounts have a default"
            )
        counts = self.counts(terms.items)
        before = {sku: one.cancelled + one.returned for sku, one in counts.items()}
        shares = (line.share(before[line.sku], items[line.sku]) for line in terms.lines if line.sku in items)
        return Money(sum(shares), currency)

    def _cancels_everything(self, command: RefundOrder, items: Items, ordered: Items) -> bool:
        """Whether the command cancels the last open units of an order of which nothing was shipped."""
        return command.kind is RefundKind.CANCEL and not self.shipments and items == self.open_items(ordered)


NOTHING_YET = Fulfilment()
"""An order without shipments and refunds."""


def _summed(parts: Iterable[Items]) -> Counter[Sku]:
    total: Counter[Sku] = Counter()
    for items in parts:
        total.update(items)
    return total


def _check_units(items: Mapping[Sku, int], there: Mapping[Sku, int], kind: str) -> None:
    """Raise `Conflict` unless there are units, and as many as wanted of each product."""
    for sku, units in items.items():
        if units > there.get(sku, 0):
            raise Conflict("not_enough_units", f"{units} units of {sku} are wanted, {there.get(sku, 0)} are {kind}")
    if not items:
        raise Conflict("not_enough_units", f"no units are {kind}")
