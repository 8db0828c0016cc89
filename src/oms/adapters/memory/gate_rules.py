"""The stock gate's rules over plain data.

Each function is the twin of one Lua script of the Redis gate, and as atomic, so that tests can compare the two. The
caller passes the time, `now_ms`. An expired answer is removed when it is next read, or by `sweep`. The keys of deltas
are kept until the next rebuild.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from oms.ports.gate import MOST_UNITS

CLOSED = "CLOSED"
HELD = "HELD"
REJECTED = "REJECTED"
RELEASED = "RELEASED"
UNKNOWN = "UNKNOWN"
INVALID = "INVALID"

ANSWER_KEPT_MS = 24 * 60 * 60 * 1000
SWEPT_AT_ONCE = 1000

Lines = Sequence[tuple[str, int]]
ShortLine = tuple[str, int, int]
"""Product, units wanted, units available."""


class StoredGateAnswer(TypedDict):
    """The stored answer of an order."""

    answer: str
    lines: dict[str, int]
    short: list[ShortLine]


class GateState(TypedDict):
    """The gate's data. `expires` is in milliseconds, and only for settled orders."""

    epoch: int | None
    available: dict[str, int]
    answers: dict[str, StoredGateAnswer]
    expires: dict[str, int]
    deltas: dict[str, int]


class Answer(TypedDict):
    """The result of `take`."""

    answer: str
    epoch: int
    short: list[ShortLine]
    unknown: list[str]


def empty() -> GateState:
    """A gate without data, which is closed."""
    return {"epoch": None, "available": {}, "answers": {}, "expires": {}, "deltas": {}}


def copied(state: GateState) -> GateState:
    """A copy. Stored answers are shared: they are replaced, never changed."""
    return {
        "epoch": state["epoch"],
        "available": dict(state["available"]),
        "answers": dict(state["answers"]),
        "expires": dict(state["expires"]),
        "deltas": dict(state["deltas"]),
    }


def take(state: GateState, order: str, lines: Lines, now_ms: int, bound_to: int | None = None) -> Answer:
    """Hold every line or none; stores the answer unless a product is unknown or a quantity invalid."""
    epoch = state["epoch"]
    if epoch is None or bound_to not in (None, epoch):
        return _answer(CLOSED, 0)
    _expire(state, order, now_ms)
    stored = state["answers"].get(order)
    if stored is not None:
        return _answer(stored["answer"], epoch, short=stored["short"])
    summed = _summed(lines)
    if summed is None:
        return _answer(INVALID, epoch)
    available = state["available"]
    unknown = sorted(sku for sku in summed if sku not in available)
    if unknown:
        return _answer(UNKNOWN, epoch, unknown=unknown)
    short = [(sku, summed[sku], max(0, available[sku])) for sku in sorted(summed) if available[sku] < summed[sku]]
    if short:
        state["answers"][order] = {"answer": REJECTED, "lines": {}, "short": short}
        return _answer(REJECTED, epoch, short=short)
    for sku, quantity in summed.items():
        available[sku] -= quantity
    state["answers"][order] = {"answer": HELD, "lines": summed, "short": []}
    return _answer(HELD, epoch)


def _summed(lines: Lines) -> dict[str, int] | None:
    """The units of each product; None if a quantity is invalid."""
    summed: dict[str, int] = {}
    for sku, quantity in lines:
        summed[sku] = summed.get(sku, 0) + quantity
        if quantity <= 0 or summed[sku] > MOST_UNITS:
            return None
    return summed


def give_back(state: GateState, order: str, now_ms: int) -> bool:
    """Return the units that an order holds, and store RELEASED in any case; False if the gate is closed."""
    if state["epoch"] is None:
        return False
    _expire(state, order, now_ms)
    stored = state["answers"].get(order)
    if stored is not None and stored["answer"] == HELD:
        for sku, quantity in stored["lines"].items():
            if sku in state["available"]:
                state["available"][sku] += quantity
    state["answers"][order] = {"answer": RELEASED, "lines": {}, "short": []}
    return True


def introduce(state: GateState, available: Mapping[str, int], epoch: int) -> bool:
    """Add unknown products; no effect in another epoch; False if the gate is closed."""
    if state["epoch"] is None:
        return False
    if state["epoch"] == epoch:
        for sku, units in available.items():
            state["available"].setdefault(sku, units)
    return True


def add(state: GateState, key: str, sku: str, delta: int, epoch: int) -> bool:
    """Add units of a known product, once for each key; no effect in another epoch; False if the gate is closed."""
    if state["epoch"] is None:
        return False
    if state["epoch"] == epoch and key not in state["deltas"]:
        state["deltas"][key] = 1
        if sku in state["available"]:
            state["available"][sku] += delta
    return True


def settle(state: GateState, order: str, now_ms: int) -> bool:
    """Let the answer of an order expire after 24 h; False if the gate is closed."""
    if state["epoch"] is None:
        return False
    _expire(state, order, now_ms)
    if order in state["answers"]:
        state["expires"].setdefault(order, now_ms + ANSWER_KEPT_MS)
    return True


def sweep(state: GateState, now_ms: int, limit: int) -> bool:
    """Remove at most `limit` expired answers, the oldest first; False if the gate is closed."""
    if state["epoch"] is None:
        return False
    due = [(expires, order) for order, expires in state["expires"].items() if expires <= now_ms]
    for _, order in sorted(due)[:limit]:
        _expire(state, order, now_ms)
    return True


def rebuild(state: GateState, available: Mapping[str, int], held: Mapping[str, Mapping[str, int]], epoch: int) -> bool:
    """Replace all data by stock and HELD answers, the epoch last; False, without effect, if the gate's is later."""
    if state["epoch"] is not None and state["epoch"] > epoch:
        return False
    forget(state)
    state["available"].update(available)
    for order, lines in held.items():
        state["answers"][order] = {"answer": HELD, "lines": dict(lines), "short": []}
    state["epoch"] = epoch
    return True


def forget(state: GateState) -> None:
    """Remove all data, the epoch first."""
    state["epoch"] = None
    state["available"].clear()
    state["answers"].clear()
    state["expires"].clear()
    state["deltas"].clear()


def _expire(state: GateState, order: str, now_ms: int) -> None:
    expires = state["expires"].get(order)
    if expires is not None and expires <= now_ms:
        del state["expires"][order]
        state["answers"].pop(order, None)


def _answer(answer: str, epoch: int, *, short: Sequence[ShortLine] = (), unknown: Sequence[str] = ()) -> Answer:
    return {"answer": answer, "epoch": epoch, "short": list(short), "unknown": list(unknown)}
