"""A request's body: counted while it streams, decoded once, refused with the name of what is wrong."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from oms.domain.errors import InvalidValue
from oms.entrypoints.http import shapes
from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.request import Request

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
_LONGEST_NUMBER = 64
"""More digits than any amount or quantity within its bounds needs: longer ones aren't even read."""

_place = msgspec.json.Decoder(shapes.PlaceOrderBody)
_usual_lines = msgspec.json.Decoder(dict[str, int])


async def read_body(request: Request, *, required: bool = True) -> bytes:
    """The body, of JSON's media type (or none) and at most 64 KiB, whatever the headers say of its length."""
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


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A typed body; refused by the name of the field, or as `malformed_json` where it is no JSON."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidValue("invalid_body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem("malformed_json", f"the body is not JSON: {error}") from None


def read_place(body: bytes) -> tuple[shapes.PlaceOrderBody, Decimal, list[tuple[str, int]]]:
    """The body, its exact amount, and its lines as they stand there: a product named twice is there twice."""
    parsed = decode(_place, body)
    return parsed, _amount(bytes(parsed.amount)), _lines(bytes(parsed.items))


def whole(number: float) -> int:
    """Units: JSON has one kind of number, so `5.0` is 5."""
    if isinstance(number, float) and not number.is_integer():
        raise InvalidValue("invalid_units", "units are whole")
    return int(number)


def _amount(raw: bytes) -> Decimal:
    if raw[:1] not in b"-0123456789":
        raise InvalidValue("invalid_body", "Expected `number` - at `$.amount`")
    exact = _exact(raw.decode()) if len(raw) <= _LONGEST_NUMBER else None
    if exact is None:
        raise InvalidValue("invalid_amount", "the amount has too many digits")
    return exact


def _lines(raw: bytes) -> list[tuple[str, int]]:
    """Usually whole numbers of products that are named once: read at a tenth of the cost of finding what is wrong."""
    try:
        usual = _usual_lines.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _any_lines(raw)
    return list(usual.items()) if 2 * len(usual) == raw.count(b'"') else _any_lines(raw)


def _any_lines(raw: bytes) -> list[tuple[str, int]]:
    try:
        pairs: Any = json.loads(raw.decode(), object_pairs_hook=_Pairs, parse_float=_whole, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise HttpProblem("malformed_json", f"the items can't be read: {error}") from None
    if not isinstance(pairs, _Pairs):
        raise InvalidValue("invalid_body", "Expected `object` - at `$.items`")
    return pairs


class _Pairs(list[tuple[str, int]]):
    """A JSON object as its pairs."""


def _whole(text: str) -> int | None:
    """A JSON number that is whole (`2.0` is); None, which is no quantity, for any other and for huge ones."""
    if len(text) > _LONGEST_NUMBER:
        return None
    exact = _exact(text)
    if exact is None or exact.adjusted() > 15 or exact != exact.to_integral_value():
        return None
    return int(exact)


def _exact(text: str) -> Decimal | None:
    """None for an exponent beyond what a decimal can hold."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
