"""Column types: time is aware in Python whatever the database makes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, TypeDecorator
from sqlalchemy.types import TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """A moment: `timestamptz` where there is one, else whole microseconds since 1970: exact, and ordered as numbers."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's own type."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | datetime | None:
        """To what the database stores."""
        return value if value is None or dialect.name != "sqlite" else micros(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """To an aware datetime in UTC."""
        return self.reader(dialect)(value)

    @staticmethod
    def reader(dialect: Dialect) -> Callable[[Any], datetime | None]:
        """The same as a function for many values."""
        return _of_micros if dialect.name == "sqlite" else _of_server


def _of_micros(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _of_server(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


def micros(at: datetime) -> int:
    """Whole microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The moment of so many microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)
