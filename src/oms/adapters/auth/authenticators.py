"""Authenticators: API keys from a file, or trust in every caller."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from oms.adapters.auth.keys_file import Entry, read_keys
from oms.ports.clock import Clock
from oms.ports.errors import SettingsError
from oms.ports.extensions import Authenticator, Principal, Role
from oms.ports.telemetry import Telemetry

SHOWN_DIGITS = 16
"""Digits of `sha256` that identify a key in the log, so that an operator can find its entry."""

_TRUSTED = Principal(Role.TRUSTED)
_DELETED: tuple[int, ...] = ()
_UNKNOWN = (0,)

Entries = Mapping[str, Sequence[Entry]]
"""Entries by the hash of their key. A key may have several, such as an expired one and its extension."""


class TrustEveryone(Authenticator):
    """No authentication: every caller may act for any user, and as an operator.

    Only for a server on a loopback address, or behind a proxy that authenticates callers.
    """

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:  # noqa: ARG002 - no header is needed
        return _TRUSTED


class ApiKeys(Authenticator):
    """Accepts `Authorization: Bearer <key>` and `X-API-Key: <key>`.

    The file is read again when it changes. While it is deleted, no key is accepted. A file that can't be read at the
    start raises `SettingsError`.
    """

    def __init__(self, file: Path, clock: Clock, telemetry: Telemetry) -> None:
        self._file, self._clock, self._telemetry = file, clock, telemetry
        self._stamp = _stamp(file)  # before reading, so that the next request sees a change made meanwhile
        self._entries = _by_hash(read_keys(file))

    def __repr__(self) -> str:
        return f"ApiKeys({str(self._file)!r})"

    @property
    def has_customers(self) -> bool:
        """Whether the file has a customer's key."""
        return any(entry.role is Role.CUSTOMER for entries in self._current().values() for entry in entries)

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the owner of a key that is in the file and hasn't expired.

        The look-up compares hashes, not in constant time: its duration says how much of a hash agrees, which is of no
        use to a caller, who can't choose the SHA-256 of a key that he doesn't know.
        """
        key = _given(headers)
        if not key:
            return None
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        for entry in self._current().get(digest, ()):
            if entry.expires is None or self._clock.now() < entry.expires:
                return Principal(entry.role, entry.user, digest[:SHOWN_DIGITS])
        return None

    def _current(self) -> Entries:
        """Return the entries of the file: the last valid ones if it is invalid now, none if it is deleted."""
        stamp = _stamp(self._file)
        if stamp != self._stamp:
            self._stamp = stamp
            if stamp == _DELETED:
                self._entries = {}
                self._telemetry.alert("API keys file deleted, every key is refused", file=str(self._file))
                return self._entries
            try:
                self._entries = _by_hash(read_keys(self._file))
            except SettingsError as error:
                self._telemetry.alert("API keys can't be read, the old ones stay", detail=str(error))
        return self._entries


def _by_hash(entries: Iterable[Entry]) -> Entries:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.sha256, []).append(entry)
    return found


def _given(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _stamp(file: Path) -> tuple[int, ...]:
    """Return numbers that change with the file, even if its size and time stay the same."""
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _DELETED
    except OSError:
        return _UNKNOWN
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
