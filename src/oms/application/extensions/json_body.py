"""Checks the JSON that a shop's step saves, publishes or passes to an outside call."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from oms.application.extensions.calling import described
from oms.domain.text import is_storable, storable_text
from oms.ports.errors import Permanent
from oms.ports.limits import MAX_MESSAGE_BYTES

MAX_DEPTH = 100
MAX_VALUES = 100_000
"""Most values in one body; a value that occurs in several places counts once for each place."""

_LEAST, _MOST = -(2**63), 2**63 - 1


class NotJson(Permanent):
    """A value isn't JSON that every store and log keeps unchanged; the text names its place in the body."""


def json_text(value: Mapping[str, object], name: str, *, sort_keys: bool = False) -> str:
    """Return an object as JSON; `NotJson` for a value that can't be kept exactly.

    Allowed are objects with text keys, lists, tuples (kept as lists), text without U+0000 and lone surrogates, whole
    numbers of 64 bits, finite floats, booleans and None; at most 100 levels, 100,000 values and 1 MiB.
    """
    if not isinstance(value, Mapping):
        raise NotJson(f"{name}: expected a JSON object, got {described(value)}")
    _check(value, name)
    text = json.dumps(value, sort_keys=sort_keys, allow_nan=False, default=dict)
    if len(text) > MAX_MESSAGE_BYTES:
        raise NotJson(f"{name}: expected at most {MAX_MESSAGE_BYTES} bytes of JSON, got {len(text)}")
    return text


def _check(whole: Mapping[str, object], name: str) -> None:
    """Check each value, once for each place it is in; a few lists that hold each other can have 2^64 places."""
    left: list[tuple[object, str, int]] = [(whole, name, 0)]
    for _ in range(MAX_VALUES):
        if not left:
            return
        value, place, depth = left.pop()
        if depth > MAX_DEPTH:
            raise NotJson(f"{name}: more than {MAX_DEPTH} levels, or a cycle")
        if isinstance(value, Mapping):
            left += [(one, f"{place}.{_key(key, place)}", depth + 1) for key, one in value.items()]
        elif isinstance(value, list | tuple):
            left += [(one, f"{place}[{at}]", depth + 1) for at, one in enumerate(value)]
        else:
            _check_plain(value, place)
    raise NotJson(f"{name}: expected at most {MAX_VALUES} values")


def _key(key: object, place: str) -> str:
    if isinstance(key, str) and is_storable(key):
        return key
    raise NotJson(f"{place}: expected keys of text without U+0000 and half surrogate pairs, got {described(key)}")


def _check_plain(value: object, place: str) -> None:
    match value:
        case None | bool():
            return
        case str():
            wrong = None if is_storable(value) else "text without U+0000 and half surrogate pairs"
        case int():
            wrong = None if _LEAST <= value <= _MOST else "a whole number of at most 64 bits"
        case float():
            wrong = None if math.isfinite(value) else "a finite number"
        case _:
            wrong = "a JSON value"
    if wrong:
        raise NotJson(f"{storable_text(place, 200)}: expected {wrong}, got {described(value)}")
