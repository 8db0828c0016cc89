"""The lines and charges of an order: what each product costs in this order, and what else its total contains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.domain.values import MAX_LINES, Items, Sku, checked_id, checked_items, checked_text

MAX_CHARGES = 20
MAX_NAME = 200
"""Largest length of a line's name, in characters."""


@attrs.frozen
class OrderLine:
    """One product of an order, or the part of it that a shipment or a refund concerns.

    `amount` is the price of the whole line, net of discount; None if the caller stated no amounts.
    """

    sku: Sku
    quantity: int
    amount: Money | None = None
    name: str | None = None

    @classmethod
    def of(cls, sku: str, quantity: int, amount: Money | None = None, name: str | None = None) -> OrderLine:
        """Return a checked line; raises `InvalidValue` for the first field that is out of bounds."""
        ((product, units),) = checked_items([(sku, quantity)]).items()
        price = None if amount is None else _checked_amount(amount)
        return cls(product, units, price, None if name is None else checked_text(name, "name", MAX_NAME))

    def share(self, first: int, units: int) -> int:
        """Return the price of `units` units after the first `first` ones, in minor units; 0 without an amount.

        The shares of a line add up to its amount, however its units are divided: the price of the first n units of q is
        rounded down.
        """
        minor = self.amount.minor if self.amount is not None else 0
        return minor * (first + units) // self.quantity - minor * first // self.quantity


@attrs.frozen
class OrderCharge:
    """An amount in the total that belongs to no product, such as shipping or gift wrap; `kind` is the caller's word."""

    kind: str
    amount: Money

    @classmethod
    def of(cls, kind: str, amount: Money) -> OrderCharge:
        """Return a checked charge; raises `InvalidValue` if the kind isn't an id of 1 to 64 characters."""
        return cls(checked_id(kind, name="kind"), _checked_amount(amount))


def _checked_amount(amount: object) -> Money:
    if isinstance(amount, Money):
        return amount
    raise InvalidValue("invalid_amount", "the amount of a line or charge must be Money")


def checked_lines(lines: Iterable[OrderLine]) -> tuple[OrderLine, ...]:
    """Return the lines; refuses none, more than 100, a product on two lines, and amounts on some lines only."""
    checked = tuple(
        OrderLine.of(line.sku, line.quantity, line.amount, line.name) for line in islice(lines, MAX_LINES + 1)
    )
    if not checked:
        raise InvalidValue("no_items", "an order needs at least one item")
    if len(checked) > MAX_LINES:
        raise InvalidValue("too_many_items", f"an order has at most {MAX_LINES} lines")
    if len({line.sku for line in checked}) < len(checked):
        raise InvalidValue("repeated_product", "a product appears on one line only")
    if len({line.amount is None for line in checked}) > 1:
        raise InvalidValue("amounts_on_some_lines", "either all lines have an amount, or none has")
    return checked


def checked_charges(charges: Iterable[OrderCharge], lines: Sequence[OrderLine]) -> tuple[OrderCharge, ...]:
    """Return the charges; refuses more than 20, and charges of an order whose lines have no amounts."""
    checked = tuple(OrderCharge.of(charge.kind, charge.amount) for charge in islice(charges, MAX_CHARGES + 1))
    if len(checked) > MAX_CHARGES:
        raise InvalidValue("too_many_charges", f"an order has at most {MAX_CHARGES} charges")
    if checked and not priced(lines):
        raise InvalidValue("charges_without_amounts", "charges need lines with amounts: together they are the total")
    return checked


def priced(lines: Sequence[OrderLine]) -> bool:
    """Whether the lines have amounts."""
    return bool(lines) and lines[0].amount is not None


def check_sum(lines: Sequence[OrderLine], charges: Sequence[OrderCharge], total: Money) -> None:
    """Raise `InvalidValue` unless the amounts of lines and charges are the total; lines without amounts always pass."""
    if not priced(lines):
        return
    stated = sum(amount.minor for amount in _amounts(lines, charges))
    if stated != total.minor:
        said = Money(stated, total.currency) if stated <= MAX_MINOR else f"{stated} minor units"
        raise InvalidValue("amounts_dont_add_up", f"lines and charges add up to {said}, the total is {total}")


def check_currency(lines: Iterable[OrderLine], charges: Iterable[OrderCharge], currency: Currency) -> None:
    """Raise `InvalidValue` if an amount is in another currency than the total."""
    if any(amount.currency != currency for amount in _amounts(lines, charges)):
        raise InvalidValue("invalid_currency", f"all amounts of an order are in the currency of its total, {currency}")


def _amounts(lines: Iterable[OrderLine], charges: Iterable[OrderCharge]) -> list[Money]:
    return [*(line.amount for line in lines if line.amount is not None), *(charge.amount for charge in charges)]


def items_of(lines: Iterable[OrderLine]) -> Items:
    """Return the units of each product."""
    return checked_items([(line.sku, line.quantity) for line in lines])


def concerned(lines: Iterable[OrderLine], items: Mapping[Sku, int]) -> tuple[OrderLine, ...]:
    """Return the lines that a part of an order concerns, with its units and without amounts."""
    return tuple(OrderLine(line.sku, items[line.sku], None, line.name) for line in lines if line.sku in items)
