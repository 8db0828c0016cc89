"""How the simulated gateway misbehaves: by order in process, or by a file where order ids aren't known beforehand.

The file is a JSON list. Each entry selects charges and says what happens to them:

    [{"user": "ann", "behaviour": "decline"},
     {"metadata": {"case": "late"}, "behaviour": "late", "seconds": 20},
     {"order": "0199...", "behaviour": "no_answer_after_charge", "times": 2}]
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from oms.domain.errors import OmsError
from oms.ports.extensions import Charge


class Behaviour(Enum):
    """What a charge meets instead of a prompt answer."""

    DECLINE = "decline"
    DELAY = "delay"
    NO_ANSWER_BEFORE_CHARGE = "no_answer_before_charge"
    NO_ANSWER_AFTER_CHARGE = "no_answer_after_charge"
    LATE = "late"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"


class ScriptError(OmsError):
    """The script can't be used; the text is one line that says where and why."""


@attrs.define
class Line:
    """One line of a script: which charges, what happens, how often (None: always)."""

    behaviour: Behaviour
    order: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    times: int | None = None
    seconds: float = 0.0

    def fits(self, charge: Charge) -> bool:
        """Whether it is about this charge."""
        return (
            self.order in (None, charge.order_id)
            and self.user in (None, charge.user_id)
            and all(charge.metadata.get(name) == value for name, value in self.metadata.items())
        )


class Script:
    """The lines that are still to be played. Used by many threads at once."""

    def __init__(self, lines: list[Line] | None = None) -> None:
        self._lines = lines or []
        self._lock = threading.Lock()

    def add(self, line: Line) -> None:
        """Play this as well."""
        with self._lock:
            self._lines.append(line)

    def take(self, charge: Charge) -> list[Line]:
        """What happens to this call; a line that was for so many times is used up by it."""
        with self._lock:
            found = [line for line in self._lines if line.fits(charge)]
            for line in found:
                if line.times is not None:
                    line.times -= 1
            self._lines = [line for line in self._lines if line.times is None or line.times > 0]
        return found


_KEYS = {"order", "user", "metadata", "behaviour", "times", "seconds"}


def read_script(path: Path) -> Script:
    """The script in a file; `ScriptError` with one line for one that can't be used."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ScriptError(f"OMS_PAYMENT_SCRIPT: {path} can't be read: {error}") from error
    if not isinstance(entries, list):
        raise ScriptError(f"OMS_PAYMENT_SCRIPT: {path} must be a JSON list")
    return Script([_line(entry, f"OMS_PAYMENT_SCRIPT: {path}, entry {n}") for n, entry in enumerate(entries, 1)])


def _line(entry: Any, where: str) -> Line:
    if not isinstance(entry, dict) or not set(entry) <= _KEYS:
        raise ScriptError(f"{where}: an object of {', '.join(sorted(_KEYS))} is wanted")
    try:
        behaviour = Behaviour(entry.get("behaviour"))
    except ValueError:
        known = ", ".join(b.value for b in Behaviour)
        raise ScriptError(f"{where}: behaviour must be one of {known}") from None
    times, seconds = entry.get("times"), entry.get("seconds", 0)
    if not (times is None or (type(times) is int and times > 0)):
        raise ScriptError(f"{where}: times must be a whole number above 0")
    if not (isinstance(seconds, int | float) and 0 <= seconds <= 86400):
        raise ScriptError(f"{where}: seconds must be a number from 0 to 86400")
    metadata = entry.get("metadata", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise ScriptError(f"{where}: metadata must be a flat object of text")
    return Line(behaviour, entry.get("order"), entry.get("user"), metadata, times, float(seconds))
