"""Work that is owed: a row written in the transaction that decides it, run later by a lease."""

from __future__ import annotations

import json
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


def composite_key(*fields: str | int) -> str:
    """One key for several fields: their JSON list.

    Ids may contain `:` and every other separator, so that joined texts could name two things. No id starts with `[`,
    so a key of this form never equals a plain id.
    """
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def key_fields(key: str) -> tuple[str | int, ...] | None:
    """The fields of a composite key; None for a key of another form."""
    return tuple(json.loads(key)) if key.startswith("[") else None


def call_of(key: str) -> tuple[str, str]:
    """The name of the call and the order id in the key of a `CALL` task.

    Rows written before keys were composite have `name:order id`; their names had no colon.
    """
    fields = key_fields(key)
    if fields is None:
        name, _, order_id = key.partition(":")
        return name, order_id
    return str(fields[0]), str(fields[1])


def order_of(kind: TaskKind, key: str) -> str | None:
    """The order that a task belongs to; None where its key doesn't say."""
    match kind:
        case TaskKind.CALL:
            return call_of(key)[1]
        case TaskKind.NOTIFY:  # order id and topic; no topic has a colon
            return key.rpartition(":")[0]
        case TaskKind.GATE_DELTA:
            fields = key_fields(key)
            return str(fields[1]) if fields is not None and fields[0] == "restock" else None
        case _:
            return key


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
