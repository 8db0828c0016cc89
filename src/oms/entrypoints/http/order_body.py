"""Reads the body of an order: exact numbers, each name once, and either items or lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec
from msgspec import UNSET, Raw, UnsetType

from oms.domain.commands import PlaceOrder
from oms.domain.errors import InvalidValue
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.entrypoints.http import shapes
from oms.entrypoints.http.body import (
    NUMBER_STARTS,
    amount_in,
    decode,
    items_in,
    load,
    refuse_repeated_names,
    whole_number,
)

_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,20})?")
_place = msgspec.json.Decoder(shapes.PlaceOrderBody)
_spring_place = msgspec.json.Decoder(shapes.SpringOrderBody)


def read_order(body: bytes, currency: Currency) -> PlaceOrder:
    """Return the command of a body, with amounts in the system's currency.

    Raises `InvalidValue` or `HttpProblem`, which names the first wrong field.
    """
    parsed = decode(_place, body)
    amount = amount_in(bytes(parsed.amount), "amount")
    items = None if parsed.items is UNSET else items_in(bytes(parsed.items))
    detailed = parsed.lines is not UNSET or parsed.charges is not None
    if detailed or not _names_are_counted(body, items, parsed.metadata):
        refuse_repeated_names(body)
    if items is None and parsed.lines is UNSET:
        raise InvalidValue("invalid_body", "Object missing required field `items` or `lines`")
    total = Money.of(amount, currency)
    if not detailed:
        return PlaceOrder.of(parsed.user_id, total, items, parsed.metadata)
    lines = None if parsed.lines is UNSET else _lines(parsed.lines, currency)
    charges = _charges(parsed.charges or (), currency)
    return PlaceOrder.of(parsed.user_id, total, items, parsed.metadata, lines=lines, charges=charges)


def _names_are_counted(body: bytes, items: Mapping[str, int] | None, metadata: Mapping[str, str] | None) -> bool:
    """Whether the body has no more strings than its fields need.

    Each string takes two quotation marks at least, so more of them than expected mean repeated names or escapes.
    """
    strings = 4 + len(items or ()) + (0 if metadata is None else 1 + 2 * len(metadata))
    return body.count(b'"') == 2 * strings


def read_spring_order(body: bytes, currency: Currency) -> PlaceOrder:
    """Return the command of a body as the Spring system reads it.

    Unknown fields have no effect, numbers may be strings, the total is rounded, and items of quantity 0 are skipped.
    """
    parsed = decode(_spring_place, body)
    refuse_repeated_names(body)
    found = load(bytes(parsed.items), whole_number)
    if not isinstance(found, dict):
        raise InvalidValue("invalid_body", "Expected `object` - at `$.items`")
    units: dict[str, Any] = {sku: whole_number(n.strip()) if _is_number(n) else n for sku, n in found.items()}
    amount = bytes(parsed.amount)
    if amount[:1] == b'"' and _is_number(text := load(amount, str)):
        amount = text.strip().encode()
    total = Money.rounded(amount_in(amount, "amount"), currency)
    return PlaceOrder.of(parsed.user_id, total, {sku: n for sku, n in units.items() if n != 0}, parsed.metadata)


def _is_number(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(_NUMBER.fullmatch(value.strip()))


def _lines(lines: Sequence[shapes.LineBody], currency: Currency) -> Iterator[OrderLine]:
    for number, line in enumerate(lines):
        amount = _line_amount(line.amount, f"lines[{number}].amount", currency)
        yield OrderLine.of(line.product_id, _quantity(bytes(line.quantity)), amount, line.name)


def _line_amount(raw: Raw | UnsetType, path: str, currency: Currency) -> Money | None:
    if raw is UNSET or bytes(raw) == b"null":
        return None
    return Money.of(amount_in(bytes(raw), path), currency)


def _quantity(raw: bytes) -> Any:
    """Return a whole number; None, which the domain refuses by the product's name, for anything else."""
    return whole_number(raw.decode()) if raw[:1] in NUMBER_STARTS else None


def _charges(charges: Sequence[shapes.ChargeBody], currency: Currency) -> Iterator[OrderCharge]:
    for number, charge in enumerate(charges):
        yield OrderCharge.of(
            charge.kind, Money.of(amount_in(bytes(charge.amount), f"charges[{number}].amount"), currency)
        )
