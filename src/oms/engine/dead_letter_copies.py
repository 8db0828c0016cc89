"""The copy of a dead letter for its service's `.dlq` topic: for operators and their tools. No service reads it.

The dead letter is the row in the service's database, and redrive uses only this row. The copy is an outbox row of the
transaction that parks the message, so each dead letter has exactly one copy, published at least once.
"""

from __future__ import annotations

from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.ports.messages import COPY_PREFIX, Headers, Outgoing, is_copies_topic, size_of
from oms.ports.stores.rows import DeadLetter

MAX_COPY_BYTES = MAX_MESSAGE_BYTES
"""Bytes of key, value and headers of the largest copy: the limit of every log for value and headers alone."""

UNPUBLISHABLE = "unpublishable"
"""The cause of the dead letter of a message that the broker refused permanently."""


def copy_of(letter: DeadLetter, topic: str) -> Outgoing | None:
    """Return the copy for a `.dlq` topic; None for the dead letter of a copy, so that a copy never causes another one.

    It has the original's key, value and headers, followed by the headers of `oms`. If that is too large, or the broker
    refused the original itself, value, headers and key are left out in this order, as far as needed. A header names the
    parts that are left out.
    """
    if is_copies_topic(letter.topic):
        return None
    key, value, original, left_out = letter.key, letter.value or b"", _original_headers(letter), []
    own = _own_headers(letter)
    if value and (letter.cause == UNPUBLISHABLE or _size(key, value, original + own) > MAX_COPY_BYTES):
        value = b""
        left_out.append("value")
    if _size(key, value, original + own) > MAX_COPY_BYTES:
        original = ()
        left_out.append("headers")
    if _size(key, value, own) > MAX_COPY_BYTES:
        key = None
        left_out.append("key")
    note: Headers = ((f"{COPY_PREFIX}left_out", ",".join(left_out).encode()),) if left_out else ()
    return Outgoing(topic, key, value, original + own + note)


def original_of(headers: Headers) -> bytes:
    """Return the id of the dead letter whose copy has these headers; empty if it is no such copy."""
    return dict(headers).get(f"{COPY_PREFIX}id", b"")


def _original_headers(letter: DeadLetter) -> Headers:
    """Return the original's headers without those of an earlier copy that was sent to a topic again."""
    return tuple(header for header in letter.headers if not header[0].startswith(COPY_PREFIX))


def _own_headers(letter: DeadLetter) -> Headers:
    """Return headers that describe the dead letter. They leave out its detail, which may quote confidential text."""
    known = {
        "id": letter.id,
        "group": letter.group,
        "cause": letter.cause,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "attempts": letter.attempts,
        "parked_at": letter.parked_at.isoformat(),
        "order_id": letter.order_id,
        "value_bytes": None if letter.value is None else len(letter.value),
    }
    return tuple((COPY_PREFIX + name, str(value).encode()) for name, value in known.items() if value is not None)


_LEFT_OUT_BYTES = 64


def _size(key: bytes | None, value: bytes, headers: Headers) -> int:
    """Return the size in bytes, with room for the header that names the parts left out."""
    return len(key or b"") + len(value) + size_of(headers) + _LEFT_OUT_BYTES
