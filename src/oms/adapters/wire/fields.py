"""Reads and writes amounts and items: exactly, never as floats, and with limits before anything large is computed.

Amount and items are most of the cost of a message, so their usual forms are recognised by a pattern and read directly.
Other forms go through the domain's checks, which also name the error. A test compares both ways.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Raw

from oms.domain.errors import InvalidValue
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.domain.values import ID_PATTERN, MAX_LINES, MAX_QUANTITY, Items, Metadata, Sku, checked_items, checked_metadata

MAX_NUMBER_CHARS = 64
"""Exact arithmetic on a million digits would take seconds; no valid amount needs more than these."""

_LINE = rb'"' + ID_PATTERN.strip("^$").encode() + rb'":[0-9]{1,5}'
_USUAL_ITEMS = re.compile(rb"\{%b(?:,%b){0,%d}\}" % (_LINE, _LINE, MAX_LINES - 1))
_QUANTITIES = msgspec.json.Decoder(dict[Sku, Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)]])
_USUAL_DIGITS = 18

# Sorts the keys of items and metadata, so that equal events have equal bytes.
write_json = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode


def write_items(items: Items) -> Raw:
    """A JSON object of product id and quantity."""
    # `copy` of a proxy takes a seventh of the time of `dict(proxy)`.
    return Raw(write_json(items.copy() if isinstance(items, MappingProxyType) else dict(items)))


def write_metadata(metadata: Metadata) -> dict[str, str] | None:
    """The metadata as it is written; None, which is left out, if it is empty."""
    return dict(metadata) or None


def read_metadata(metadata: dict[str, str] | None) -> Metadata:
    """Checked metadata, empty for None."""
    return checked_metadata(metadata)


def write_amount(money: Money) -> Raw:
    """A JSON number in major units, the digits of `Money.amount`: `500`, `499.90`."""
    exponent = money.currency.exponent
    whole, rest = divmod(money.minor, 10**exponent)
    return Raw(b"%d.%0*d" % (whole, exponent, rest) if rest else b"%d" % whole)


def read_amount(raw: Raw, currency: Currency, name: str, *, rounded: bool = False) -> Money:
    """The amount of a JSON number; `InvalidValue` that names the field for anything else.

    `rounded` takes an amount that is finer than the currency, and rounds it (`Money.rounded`).
    """
    text = bytes(raw)
    whole, _, fraction = text.partition(
        b"."
    )  # as valid JSON it has no leading zero, and digits on both sides of a point
    digits = whole + fraction
    finer = currency.exponent - len(fraction)
    if finer >= 0 and len(digits) <= _USUAL_DIGITS and digits.isdigit():
        minor = int(digits) * 10**finer
        if minor <= MAX_MINOR:
            return Money(minor, currency)
    if text[:1] not in b"-0123456789":
        raise InvalidValue("invalid_amount", f"{name} must be a JSON number")
    if len(text) > MAX_NUMBER_CHARS:
        raise InvalidValue("invalid_amount", f"{name} has more than {MAX_NUMBER_CHARS} characters")
    try:
        return (Money.rounded if rounded else Money.of)(text.decode(), currency)
    except InvalidValue as refused:
        raise InvalidValue(refused.code, f"{name}: {refused.detail}") from None


def read_items(raw: Raw, *, without_zero: bool = False) -> Items:
    """The items of an order, at least one; lines of the same product are added up.

    `without_zero` skips lines of quantity 0.
    """
    text = bytes(raw)
    if _USUAL_ITEMS.fullmatch(text):
        try:
            quantities = _QUANTITIES.decode(text)
        except msgspec.ValidationError:
            return _read_lines(text, without_zero=without_zero)
        if 2 * len(quantities) == text.count(b'"'):  # else a product occurs twice
            return MappingProxyType(quantities)
    return _read_lines(text, without_zero=without_zero)


def read_released(raw: Raw) -> Items:
    """Like `read_items`, but also accepts no items."""
    return MappingProxyType({}) if bytes(raw) == b"{}" else read_items(raw)


def _whole(text: str) -> int | None:
    """The integer of a number such as `2.0`; None, which every check refuses, if it isn't whole or is too large."""
    try:
        number = Decimal(text) if len(text) <= MAX_NUMBER_CHARS else Decimal(-1)
    except InvalidOperation:  # an exponent that is out of range
        return None
    small = 0 <= number <= MAX_QUANTITY and (number == 0 or number.adjusted() >= 0)
    return int(number) if small and number == int(number) else None


_LINES = json.JSONDecoder(object_pairs_hook=tuple, parse_float=_whole)


def _read_lines(text: bytes, *, without_zero: bool = False) -> Items:
    try:
        lines = _LINES.decode(text.decode())
    except (ValueError, RecursionError):  # also bytes that aren't UTF-8, or an integer of thousands of digits
        raise InvalidValue("invalid_items", "items can't be read") from None
    if not isinstance(lines, tuple):
        raise InvalidValue("invalid_items", "items must be a JSON object of product id and quantity")
    try:
        return checked_items([line for line in lines if line[1] != 0] if without_zero else lines)
    except InvalidValue as refused:
        raise InvalidValue(refused.code, f"items: {refused.detail}") from None
