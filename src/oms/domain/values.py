"""Identifiers, items and metadata: checked once, when they are made from outside values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NewType

from oms.domain.errors import InvalidValue
from oms.domain.text import is_storable

OrderId = NewType("OrderId", str)
UserId = NewType("UserId", str)
Sku = NewType("Sku", str)

Items = Mapping[Sku, int]
"""Units wanted of each product; at least 1 line, each quantity within `MAX_QUANTITY`."""

Metadata = Mapping[str, str]
"""The caller's own flat text, carried through to gateway, notifier and pricing."""

MAX_LINES = 100
MAX_QUANTITY = 10_000
MAX_METADATA_BYTES = 4096
MAX_PART_ID = 36
"""Largest length of the id of a shipment or refund: keys of tasks are made of it."""

ID_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

NO_METADATA: Metadata = MappingProxyType({})
NO_ITEMS: Items = MappingProxyType({})


def checked_id(text: object, *, name: str) -> str:
    """Return `text` if it is 1 to 64 of `A-Z a-z 0-9 . _ : -`; raises `InvalidValue` that names the field."""
    if isinstance(text, str) and _ID.fullmatch(text):
        return text
    raise InvalidValue("invalid_id", f"{name} must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")


def checked_part_id(text: object, *, name: str) -> str:
    """Return the id of a shipment or refund: like `checked_id`, of at most `MAX_PART_ID` characters."""
    if len(checked_id(text, name=name)) > MAX_PART_ID:
        raise InvalidValue("invalid_id", f"{name} has more than {MAX_PART_ID} characters")
    return str(text)


def checked_text(text: object, name: str, longest: int) -> str:
    """Return `text` if it has 1 to `longest` characters that every store can hold; raises `InvalidValue` otherwise."""
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        raise InvalidValue("invalid_text", f"{name} must be a text of 1 to {longest} characters")
    if not is_storable(text):
        raise InvalidValue("invalid_text", f"{name} must be valid Unicode text without the character U+0000")
    return text


def checked_items(lines: Mapping[str, int] | Iterable[tuple[str, int]]) -> Items:
    """Sum the lines by product; refuses no lines, more than 100, or a quantity that is not within 1 to 10,000.

    A product named on two lines is one line of their sum: two lines of 3 don't fit a stock of 5.
    """
    pairs = lines.items() if isinstance(lines, Mapping) else lines
    summed: dict[Sku, int] = {}
    for count, (sku, quantity) in enumerate(pairs, start=1):
        if count > MAX_LINES:
            raise InvalidValue("too_many_items", f"an order has at most {MAX_LINES} lines")
        product = Sku(checked_id(sku, name="productId"))
        summed[product] = summed.get(product, 0) + _quantity(product, quantity)
    if not summed:
        raise InvalidValue("no_items", "an order needs at least one item")
    for product, quantity in summed.items():
        _quantity(product, quantity)
    return MappingProxyType(summed)


def _quantity(sku: Sku, quantity: object) -> int:
    whole = type(quantity) is int
    if whole and 1 <= quantity <= MAX_QUANTITY:  # type: ignore[operator]
        return quantity  # type: ignore[return-value]
    raise InvalidValue("invalid_quantity", f"the quantity of {sku} must be a whole number from 1 to {MAX_QUANTITY}")


def checked_metadata(metadata: Mapping[str, str] | None) -> Metadata:
    """A flat object of text, at most 4 KiB of keys and values together; None is the same as empty."""
    if not metadata:
        return NO_METADATA
    size = 0
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidValue("invalid_metadata", "metadata must be a flat object of text")
        if "\x00" in key or "\x00" in value:
            raise InvalidValue("invalid_metadata", "metadata can't hold the character U+0000")
        size += _utf8_length(key) + _utf8_length(value)
    if size > MAX_METADATA_BYTES:
        raise InvalidValue("metadata_too_large", f"metadata is at most {MAX_METADATA_BYTES} bytes")
    return MappingProxyType(dict(metadata))


def _utf8_length(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidValue("invalid_metadata", "metadata must be valid Unicode text") from None
