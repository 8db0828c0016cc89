"""Text from outside the system, made fit for storage and for terminals."""

from __future__ import annotations

import hashlib

DETAIL_LIMIT = 500
"""Characters of an error's text that are kept."""

_REPLACEMENT = "\ufffd"
_CUT = "\u2026"


def storable_text(text: object, limit: int = DETAIL_LIMIT) -> str:
    """Return `str(text)` with at most `limit` characters, in a form that every store and log accepts.

    U+0000 and lone surrogates become U+FFFD: PostgreSQL refuses the first, UTF-8 the second. A longer text is cut and
    ends with an ellipsis. An object whose `__str__` raises is described by its type, so this function never raises.
    """
    try:
        plain = str(text)
    except Exception as error:  # noqa: BLE001 - the text of an error must not become a second error
        plain = f"<{type(text).__name__} without text: {type(error).__name__}>"
    plain = plain[: limit + 1]
    if not is_storable(plain):
        plain = plain.replace("\x00", _REPLACEMENT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain if len(plain) <= limit else plain[: limit - 1] + _CUT


_DIGEST_DIGITS = 16
"""Hexadecimal digits that distinguish shortened names: 64 bits."""


def storable_name(name: str, limit: int) -> str:
    """Return `name` unchanged if it can be stored in `limit` characters, else a shorter, distinct name.

    The shorter name is the beginning of `name`, made storable, `~`, and 16 hexadecimal digits of the SHA-256 of its
    UTF-8 bytes. It has at most `limit` characters, and different names stay different.
    """
    if len(name) <= limit and is_storable(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    kept = limit - _DIGEST_DIGITS - 1
    return f"{storable_text(name[:kept], kept)}~{digest}"


def printable_text(text: str, *, keep: str = "") -> str:
    """Return a text in which nothing can move the cursor, change colours or reorder what a reader sees.

    Control characters, bidirectional controls, invisible characters and lone surrogates become U+FFFD, except those in
    `keep` (for instance a line feed).
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else _REPLACEMENT for sign in text)


def is_storable(text: str) -> bool:
    """Whether a text holds neither U+0000 nor a lone surrogate."""
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
