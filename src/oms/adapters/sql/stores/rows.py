"""Records to columns and back, as far as several services share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from oms.domain.money import Currency, Money
from oms.domain.values import NO_METADATA, Items, Metadata
from oms.ports.errors import Permanent
from oms.ports.messages import Headers, Outgoing
from oms.ports.stores.rows import DeadLetter, DeadLetterState, DeadLetterSummary, OutboxRow, StoredAnswer

A = TypeVar("A")

_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(dict[str, int]).decode
_metadata = msgspec.json.Decoder(dict[str, str]).decode
_headers = msgspec.json.Decoder(tuple[tuple[str, bytes], ...]).decode


def parted(
    changes: Sequence[tuple[A, A]], moved: Callable[[A, A], bool]
) -> tuple[list[tuple[A, A]], list[tuple[A, A]]]:
    """The changes that only moved a record on from what it was, and those that also changed what else it says."""
    parts: tuple[list[tuple[A, A]], list[tuple[A, A]]] = [], []
    for before, after in changes:
        parts[0 if moved(before, after) else 1].append((before, after))
    return parts


def dump(value: Mapping[Any, Any]) -> str:
    """A flat mapping as JSON; `Permanent` for what JSON can't hold, such as half a surrogate pair."""
    return _json(dict(value))


def _json(value: object) -> str:
    try:
        return _encode(value).decode()
    except (TypeError, ValueError, OverflowError):  # also a UnicodeEncodeError
        raise Permanent("the database can't take this: a value that JSON can't hold") from None


def load_items(text: str) -> Items:
    """Items of JSON."""
    return MappingProxyType(_items(text))  # type: ignore[arg-type]


def load_metadata(text: str | None) -> Metadata:
    """Metadata of JSON."""
    return MappingProxyType(_metadata(text)) if text and text != "{}" else NO_METADATA


def dump_headers(headers: Headers) -> str:
    """Headers as JSON; values are bytes, so they are kept as base64."""
    return _json(headers)


def load_headers(text: str) -> Headers:
    """Headers of JSON."""
    return _headers(text)


@lru_cache
def currency(code: str) -> Currency:
    """A currency by code."""
    return Currency.of(code)


def money(minor: int, code: str) -> Money:
    """An amount of its two columns."""
    return Money(minor, currency(code))


def outbox_row(row: Any) -> OutboxRow:
    """The outbox row of a row; one that was never leased is due since it was written."""
    until = None if row.leased_until == row.at else row.leased_until
    return OutboxRow(row.id, Outgoing(row.topic, row.key, row.value, load_headers(row.headers)), until)


def answer_of(row: Any) -> StoredAnswer:
    """The answer of a row."""
    return StoredAnswer(row.scope, row.key, row.fingerprint, row.body)


LETTER = (
    "id",
    "consumer",
    "message_id",
    "topic",
    "part",
    "position",
    "key",
    "value",
    "headers",
    "cause",
    "detail",
    "attempts",
    "parked_at",
    "state",
    "order_id",
)
"""The columns of a dead letter, in the order of `letter_row`."""

LETTER_SUMMARY = tuple(name for name in LETTER if name not in ("message_id", "key", "value", "headers"))
"""The columns of a dead letter's summary."""


def letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    """The columns of a dead letter."""
    return (
        letter.id,
        letter.group,
        letter.message_id,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.key,
        letter.value,
        dump_headers(letter.headers),
        letter.cause,
        letter.detail,
        letter.attempts,
        letter.parked_at,
        letter.state.value,
        letter.order_id,
    )


def letter_of(row: Any) -> DeadLetter:
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


def letter_summary_of(row: Any) -> DeadLetterSummary:
    """The summary of a dead letter."""
    return DeadLetterSummary(
        id=row.id,
        group=row.consumer,
        topic=row.topic,
        partition=row.part,
        offset=row.position,
        cause=row.cause,
        detail=row.detail,
        attempts=row.attempts,
        parked_at=row.parked_at,
        state=DeadLetterState(row.state),
        order_id=row.order_id,
    )
