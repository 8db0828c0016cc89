"""Tasks: rows written in the transaction that decides on them, and run later under a lease."""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum

import attrs


class TaskKind(Enum):
    """The kinds of tasks."""

    DEADLINE = "deadline"
    CHARGE = "charge"
    VOID = "void"
    REFUND = "refund"
    NOTIFY = "notify"
    GIVE_BACK = "give-back"
    GATE_DELTA = "gate-delta"
    CALL = "call"
    """A call of a user's own step."""


@attrs.frozen
class TaskKey:
    """One task: at most one row exists for a kind and key."""

    kind: TaskKind = attrs.field(hash=False)  # Python hashes an Enum slowly, and keys differ anyway
    key: str


def composite_key(*fields: str | int) -> str:
    """Return one key for several fields: their JSON list.

    Ids may contain `:` and every other separator, so that joined texts could name two things. No id starts with `[`,
    so a key of this form never equals a plain id.
    """
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def key_fields(key: str) -> tuple[str | int, ...] | None:
    """Return the fields of a composite key; None for a key of another form."""
    return tuple(json.loads(key)) if key.startswith("[") else None


def call_of(key: str) -> tuple[str, str]:
    """Return the name of the call and the order id from the key of a `CALL` task.

    Rows written before keys were composite have `name:order id`; their names had no colon.
    """
    fields = key_fields(key)
    if fields is None:
        name, _, order_id = key.partition(":")
        return name, order_id
    return str(fields[0]), str(fields[1])


def order_of(kind: TaskKind, key: str) -> str | None:
    """Return the order that a task belongs to; None if its key names no order."""
    match kind:
        case TaskKind.CALL:
            return call_of(key)[1]
        case TaskKind.NOTIFY:  # order id and topic, which has no colon; composite for a part of an order
            fields = key_fields(key)
            return str(fields[0]) if fields is not None else key.rpartition(":")[0]
        case TaskKind.GATE_DELTA:
            fields = key_fields(key)
            named = fields is not None and fields[0] in ("restock", "refund")
            return str(fields[1]) if fields is not None and named else None
        case TaskKind.REFUND:  # that of a part has the order id and the refund's id
            fields = key_fields(key)
            return str(fields[0]) if fields is not None else key
        case _:
            return key


@attrs.frozen
class TaskRequest:
    """A task to start, at once if `due_at` is None. `payload` is for its executor.

    `trace` is the W3C trace that it belongs to, for tracing only.
    """

    kind: TaskKind
    key: str
    due_at: datetime | None = None
    payload: str = ""
    trace: str | None = None
