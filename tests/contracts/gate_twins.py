"""The gate twice: the rules in Python, and the Lua on a real Redis. Both get the same commands and must be the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from labs import unlink
from redis import Redis

from oms.adapters.memory import ManualClock, MemoryGate
from oms.adapters.memory import gate_script as script
from oms.adapters.redis.gate import PREFIX, RedisGate, take_call
from oms.ports.errors import PortError

Line = tuple[str, int]
Command = tuple[Any, ...]

# Names whose order differs between locales, and one that no rebuild knows.
SKUS = ("B", "a", "A.1", "a-1", "_")
ORDERS = ("o1", "O2", "o-3", "4")
ODD_QUANTITIES = (0, -1, -(2**63), 6, 10**12, 10**15, 10**15 + 1, 2**53 + 1, 2**63, 10**30)
EPOCHS = st.integers(3, 6)

_skus, _orders, _units = st.sampled_from(SKUS), st.sampled_from(ORDERS), st.integers(-3, 12)
_quantities = st.integers(1, 4) | st.sampled_from(ODD_QUANTITIES)
_items = st.dictionaries(_skus, st.integers(1, 4), min_size=1, max_size=3)
_deltas = st.tuples(st.sampled_from(["k1", "k2", "k 3"]), _skus, st.integers(-8, 8) | st.just(10**15))

COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("take_lines"), _orders, st.lists(st.tuples(_skus, _quantities), max_size=4)),
    st.tuples(st.just("take"), st.dictionaries(_orders, _items, max_size=3)),
    st.tuples(st.just("give_back"), st.lists(_orders, max_size=3)),
    st.tuples(st.just("introduce"), st.dictionaries(_skus, _units, max_size=3), EPOCHS),
    st.tuples(st.just("add"), st.lists(_deltas, max_size=3), EPOCHS),
    st.tuples(st.just("settle"), st.lists(_orders, max_size=3)),
    st.tuples(st.just("advance"), st.sampled_from([-3600, 1, 3600, 86399, 86400, 90000])),
    st.tuples(
        st.just("rebuild"),
        st.dictionaries(_skus, _units, max_size=4),
        st.dictionaries(_orders, _items, max_size=2),
        EPOCHS,
    ),
    st.tuples(st.just("lose_memory")),
)
BUILT: Command = ("rebuild", dict.fromkeys(SKUS[:4], 5), {"4": {"a": 2}}, 4)


class Twins:
    """Both gates, under one clock."""

    def __init__(self, client: Redis) -> None:
        self.clock = ManualClock()
        self.twin = MemoryGate(self.clock)
        self.gate = RedisGate(client, self.clock, prefix=f"{PREFIX}test-{uuid4().hex}:")
        self._client = client

    def play(self, commands: Sequence[Command]) -> None:
        """The same to both; each answer and the whole memory afterwards must be equal."""
        try:
            for name, *arguments in commands:
                getattr(self, name, lambda *rest, name=name: self._both(name, *rest))(*arguments)
                assert dump(self.gate) == self.twin.state, f"after {name} {arguments}"
            assert self.gate.all_available() == self.twin.all_available()
            assert self.gate.all_answers() == self.twin.all_answers()
        finally:
            self.lose_memory()

    def take_lines(self, order: str, lines: Sequence[Line]) -> None:
        """A take below the port, where a product may be on several lines and a quantity is anything."""
        now_ms = int(self.clock.now().timestamp() * 1000)
        expected = script.take(self.twin.state, order, lines, now_ms)
        (found,) = self.gate._link.run("take", [take_call(order, lines, now_ms)])
        assert _answer(*found) == expected

    def advance(self, seconds: int) -> None:
        """Let time pass, or go back."""
        self.clock.advance(timedelta(seconds=seconds))

    def lose_memory(self) -> None:
        """As a flush does."""
        self.twin.lose_memory()
        unlink(self._client, self.gate.prefix)

    def _both(self, name: str, *arguments: Any) -> None:
        expected, found = (_outcome(getattr(gate, name), *arguments) for gate in (self.twin, self.gate))
        assert found == expected
        assert self.gate.epoch() == self.twin.epoch()


def dump(gate: RedisGate) -> script.GateState:
    """What Redis holds under the gate's prefix, in the twin's shape; nothing else may be there."""
    client: Any = gate._link.client
    head = client.hgetall(f"{gate.prefix}head")
    keys = head.get("keys", gate.prefix)
    names = {"available", "answers", "expires", "deltas"}
    assert set(client.scan_iter(f"{gate.prefix}*", count=1000)) <= {
        f"{gate.prefix}head",
        *(keys + name for name in names),
    }
    return {
        "epoch": int(head["epoch"]) if "open" in head else None,
        "available": {sku: int(units) for sku, units in client.hgetall(f"{keys}available").items()},
        "answers": {order: _stored(*text.split()) for order, text in client.hgetall(f"{keys}answers").items()},
        "expires": {order: int(at) for order, at in client.zrange(f"{keys}expires", 0, -1, withscores=True)},
        "deltas": {key: int(one) for key, one in client.hgetall(f"{keys}deltas").items()},
    }


def _stored(answer: str, *rest: str) -> script.StoredAnswer:
    lines = dict(zip(rest[::2], map(int, rest[1::2]), strict=True)) if answer == script.HELD else {}
    return {"answer": answer, "lines": lines, "short": _short(rest) if answer == script.REJECTED else []}


def _answer(kind: str, epoch: int, *rest: str) -> script.Answer:
    unknown = list(rest) if kind == script.UNKNOWN else []
    return {"answer": kind, "epoch": epoch, "short": [] if unknown else _short(rest), "unknown": unknown}


def _short(rest: Sequence[str]) -> list[script.ShortLine]:
    return list(zip(rest[::3], map(int, rest[1::3]), map(int, rest[2::3]), strict=True))


def _outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except PortError as error:
        return type(error)
