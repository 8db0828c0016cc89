"""The file of API keys, which holds only their hashes.

It is a JSON list of objects: `name`, `role` (`customer` or `operator`), `user` (a customer's id), `sha256` (hex digest
of the key), and optionally `expires` (ISO date and time). Two entries with one user are a key and its successor.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.values import UserId, checked_id
from oms.ports.errors import SettingsError
from oms.ports.extensions import Role

FIELDS = ("name", "role", "user", "sha256", "expires")
"""The fields of an entry; an unknown one is refused, since a misspelt `expires` would make a key that never expires."""


@attrs.frozen
class Entry:
    """The entry of one key."""

    name: str
    role: Role
    sha256: str
    user: UserId | None = None
    expires: datetime | None = None


def new_key(name: str, role: Role, user: str | None = None) -> tuple[str, dict[str, str]]:
    """A new key with 256 random bits, to be shown once, and its entry for the file."""
    key = f"oms_{secrets.token_urlsafe(32)}"
    entry = {"name": name, "role": role.value, "sha256": hashlib.sha256(key.encode()).hexdigest()}
    return key, entry | ({"user": user} if user else {})


def read_keys(file: Path) -> Sequence[Entry]:
    """Read the entries of a file; `SettingsError` names the first entry that can't be used, its line and the reason."""
    where = f"OMS_API_KEYS_FILE: {file}"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where} can't be read: {error}") from error
    entries = []
    for number, (at, raw) in enumerate(_elements(text, where), 1):
        entries.append(_entry(raw, f"{where}, line {_line(text, at)}, entry {number}"))
    return entries


def _elements(text: str, where: str) -> Iterator[tuple[int, object]]:
    """Yield the elements of a JSON list, each with its offset in the text."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    if text[(at := _after_blanks(text, 0)) :][:1] != "[":
        raise SettingsError(f"{where}, line {_line(text, at)}: must be a JSON list")
    at = _after_blanks(text, at + 1)
    more = text[at : at + 1] != "]"
    while more:
        try:
            element, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise SettingsError(f"{where}, line {error.lineno}: {error.msg}") from error
        except (RecursionError, ValueError) as error:
            reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            raise SettingsError(f"{where}, line {_line(text, at)}: {reason}") from error
        yield at, element
        at = _after_blanks(text, end)
        if text[at : at + 1] not in (",", "]"):
            raise SettingsError(f"{where}, line {_line(text, at)}: ',' or ']' is missing")
        if more := text[at] == ",":
            at = _after_blanks(text, at + 1)
    if (at := _after_blanks(text, at + 1)) != len(text):
        raise SettingsError(f"{where}, line {_line(text, at)}: text after the list's end")


def _object(pairs: Sequence[tuple[str, object]]) -> Mapping[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(name for n, (name, _) in enumerate(pairs) if name in [other for other, _ in pairs[:n]])
        raise ValueError(f"the field {repeated!r} comes twice")
    return found


def _after_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _entry(raw: object, where: str) -> Entry:
    """Check one element of the list."""
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{where}: must be an object")
    unknown = sorted(raw.keys() - FIELDS)
    if unknown:
        raise SettingsError(f"{where}: unknown field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    try:
        return _checked(raw)
    except KeyError as error:
        raise SettingsError(f"{where}: {error} is missing") from error
    except (TypeError, ValueError, InvalidValue) as error:
        raise SettingsError(f"{where}: {error}") from error


def _checked(raw: Mapping[str, object]) -> Entry:
    role = {"customer": Role.CUSTOMER, "operator": Role.OPERATOR}.get(_text(raw, "role"))
    if role is None:
        raise ValueError("role must be customer or operator")
    sha256 = _text(raw, "sha256").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("sha256 must be 64 hex digits")
    user = UserId(checked_id(_text(raw, "user"), name="user")) if role is Role.CUSTOMER else None
    return Entry(_text(raw, "name"), role, sha256, user, _expiry(raw) if "expires" in raw else None)


def _text(raw: Mapping[str, object], name: str) -> str:
    value = raw[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text")
    return value


def _expiry(raw: Mapping[str, object]) -> datetime:
    """Read `expires`. An entry without an expiry leaves the field out: an empty one could be a mistake."""
    try:
        expires = datetime.fromisoformat(_text(raw, "expires"))
    except (TypeError, ValueError):
        raise ValueError("expires must be a date and time such as 2027-01-01T00:00:00+00:00") from None
    if expires.tzinfo is None:
        raise ValueError("expires needs a time zone")
    return expires
