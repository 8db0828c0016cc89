"""Reads and writes the lines and charges of an order's terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from oms.adapters.wire.fields import read_amount, write_amount
from oms.adapters.wire.payloads import Agreed, Charge, Line
from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.domain.terms import Terms
from oms.domain.values import Items, Sku


def write_lines(lines: Sequence[OrderLine]) -> list[Line]:
    """The payload's `lines`."""
    return [_written(line) for line in lines]


def _written(line: OrderLine) -> Line:
    amount = msgspec.UNSET if line.amount is None else write_amount(line.amount)
    return Line(line.sku, line.quantity, amount, line.name)


def write_charges(charges: Sequence[OrderCharge]) -> list[Charge]:
    """The payload's `charges`."""
    return [Charge(charge.kind, write_amount(charge.amount)) for charge in charges]


def read_detailed(payload: Agreed, total: Money, items: Items) -> Terms:
    """The terms of a payload that has lines or charges.

    Raises `InvalidValue` if the lines aren't the units of `items`, or don't add up to the total with the charges.
    """
    currency = total.currency
    lines = _lines(payload.lines, currency) if payload.lines else None
    terms = Terms.checked(
        payload.user_id,
        total,
        None if lines else items.items(),
        payload.metadata,
        lines=lines,
        charges=_charges(payload.charges or (), currency),
    )
    if terms.items != items:
        raise InvalidValue("lines_differ_from_items", "lines and items must have the same products and quantities")
    terms.check_amounts()
    return terms


def _lines(lines: Sequence[Line], currency: Currency) -> Iterator[OrderLine]:
    for line in lines:
        yield OrderLine(Sku(line.product_id), line.quantity, _amount(line.amount, currency), line.name)


def _amount(raw: Raw | msgspec.UnsetType, currency: Currency) -> Money | None:
    if raw is msgspec.UNSET or bytes(raw) == b"null":
        return None
    return read_amount(raw, currency, "lines: amount")


def _charges(charges: Sequence[Charge], currency: Currency) -> Iterator[OrderCharge]:
    return (OrderCharge(charge.kind, read_amount(charge.amount, currency, "charges: amount")) for charge in charges)
