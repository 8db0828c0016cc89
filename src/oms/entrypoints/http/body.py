"""Reads request bodies: counts their size while they arrive, decodes them once, and names the wrong field in errors."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard, TypeVar

import msgspec

from oms.domain.errors import InvalidValue
from oms.entrypoints.http import shapes
from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.request import Request

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
_LONGEST_NUMBER = 64
"""Longer than any amount or quantity within its bounds; a longer number is refused unread."""

_NUMBER_STARTS = b"-0123456789"
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,20})?")
_place = msgspec.json.Decoder(shapes.PlaceOrderBody)
_spring_place = msgspec.json.Decoder(shapes.SpringOrderBody)
_usual_lines = msgspec.json.Decoder(dict[str, int])


async def read_body(request: Request, *, required: bool = True) -> bytes:
    """Return the body. Raises `HttpProblem` if more than 64 KiB arrive, or if its media type isn't JSON."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise HttpProblem("disconnected", "the body didn't come to its end")
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise HttpProblem("body_too_large", f"a body is at most {MAX_BODY_BYTES} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if (size or required) and kind != "application/json" and not kind.endswith("+json"):
        raise HttpProblem("unsupported_media_type", "the body must be application/json")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_typed(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return a body as the decoder's type; `InvalidValue` or `HttpProblem` names the error."""
    found = _decode(decoder, body)
    _refuse_repeated_names(body)
    return found


Placed = shapes.PlaceOrderBody | shapes.SpringOrderBody


def read_place(body: bytes, *, spring: bool = False) -> tuple[Placed, Decimal, Mapping[str, int]]:
    """Return the body of an order, its exact amount, and its quantities by product.

    `spring` reads as the Spring system does: unknown fields have no effect, and numbers may be strings.
    """
    if spring:
        return _read_spring(body)
    parsed = _decode(_place, body)
    amount, lines = _amount(bytes(parsed.amount)), _lines(bytes(parsed.items))
    # Each string takes two quotation marks at least, so more of them than expected mean repeated names or escapes.
    strings = 4 + len(lines) + (0 if parsed.metadata is None else 1 + 2 * len(parsed.metadata))
    if body.count(b'"') != 2 * strings:
        _refuse_repeated_names(body)
    return parsed, amount, lines


def _read_spring(body: bytes) -> tuple[Placed, Decimal, Mapping[str, int]]:
    parsed = _decode(_spring_place, body)
    _refuse_repeated_names(body)
    lines = _load(bytes(parsed.items), _whole)
    if not isinstance(lines, dict):
        raise InvalidValue("invalid_body", "Expected `object` - at `$.items`")
    numbers: dict[str, Any] = {
        sku: _whole(units.strip()) if _is_number(units) else units for sku, units in lines.items()
    }
    amount = bytes(parsed.amount)
    if amount[:1] == b'"' and _is_number(text := _load(amount, str)):
        amount = text.strip().encode()
    return parsed, _amount(amount), numbers


def _is_number(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(_NUMBER.fullmatch(value.strip()))


def whole(raw: msgspec.Raw, field: str) -> int:
    """Return a whole JSON number; `InvalidValue` for another one. JSON has one kind of number, so `5.0` is 5."""
    text = bytes(raw)
    if text[:1] not in _NUMBER_STARTS:
        raise InvalidValue("invalid_body", f"Expected `int` - at `$.{field}`")
    found = _whole(text.decode())
    if found is None:
        raise InvalidValue("invalid_units", f"{field} must be a whole number within bounds")
    return found


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidValue("invalid_body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem("malformed_json", f"the body is not JSON: {error}") from None


def _refuse_repeated_names(body: bytes) -> None:
    """Raise `InvalidValue` if an object of the body, at any depth, has a name twice."""
    _load(body, str)


def _load(text: bytes, number: Callable[[str], object]) -> Any:
    """Parse JSON, with numbers converted by `number`; `InvalidValue` if an object has a name twice."""
    try:
        return json.loads(text.decode(), object_pairs_hook=_unique, parse_float=number, parse_int=number)
    except (ValueError, RecursionError) as error:
        raise HttpProblem("malformed_json", f"the body can't be read: {error}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidValue("repeated_name", f"an object has the name {ascii(name)[:_LONGEST_NUMBER]} twice")
    return found


def _amount(raw: bytes) -> Decimal:
    if raw[:1] not in _NUMBER_STARTS:
        raise InvalidValue("invalid_body", "Expected `number` - at `$.amount`")
    exact = _exact(raw.decode()) if len(raw) <= _LONGEST_NUMBER else None
    if exact is None:
        raise InvalidValue("invalid_amount", "the amount has too many digits")
    return exact


def _lines(raw: bytes) -> Mapping[str, int]:
    """Return quantities by product. Plain integers take a fast path, at a tenth of the cost."""
    try:
        return _usual_lines.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = _load(raw, _whole)
    if not isinstance(found, dict):
        raise InvalidValue("invalid_body", "Expected `object` - at `$.items`")
    return found


def _whole(text: str) -> int | None:
    """Return the value of a whole JSON number, such as `2` or `2.0`; None for other and for very large ones."""
    if len(text) > _LONGEST_NUMBER:
        return None
    exact = _exact(text)
    if exact is None or exact.adjusted() > 15 or exact != exact.to_integral_value():
        return None
    return int(exact)


def _exact(text: str) -> Decimal | None:
    """Return the number; None if its exponent is too large for a decimal."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
