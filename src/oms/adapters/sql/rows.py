"""Rows to records and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row

from oms.adapters.sql.engine import CHUNK
from oms.domain.money import Currency, Money
from oms.ports.messages import Headers
from oms.ports.store import DeadLetter, DeadLetterState

T = TypeVar("T")


def chunks(values: Iterable[T]) -> Iterator[Sequence[T]]:
    """The values in the order given, in lists short enough for one statement."""
    known = list(values)
    for start in range(0, len(known), CHUNK):
        yield known[start : start + CHUNK]


def dump(value: Mapping[Any, Any]) -> str:
    """A flat mapping as JSON."""
    return json.dumps(dict(value), separators=(",", ":"))


def load(text: str | None) -> dict[str, Any]:
    """A flat mapping of JSON."""
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def dump_headers(headers: Headers) -> str:
    """Headers as JSON; values are bytes, so they are kept as base64."""
    return json.dumps([[name, base64.b64encode(value).decode()] for name, value in headers])


def load_headers(text: str) -> Headers:
    """Headers of JSON."""
    return tuple((name, base64.b64decode(value)) for name, value in json.loads(text))


@lru_cache
def currency(code: str) -> Currency:
    """A currency by code."""
    return Currency.of(code)


def money(minor: int, code: str) -> Money:
    """An amount of its two columns."""
    return Money(minor, currency(code))


def letter_row(letter: DeadLetter) -> dict[str, Any]:
    """The columns of a dead letter."""
    return {
        "id": letter.id,
        "consumer": letter.group,
        "message_id": letter.message_id,
        "topic": letter.topic,
        "part": letter.partition,
        "position": letter.offset,
        "key": letter.key,
        "value": letter.value,
        "headers": dump_headers(letter.headers),
        "cause": letter.cause,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "parked_at": letter.parked_at,
        "state": letter.state.value,
        "order_id": letter.order_id,
    }


def letter_of(row: Row[Any]) -> DeadLetter:
    """The dead letter of a row."""
    return DeadLetter(
        id=row.id,
        group=row.consumer,
        message_id=row.message_id,
        topic=row.topic,
        partition=row.part,
        offset=row.position,
        key=row.key,
        value=row.value,
        headers=load_headers(row.headers),
        cause=row.cause,
        detail=row.detail,
        attempts=row.attempts,
        parked_at=row.parked_at,
        state=DeadLetterState(row.state),
        order_id=row.order_id,
    )
