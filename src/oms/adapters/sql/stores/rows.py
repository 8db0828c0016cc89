"""Conversions between records and rows that several services share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from oms.domain.money import Currency, Money
from oms.domain.values import NO_METADATA, Items, Metadata
from oms.ports.errors import Permanent
from oms.ports.messages import Headers, Outgoing
from oms.ports.stores.rows import DeadLetter, DeadLetterState, DeadLetterSummary, OutboxRow, StoredResponse

A = TypeVar("A")

_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(dict[str, int]).decode
_metadata = msgspec.json.Decoder(dict[str, str]).decode
_headers = msgspec.json.Decoder(tuple[tuple[str, bytes], ...]).decode


def dump(value: Mapping[Any, Any]) -> str:
    """Return a flat mapping as JSON; `Permanent` for values that JSON can't hold, such as half a surrogate pair."""
    return dump_json(dict(value))


def dump_json(value: object) -> str:
    """Return a value as JSON; `Permanent` for one that JSON can't hold."""
    try:
        return _encode(value).decode()
    except (TypeError, ValueError, OverflowError):  # also a UnicodeEncodeError
        raise Permanent("the database can't take this: a value that JSON can't hold") from None


def load_items(text: str) -> Items:
    """Return the items that were stored as JSON."""
    return MappingProxyType(_items(text))  # type: ignore[arg-type]


def load_metadata(text: str | None) -> Metadata:
    """Return the metadata that was stored as JSON."""
    return MappingProxyType(_metadata(text)) if text and text != "{}" else NO_METADATA


def dump_headers(headers: Headers) -> str:
    """Return headers as JSON. Their values are bytes, written as base64."""
    return dump_json(headers)


def load_headers(text: str) -> Headers:
    """Return the headers that were stored as JSON."""
    return _headers(text)


@lru_cache
def currency(code: str) -> Currency:
    """Return a currency by its code."""
    return Currency.of(code)


def money(minor: int, code: str) -> Money:
    """Return an amount from its two columns."""
    return Money(minor, currency(code))


def outbox_row(row: Any) -> OutboxRow:
    """Return an outbox row. `leased_until` is None for a row that was never leased: it is due since it was written."""
    until = None if row.leased_until == row.at else row.leased_until
    return OutboxRow(row.id, Outgoing(row.topic, row.key, row.value, load_headers(row.headers)), until)


def response_of(row: Any) -> StoredResponse:
    """Return the stored response of a row."""
    return StoredResponse(row.scope, row.key, row.fingerprint, row.body)


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
    """Return the columns of a dead letter."""
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
    """Return the dead letter of a row."""
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
    """Return the summary of a row with the columns `LETTER_SUMMARY`."""
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
