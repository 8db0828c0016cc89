"""The copy of a dead letter for its service's `.dlq` topic: for operators and their tools, and for no handler of ours.

The row in the service's database is the dead letter; redrive works on it alone. The copy leaves through the outbox of
the transaction that parks, so each parked message has exactly one, published at least once.
"""

from __future__ import annotations

from oms.ports.messages import COPY_PREFIX, MAX_MESSAGE_BYTES, Headers, Outgoing, is_copies_topic, size_of
from oms.ports.stores.rows import DeadLetter

MAX_COPY_BYTES = MAX_MESSAGE_BYTES
"""Key, value and headers of the largest copy: what every log takes for value and headers alone."""

UNPUBLISHABLE = "unpublishable"
"""The cause of a dead letter that the broker refused for good."""


def copy_of(letter: DeadLetter, topic: str) -> Outgoing | None:
    """The copy for a `.dlq` topic; None for the dead letter of a copy, so that no copy leads to another.

    Key, value and headers are the original's; ours come behind them. Where that is too large, or the broker refused
    the original itself, value, headers and key are left out, in this order and as far as needed: a header names them.
    """
    if is_copies_topic(letter.topic):
        return None
    key, value, theirs, left_out = letter.key, letter.value or b"", _theirs(letter), []
    ours = _ours(letter)
    if value and (letter.cause == UNPUBLISHABLE or _size(key, value, theirs + ours) > MAX_COPY_BYTES):
        value = b""
        left_out.append("value")
    if _size(key, value, theirs + ours) > MAX_COPY_BYTES:
        theirs = ()
        left_out.append("headers")
    if _size(key, value, ours) > MAX_COPY_BYTES:
        key = None
        left_out.append("key")
    said: Headers = ((f"{COPY_PREFIX}left_out", ",".join(left_out).encode()),) if left_out else ()
    return Outgoing(topic, key, value, theirs + ours + said)


def original_of(headers: Headers) -> bytes:
    """The id of the dead letter that a copy with these headers is of; empty for what is no copy of ours."""
    return dict(headers).get(f"{COPY_PREFIX}id", b"")


def _theirs(letter: DeadLetter) -> Headers:
    """The original's headers, less those of an earlier copy that somebody sent back: they would pile up."""
    return tuple(header for header in letter.headers if not header[0].startswith(COPY_PREFIX))


def _ours(letter: DeadLetter) -> Headers:
    """What became of it. The detail stays in the database: it may quote what isn't for every reader of a topic."""
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
    """Bytes, with room for the header that names what is left out."""
    return len(key or b"") + len(value) + size_of(headers) + _LEFT_OUT_BYTES
