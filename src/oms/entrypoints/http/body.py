"""Reads request bodies: counts their size while they arrive, decodes them once, and names the wrong field in errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from oms.domain.errors import InvalidValue
from oms.entrypoints.http.problems import HttpProblem
from oms.entrypoints.http.request import Request

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
LONGEST_NUMBER = 64
"""Longer than any amount or quantity within its bounds; a longer number is refused unread."""

NUMBER_STARTS = b"-0123456789"
_usual_items = msgspec.json.Decoder(dict[str, int])


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
    found = decode(decoder, body)
    refuse_repeated_names(body)
    return found


def whole(raw: msgspec.Raw, field: str) -> int:
    """Return a whole JSON number; `InvalidValue` for another one. JSON has one kind of number, so `5.0` is 5."""
    text = bytes(raw)
    if text[:1] not in NUMBER_STARTS:
        raise InvalidValue("invalid_body", f"Expected `int` - at `$.{field}`")
    found = whole_number(text.decode())
    if found is None:
        raise InvalidValue("invalid_units", f"{field} must be a whole number within bounds")
    return found


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return a body as the decoder's type; `InvalidValue` for a wrong type, `HttpProblem` for text that isn't JSON."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidValue("invalid_body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem("malformed_json", f"the body is not JSON: {error}") from None


def refuse_repeated_names(body: bytes) -> None:
    """Raise `InvalidValue` if an object of the body, at any depth, has a name twice."""
    load(body, str)


def load(text: bytes, number: Callable[[str], object]) -> Any:
    """Parse JSON, with numbers converted by `number`; `InvalidValue` if an object has a name twice."""
    try:
        return json.loads(text.decode(), object_pairs_hook=_unique, parse_float=number, parse_int=number)
    except (ValueError, RecursionError) as error:
        raise HttpProblem("malformed_json", f"the body can't be read: {error}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidValue("repeated_name", f"an object has the name {ascii(name)[:LONGEST_NUMBER]} twice")
    return found


def amount_in(raw: bytes, path: str) -> Decimal:
    """Return the exact value of a JSON number; raises `InvalidValue` that names `path`, its place in the body."""
    if raw[:1] not in NUMBER_STARTS:
        raise InvalidValue("invalid_body", f"Expected `number` - at `$.{path}`")
    exact = exact_number(raw.decode()) if len(raw) <= LONGEST_NUMBER else None
    if exact is None:
        raise InvalidValue("invalid_amount", "the amount has too many digits")
    return exact


def items_in(raw: bytes) -> Mapping[str, int]:
    """Return quantities by product. Plain integers take a fast path, at a tenth of the cost."""
    try:
        return _usual_items.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = load(raw, whole_number)
    if not isinstance(found, dict):
        raise InvalidValue("invalid_body", "Expected `object` - at `$.items`")
    return found


def whole_number(text: str) -> int | None:
    """Return the value of a whole JSON number, such as `2` or `2.0`; None for other and for very large ones."""
    if len(text) > LONGEST_NUMBER:
        return None
    exact = exact_number(text)
    if exact is None or exact.adjusted() > 15 or exact != exact.to_integral_value():
        return None
    return int(exact)


def exact_number(text: str) -> Decimal | None:
    """Return the number; None if its exponent is too large for a decimal."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
