"""Work that is owed: a row written in the transaction that decides it, run later by a lease."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs


class TaskKind(Enum):
    """What kinds of work the services owe."""

    DEADLINE = "deadline"
    CHARGE = "charge"
    VOID = "void"
    REFUND = "refund"
    NOTIFY = "notify"
    GIVE_BACK = "give-back"
    GATE_DELTA = "gate-delta"
    CALL = "call"
    """A call that a user's own step asked for."""


@attrs.frozen
class TaskKey:
    """One task: at most one row exists for a kind and key."""

    kind: TaskKind = attrs.field(hash=False)  # Python hashes an Enum slowly, and keys differ anyway
    key: str


@attrs.frozen
class TaskRequest:
    """A task to start; `due_at` None is at once. `payload` is what its executor needs beside the key.

    `trace` is the W3C trace that it belongs to: for whoever watches, no rule depends on it.
    """

    kind: TaskKind
    key: str
    due_at: datetime | None = None
    payload: str = ""
    trace: str | None = None
