"""Checks which orders and counts of the Spring system can be imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime

import attrs

from oms.domain.commands import SetStock
from oms.domain.errors import InvalidValue
from oms.domain.money import Money
from oms.domain.terms import Terms
from oms.domain.values import OrderId, checked_id
from oms.ports.legacy import LegacyOrder

ORIGIN = "migrate-from-spring"
"""Reference of the ledger rows of imported counts: one for each product, so no count is imported twice."""

STATUS = "CREATED"
"""The only status in the Spring system."""


@attrs.frozen
class Import:
    """A complete order that can be imported."""

    order_id: OrderId
    terms: Terms
    created_at: datetime | None
    detail: str


def checked_order(row: LegacyOrder, money: Callable[[str], Money], products: Collection[str] | None) -> Import:
    """Return the order of a row; raises `InvalidValue` with the reason if it can't be imported.

    `products` are those that have stock; None allows every product.
    """
    if row.user_id is None and row.total is None and row.status is None:
        raise InvalidValue("no_order", "order_items has lines of it, orders has no such row")
    if row.status != STATUS:
        raise InvalidValue("unknown_status", f"its status is {row.status}, only {STATUS} is known")
    order_id = OrderId(checked_id(row.id, name="id"))
    if row.total is None:
        raise InvalidValue("invalid_amount", "it has no amount")
    terms = Terms.checked(row.user_id or "", money(row.total), [_line(line) for line in row.lines])
    unknown = sorted(set(terms.items) - set(products)) if products is not None else []
    if unknown:
        raise InvalidValue("unknown_product", f"the product {unknown[0]} has no stock in the Spring system")
    since = f", placed {row.created_at.isoformat()}" if row.created_at else ""
    return Import(order_id, terms, row.created_at, f"{row.status} in the Spring system{since}")


def checked_count(product: str, text: str) -> SetStock:
    """Return the command that sets a product's count; raises `InvalidValue` if the text is no count."""
    if not _WHOLE.fullmatch(text):
        raise InvalidValue("invalid_units", f"its count is {text[:40]!r}, which is no whole number")
    return SetStock.of(product, int(text))


_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def _line(line: tuple[str | None, str | None]) -> tuple[str, int]:
    product, quantity = line
    if product is None or quantity is None or not _WHOLE.fullmatch(quantity):
        raise InvalidValue("invalid_quantity", f"the quantity of {product} is {quantity}, which is no whole number")
    return product, int(quantity)
