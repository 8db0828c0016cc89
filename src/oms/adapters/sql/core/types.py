"""Column types, and how values reach the drivers.

Times are aware datetimes in Python, whatever the database stores. Text sorts by code point on both databases. SQLite
refuses the values that PostgreSQL's columns refuse. PostgreSQL gets many values as the text of one array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, TypeDecorator
from sqlalchemy.dialects.postgresql import VARCHAR
from sqlalchemy.types import TypeEngine

from oms.ports.errors import Permanent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT_32 = 2**31
_NUL = "\0"
"""Separates the texts of an array: no text of PostgreSQL can hold it."""

_HOLDS_NUL = "the database can't take this: a text with the character U+0000"


def short_text(length: int) -> String:
    """Text of at most `length` characters that sorts by code point, as in Python and SQLite.

    PostgreSQL would sort by the database's locale. Workers that lock rows in Python's order would then deadlock with
    the server's order, and an upgrade of the locale's rules would corrupt the indexes.
    """
    return String(length).with_variant(VARCHAR(length, collation="C"), "postgresql")


class Instant(TypeDecorator[datetime]):
    """A point in time: `timestamptz` on PostgreSQL, whole microseconds since 1970 on SQLite.

    Microseconds are exact, and integers sort by time.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the dialect's column."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | datetime | None:
        """Convert to what the database stores."""
        return value if value is None or dialect.name != "sqlite" else micros(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Return one function instead of SQLAlchemy's two nested ones: an order's rows hold dozens of times."""
        return _from_micros if dialect.name == "sqlite" else _in_utc

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert to an aware datetime in UTC."""
        return _from_micros(value) if dialect.name == "sqlite" else _in_utc(value)


def micros(at: datetime) -> int:
    """Whole microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


def _from_micros(value: int | None) -> datetime | None:
    return None if value is None else EPOCH + timedelta(microseconds=value)


def _in_utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


def to_driver(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return the conversion of a column's values for the driver; None for text, numbers and bytes, which need none."""
    return type_.dialect_impl(dialect).bind_processor(dialect) if isinstance(type_, Instant) else None


def from_driver(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return the conversion of a driver's results; None for text, numbers and bytes, which need none."""
    return type_.result_processor(dialect, None) if isinstance(type_, Instant) else None


# -- values that PostgreSQL's columns refuse and SQLite's accept


def bounds_of(type_: TypeEngine[Any]) -> Callable[[Sequence[Any]], None] | None:
    """Return the check of a column's values for SQLite, which raises `Permanent` where PostgreSQL's column would.

    PostgreSQL refuses a text that is too long or holds U+0000, and a number that doesn't fit. None for a type of which
    both refuse the same values.
    """
    if isinstance(type_, String):
        return partial(_check_texts, limit=type_.length)
    return _check_numbers if isinstance(type_, Integer) and not isinstance(type_, BigInteger) else None


def refuse_zero(values: Iterable[Any]) -> None:
    """Raise `Permanent` for a text with U+0000. Called before anything is sent, so nothing can have happened."""
    if any(isinstance(value, str) and _NUL in value for value in values):
        raise Permanent(_HOLDS_NUL)


def _check_texts(values: Sequence[Any], limit: int | None) -> None:
    texts = [value for value in values if value is not None]
    if _NUL in "".join(texts):
        raise Permanent(_HOLDS_NUL)
    if limit is not None and texts and max(map(len, texts)) > limit:
        raise Permanent(f"the database can't take this: a text of more than {limit} characters")


def _check_numbers(values: Sequence[Any]) -> None:
    numbers = [value for value in values if value is not None]
    if numbers and (min(numbers) < -_INT_32 or max(numbers) >= _INT_32):
        raise Permanent("the database can't take this: a whole number of more than 32 bits")


# -- PostgreSQL's arrays as text


def array_text(values: Sequence[Any]) -> str:
    """Write the text of an array; `values` are all texts, bytes, whole numbers or times, with None for NULL.

    The driver converts an array value by value in Python, 2 us each. Joining the column as a whole takes a tenth of
    that, and the server reads text as fast as the binary form.
    """
    if None in values:
        return "{" + ",".join(["NULL" if value is None else _write_one(value) for value in values]) + "}"
    write = _writer_for(values[0]) if values else _write_numbers
    return "{" + write(values) + "}"


def _writer_for(value: object) -> Callable[[Sequence[Any]], str]:
    if isinstance(value, str):
        return _write_texts
    if isinstance(value, bytes):
        return _write_bytes
    return _write_times if isinstance(value, datetime) else _write_numbers


def _write_one(value: object) -> str:
    return _writer_for(value)([value])


def _write_texts(values: Sequence[str]) -> str:
    joined = _NUL.join(values)
    if joined.count(_NUL) != len(values) - 1:
        raise Permanent(_HOLDS_NUL)
    quoted = joined.replace("\\", "\\\\").replace('"', '\\"').replace(_NUL, '","')
    return f'"{quoted}"'


def _write_bytes(values: Sequence[bytes]) -> str:
    return ",".join(['"\\\\x' + value.hex() + '"' for value in values])


def _write_times(values: Sequence[datetime]) -> str:
    known = {value: f'"{value.isoformat()}"' for value in set(values)}  # a batch has few distinct times
    return ",".join([known[value] for value in values])


def _write_numbers(values: Sequence[int]) -> str:
    return ",".join(map(str, values))
