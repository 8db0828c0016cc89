"""What PostgreSQL's columns refuse and SQLite's take: text that is too long or holds U+0000, and large numbers.

Checked before SQLite gets the values of a bulk statement, column by column, so that both refuse the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.types import TypeEngine

from oms.ports.errors import Permanent

_INT_32 = 2**31


def bounds_of(type_: TypeEngine[Any]) -> Callable[[Sequence[Any]], None] | None:
    """Return the check of a column's values, which raises `Permanent`.

    None for a type of which SQLite refuses the same as PostgreSQL.
    """
    if isinstance(type_, String):
        return partial(_texts, limit=type_.length)
    return _numbers if isinstance(type_, Integer) and not isinstance(type_, BigInteger) else None


def _texts(values: Sequence[Any], limit: int | None) -> None:
    texts = [value for value in values if value is not None]
    if "\0" in "".join(texts):
        raise Permanent("the database can't take this: a text with the character U+0000")
    if limit is not None and texts and max(map(len, texts)) > limit:
        raise Permanent(f"the database can't take this: a text of more than {limit} characters")


def _numbers(values: Sequence[Any]) -> None:
    numbers = [value for value in values if value is not None]
    if numbers and (min(numbers) < -_INT_32 or max(numbers) >= _INT_32):
        raise Permanent("the database can't take this: a whole number of more than 32 bits")
