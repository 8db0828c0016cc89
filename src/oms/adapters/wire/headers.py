"""The headers of messages: CloudEvents attributes in binary mode, trace and cause.

A consumer can do without them. They aren't trusted: a malformed header counts as absent, and never makes a message
undecodable. The exception is `oms_schema`: a payload of another version may mean something else, so a message with an
unknown version is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from oms.ports.messages import Cause, Headers, MessageId, valid_trace

SCHEMA = b"1"
"""The version of the payloads; an additional optional field doesn't change it."""

_SCHEMA_HEADER = "oms_schema"
_OURS = frozenset({"ce_type", _SCHEMA_HEADER})
_NO_CAUSE = Cause()
_CAUSATION = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def header_writer(topic: str, source: str) -> Callable[[MessageId, str, Cause, datetime], Headers]:
    """A function that makes the headers of a topic's messages: (id, order id, cause, time in UTC) -> headers."""
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
    """A time by RFC 3339. The messages of a batch share it, and formatting it costs as much as all other headers."""
    return at.isoformat().encode()


def read_cause(headers: Headers) -> Cause:
    """The causing message and the trace that the headers name."""
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
    """The payload version in the headers if it isn't `SCHEMA`; None without that header, as from other producers."""
    for name, value in headers:
        if name == _SCHEMA_HEADER and value != SCHEMA:
            return value
    return None


def read_subject(headers: Headers) -> str | None:
    """The header `ce_subject`, the order id in messages of oms; None if it is absent or not UTF-8."""
    for name, value in headers:
        if name == "ce_subject":
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
    return None


def from_oms(headers: Headers) -> bool:
    """Whether oms, or another producer of CloudEvents, wrote these headers; the Spring system writes none of them."""
    return any(name in _OURS for name, _ in headers)
