"""API keys in a file that holds only their hashes.

A JSON list of objects: `name`, `role` (`customer` or `operator`), `user` (a customer's id), `sha256` (hex of the key),
and `expires` (ISO date and time) if it does. Two entries with one user are a key and its successor. The file is read
again when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.values import UserId, checked_id
from oms.ports.clock import Clock
from oms.ports.plugs import Authenticator, Principal, Role
from oms.ports.signals import Signals
from oms.settings import SettingsError


@attrs.frozen
class Entry:
    """One key."""

    name: str
    role: Role
    sha256: str
    user: UserId | None = None
    expires: datetime | None = None


class ApiKeys(Authenticator):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`. A file that can't be read stops the start."""

    def __init__(self, file: Path, clock: Clock, signals: Signals) -> None:
        self._file, self._clock, self._signals = file, clock, signals
        self._entries = read_keys(file)
        self._stamp = _stamp(file)

    def __repr__(self) -> str:
        return f"ApiKeys({str(self._file)!r})"

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """The owner of a key that is known and hasn't expired. Every entry is compared, in constant time."""
        key = _given(headers)
        if not key:
            return None
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = [entry for entry in self._current() if hmac.compare_digest(entry.sha256, digest)]
        for entry in found:
            if entry.expires is None or self._clock.now() < entry.expires:
                return Principal(entry.role, entry.user)
        return None

    def _current(self) -> Sequence[Entry]:
        """The entries of the file as it is now; the last good ones where it has been broken meanwhile."""
        stamp = _stamp(self._file)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._entries = read_keys(self._file)
            except SettingsError as error:
                self._signals.alarm("API keys can't be read, the old ones stay", detail=str(error))
        return self._entries


def new_key(name: str, role: Role, user: str | None = None) -> tuple[str, dict[str, str]]:
    """A new key with 256 bits of chance, to be shown once, and its entry for the file."""
    key = f"oms_{secrets.token_urlsafe(32)}"
    entry = {"name": name, "role": role.value, "sha256": hashlib.sha256(key.encode()).hexdigest()}
    return key, entry | ({"user": user} if user else {})


def read_keys(file: Path) -> Sequence[Entry]:
    """The entries of a file; `SettingsError` with one line for one that can't be used."""
    try:
        entries = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"OMS_API_KEYS_FILE: {file} can't be read: {error}") from error
    if not isinstance(entries, list):
        raise SettingsError(f"OMS_API_KEYS_FILE: {file} must be a JSON list")
    return [_entry(entry, f"OMS_API_KEYS_FILE: {file}, entry {n}") for n, entry in enumerate(entries, 1)]


def _entry(raw: Any, where: str) -> Entry:
    try:
        role = Role(raw["role"])
        user = UserId(checked_id(raw["user"], name="user")) if role is Role.CUSTOMER else None
        expires = datetime.fromisoformat(raw["expires"]) if raw.get("expires") else None
        sha256 = str(raw["sha256"]).lower()
        name = str(raw["name"])
    except (KeyError, TypeError, ValueError, InvalidValue) as error:
        raise SettingsError(f"{where}: {type(error).__name__}: {error}") from error
    if role is Role.TRUSTED:
        raise SettingsError(f"{where}: role must be customer or operator")
    if len(sha256) != 64 or not all(digit in "0123456789abcdef" for digit in sha256):
        raise SettingsError(f"{where}: sha256 must be 64 hex digits")
    if expires is not None and expires.tzinfo is None:
        raise SettingsError(f"{where}: expires needs a time zone")
    return Entry(name, role, sha256, user, expires)


def _given(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
