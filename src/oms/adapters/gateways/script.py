"""Scripted failures of the simulated gateway: rules added in process, or read from a file.

The file is a JSON list. Each entry selects calls, by order, user or metadata, and says what happens to them:

    [{"user": "ann", "behaviour": "decline"},
     {"metadata": {"case": "late"}, "behaviour": "late", "seconds": 20},
     {"order": "0199...", "behaviour": "no_answer_after_charge", "times": 2},
     {"user": "bob", "behaviour": "refuse_refund", "reason": "the account is closed", "times": 1}]

The behaviours whose name ends with `_refund` are about refunds, `capture_anyway` is about voids, and all others are
about charges.
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
from oms.ports.extensions import Charge, Refund, Void

Request = Charge | Void | Refund


class Behaviour(Enum):
    """How the gateway handles a call instead of capturing, voiding or refunding promptly."""

    DECLINE = "decline"
    DELAY = "delay"
    NO_ANSWER_BEFORE_CHARGE = "no_answer_before_charge"
    NO_ANSWER_AFTER_CHARGE = "no_answer_after_charge"
    LATE = "late"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    REFUSE_REFUND = "refuse_refund"
    NO_ANSWER_BEFORE_REFUND = "no_answer_before_refund"
    NO_ANSWER_AFTER_REFUND = "no_answer_after_refund"
    LATE_REFUND = "late_refund"
    CAPTURE_ANYWAY = "capture_anyway"

    @property
    def call(self) -> type[Request]:
        """The kind of call that has this behaviour."""
        if self is Behaviour.CAPTURE_ANYWAY:
            return Void
        return Refund if self.value.endswith("_refund") else Charge


class ScriptError(OmsError):
    """The script file can't be used; the text says in one line where and why."""


@attrs.define
class Rule:
    """Selects calls, and says what happens to them and how many times (None: always)."""

    behaviour: Behaviour
    order: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    times: int | None = None
    seconds: float = 0.0
    reason: str = ""
    """Why a refund is refused."""

    def matches(self, request: Request) -> bool:
        """Whether the rule selects this call."""
        return (
            isinstance(request, self.behaviour.call)
            and self.order in (None, request.order_id)
            and self.user in (None, request.user_id)
            and all(request.metadata.get(name) == value for name, value in self.metadata.items())
        )


class Script:
    """The rules that still apply. Safe for threads."""

    def __init__(self, rules: list[Rule] | None = None) -> None:
        self._rules = rules or []
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Add a rule."""
        with self._lock:
            self._rules.append(rule)

    def take(self, request: Request) -> list[Rule]:
        """The rules for this call; counts the use of those with a limited number of times."""
        with self._lock:
            found = [rule for rule in self._rules if rule.matches(request)]
            for rule in found:
                if rule.times is not None:
                    rule.times -= 1
            self._rules = [rule for rule in self._rules if rule.times is None or rule.times > 0]
        return found


_FIELDS = {"order", "user", "metadata", "behaviour", "times", "seconds", "reason"}


def read_script(path: Path) -> Script:
    """Read a script file; `ScriptError` if it can't be used."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ScriptError(f"OMS_PAYMENT_SCRIPT: {path} can't be read: {error}") from error
    if not isinstance(entries, list):
        raise ScriptError(f"OMS_PAYMENT_SCRIPT: {path} must be a JSON list")
    return Script([_rule(entry, f"OMS_PAYMENT_SCRIPT: {path}, entry {n}") for n, entry in enumerate(entries, 1)])


def _rule(entry: Any, where: str) -> Rule:
    if not isinstance(entry, dict) or not set(entry) <= _FIELDS:
        raise ScriptError(f"{where}: an object of {', '.join(sorted(_FIELDS))} is wanted")
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
    reason = entry.get("reason", "")
    if not isinstance(reason, str):
        raise ScriptError(f"{where}: reason must be text")
    return Rule(behaviour, entry.get("order"), entry.get("user"), metadata, times, float(seconds), reason)
