"""What travels beside the payload: CloudEvents attributes in binary mode, trace and cause.

A consumer needs none of them. They are hints from outside, so a malformed one counts as absent and never makes
a message undecodable. The exception is `oms_schema`: a payload of another version may mean something else, so a message
with an unknown version is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from oms.ports.messages import Cause, Headers, MessageId, valid_trace

SCHEMA = b"1"
"""Version of the payloads; an added optional field doesn't change it."""

_SCHEMA_HEADER = "oms_schema"
_OURS = frozenset({"ce_type", _SCHEMA_HEADER})
_NO_CAUSE = Cause()
_CAUSATION = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def header_writer(topic: str, source: str) -> Callable[[MessageId, str, Cause, datetime], Headers]:
    """What makes the headers of a topic's messages: id, order id, cause, time (UTC) -> headers."""
    version = ("ce_specversion", b"1.0")
    kind = ("ce_type", topic.encode())
    origin = ("ce_source", source.encode())
    fixed = (("content-type", b"application/json"), (_SCHEMA_HEADER, SCHEMA))

    def write(message: MessageId, order: str, cause: Cause, at: datetime) -> Headers:
        headers: Headers = (
            version,
            ("ce_id", message.encode()),
            kind,
            origin,
            ("ce_time", _time(at)),
            ("ce_subject", order.encode()),
            *fixed,
        )
        if cause.message_id is not None:
            headers = (*headers, ("oms_causation_id", cause.message_id.encode()))
        if cause.traceparent is not None:
            headers = (*headers, ("traceparent", cause.traceparent.encode()))
        return headers

    return write


@lru_cache(maxsize=64)
def _time(at: datetime) -> bytes:
    """RFC 3339; a batch's messages share their time, and writing it costs as much as all other headers."""
    return at.isoformat().encode()


def read_cause(headers: Headers) -> Cause:
    """The cause that the headers tell of."""
    if not headers:
        return _NO_CAUSE
    message: MessageId | None = None
    trace: str | None = None
    for name, value in headers:
        if name == "oms_causation_id" and _CAUSATION.fullmatch(value):
            message = MessageId(value.decode())
        elif name == "traceparent":
            trace = valid_trace(value.decode("latin-1"))
    return Cause(message, trace) if message or trace else _NO_CAUSE


def unknown_schema(headers: Headers) -> bytes | None:
    """The payload version in the headers if it isn't `SCHEMA`; None without such a header, as from other producers."""
    for name, value in headers:
        if name == _SCHEMA_HEADER and value != SCHEMA:
            return value
    return None


def read_subject(headers: Headers) -> str | None:
    """The text of `ce_subject`, the order id of our own messages; None where there is none in UTF-8."""
    for name, value in headers:
        if name == "ce_subject":
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
    return None


def from_oms(headers: Headers) -> bool:
    """Whether a version of `oms`, or another speaker of CloudEvents, wrote these: not the system replaced."""
    return any(name in _OURS for name, _ in headers)
