"""The column `lines`: an order's lines and charges as JSON, with amounts in minor units of the order's currency."""

from __future__ import annotations

import msgspec

from oms.adapters.sql.stores.rows import dump_json, money
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Money
from oms.domain.terms import Terms
from oms.domain.values import Sku


class _Line(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    sku: str
    quantity: int
    minor: int | None = None
    name: str | None = None


class _Charge(msgspec.Struct, frozen=True, gc=False):
    kind: str
    minor: int


class _Lines(msgspec.Struct, omit_defaults=True, frozen=True):
    lines: list[_Line]
    charges: list[_Charge] = []


_read = msgspec.json.Decoder(_Lines).decode


def dump_lines(terms: Terms) -> str:
    """Return the lines and charges as JSON; `Permanent` for text that JSON can't hold."""
    lines = [_Line(line.sku, line.quantity, _minor(line.amount), line.name) for line in terms.lines]
    return dump_json(_Lines(lines, [_Charge(charge.kind, charge.amount.minor) for charge in terms.charges]))


def _minor(amount: Money | None) -> int | None:
    return None if amount is None else amount.minor


def load_lines(text: str, currency: str) -> tuple[tuple[OrderLine, ...], tuple[OrderCharge, ...]]:
    """Return the lines and charges that were stored as JSON; `currency` is the code of the order's currency."""
    stored = _read(text)
    lines = tuple(_line(line, currency) for line in stored.lines)
    return lines, tuple(OrderCharge(charge.kind, money(charge.minor, currency)) for charge in stored.charges)


def _line(line: _Line, currency: str) -> OrderLine:
    amount = None if line.minor is None else money(line.minor, currency)
    return OrderLine(Sku(line.sku), line.quantity, amount, line.name)
