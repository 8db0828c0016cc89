"""The gate twice: the rules in Python, and the Lua on a real Redis. Both get the same commands and must be the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from redis import Redis

from oms.adapters.memory import ManualClock, MemoryGate
from oms.adapters.memory import gate_rules as script
from oms.adapters.redis.gate import PREFIX, RedisGate, take_call
from oms.ports.errors import PortError

Line = tuple[str, int]
Command = tuple[Any, ...]

# Names whose order differs between locales; the last one is known to no first rebuild.
SKUS = ("B", "a", "A.1", "_")
ORDERS = ("o1", "O2", "o-3")
ODD_QUANTITIES = (0, -1, -(2**63), 6, 10**12, 10**15, 10**15 + 1, 2**53 + 1, 2**63, 10**30)

_skus, _orders, _units = st.sampled_from(SKUS), st.sampled_from(ORDERS), st.integers(-3, 12)
_some_orders = st.lists(_orders, min_size=1, max_size=3)
_epochs = st.sampled_from([4, 4, 4, 4, 3, 5])
_quantities = st.one_of(st.integers(1, 4), st.integers(1, 4), st.sampled_from(ODD_QUANTITIES))
_items = st.dictionaries(_skus, st.integers(1, 4), min_size=1, max_size=3)
_deltas = st.tuples(st.sampled_from(["k1", "k2", "k 3"]), _skus, st.integers(-8, 8) | st.just(10**15))

_take_lines = st.tuples(st.just("take_lines"), _orders, st.lists(st.tuples(_skus, _quantities), max_size=4))
_some_items = st.dictionaries(_orders, _items, max_size=3)
_take = st.tuples(st.just("take"), _some_items) | st.tuples(st.just("take"), _some_items.filter(bool), _epochs)
_give_back = st.tuples(st.just("give_back"), _some_orders)
_introduce = st.tuples(st.just("introduce"), st.dictionaries(_skus, _units, max_size=3), _epochs)
_add = st.tuples(st.just("add"), st.lists(_deltas, max_size=3), _epochs)
_settle = st.tuples(st.just("settle"), _some_orders)
_advance = st.tuples(st.just("advance"), st.sampled_from([-3600, 1, 3600, 86399, 86400]))
_rebuild = st.tuples(
    st.just("rebuild"),
    st.dictionaries(_skus, _units, max_size=4),
    st.dictionaries(_orders, _items, max_size=2),
    st.integers(3, 5),
)
_often = [_take_lines, _take, _give_back, _add, _settle, _advance]
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    *_often, *_often, _take_lines, _introduce, _rebuild, st.tuples(st.just("lose_memory"))
)
"""Commands weighed so that the memory is seldom lost, and most are for the epoch that is open."""

BUILT: Command = ("rebuild", dict.fromkeys(SKUS[:3], 5), {"o-3": {"a": 2}}, 4)


SCENARIOS: Mapping[str, Sequence[Command]] = {
    "a product on two lines": [
        ("take_lines", "o1", [("a", 3), ("B", 1), ("a", 1)]),
        ("take_lines", "O2", [("a", 3)]),
        ("take_lines", "o-4", [("B", 3), ("B", 2)]),
    ],
    "all lines or none": [
        ("take", {"o1": {"a": 2, "B": 9, "A.1": 9}}),
        ("take", {"O2": {"a": 9, "B": 9, "A.1": 9}}),
        ("take", {"o4": {"a": 5, "B": 5}}),
    ],
    "answers stick": [
        ("take", {"o1": {"a": 9}, "O2": {"a": 4}}),
        ("add", [("k", "a", 9)], 4),
        ("take", {"o1": {"a": 1}, "O2": {"a": 1}}),
        ("give_back", ["O2"]),
        ("take", {"o1": {"a": 1}, "O2": {"a": 1}}),
    ],
    "an unknown product is no shortage": [("take", {"o1": {"_": 1, "a": 99}}), ("take", {"o1": {"a": 1}})],
    "odd quantities": [("take_lines", f"o{units}", [("a", units)]) for units in ODD_QUANTITIES],
    "odd sums": [("take_lines", "o1", [("a", 10**15), ("a", 1)]), ("take_lines", "O2", [("a", 3), ("a", -1)])],
    "large numbers": [
        ("add", [("k", "a", 10**15)], 4),
        ("take", {"o1": {"a": 10**15, "B": 10**15}, "O2": {"a": 10**15}}),
        ("give_back", ["O2"]),
    ],
    "missing stock is none": [("add", [("k", "a", -8)], 4), ("take", {"o1": {"a": 1}}), ("give_back", ["o-3"])],
    "what is given back is free once": [
        ("give_back", ["o-3", "new"]),
        ("give_back", ["o-3", "o-3"]),
        ("take", {"o-3": {"a": 1}, "new": {"a": 1}}),
    ],
    "a hold of an unknown product": [
        ("rebuild", {"a": 1}, {"o1": {"a": 1, "_": 2}}, 5),
        ("give_back", ["o1"]),
    ],
    "products are introduced once": [
        ("introduce", {"_": 3}, 3),
        ("introduce", {"_": 3}, 5),
        ("introduce", {"a": 50, "_": 3}, 4),
        ("introduce", {}, 4),
    ],
    "deltas are added once": [
        ("add", [("k", "a", 3), ("l", "a", -4), ("k", "a", 3)], 4),
        ("add", [("m", "a", 3)], 3),
        ("add", [("m", "a", 3)], 5),
        ("add", [("m", "a", 1), ("n", "_", 1)], 4),
    ],
    "answers expire": [
        ("take", {"o1": {"a": 1}, "O2": {"a": 99}, "o4": {"B": 1}}),
        ("settle", ["o1", "O2", "never"]),
        ("advance", 1),
        ("settle", ["o1"]),
        ("advance", 86398),
        ("settle", []),
        ("advance", 1),
        ("take", {"O2": {"B": 1}, "o4": {"B": 2}}),
        ("settle", []),
        ("take", {"o1": {"B": 1}}),
    ],
    "a rebuild": [
        ("take", {"o1": {"a": 1}}),
        ("add", [("k", "a", 1)], 4),
        ("settle", ["o1"]),
        ("rebuild", {"a": 2, "_": 1}, {"O2": {"a": 3}}, 5),
        ("add", [("k", "a", 1)], 5),
        ("rebuild", {"a": 9}, {}, 4),
        ("take", {"o1": {"_": 1}, "O2": {"a": 1}}),
        ("rebuild", {"a": 1}, {}, 5),
        ("take", {"o1": {"a": 1}}),
    ],
    "a lost memory": [
        ("lose_memory",),
        ("take", {"o1": {"a": 1}}),
        ("take", {}),
        ("give_back", ["o-3"]),
        ("give_back", []),
        ("introduce", {"a": 1}, 4),
        ("add", [], 4),
        ("settle", ["o-3"]),
        ("rebuild", {"a": 1}, {}, 3),
        ("take", {"o1": {"a": 1}}),
    ],
}
"""Each rule by itself, from a gate that is `BUILT`."""


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
            assert answers(self.gate) == answers(self.twin)
        finally:
            self.lose_memory()

    def take_lines(self, order: str, lines: Sequence[Line]) -> None:
        """A take below the port, where a product may be on several lines and a quantity is anything."""
        now_ms = int(self.clock.now().timestamp() * 1000)
        expected = script.take(self.twin.state, order, lines, now_ms)
        (found,) = self.gate._scripts.run("take", [take_call(order, lines, now_ms)])
        assert _answer(*found) == expected

    def advance(self, seconds: int) -> None:
        """Let time pass, or go back."""
        self.clock.advance(timedelta(seconds=seconds))

    def lose_memory(self) -> None:
        """As a flush does."""
        self.twin.lose_memory()
        self._client.unlink(*names(self.gate))

    def _both(self, name: str, *arguments: Any) -> None:
        expected, found = (_outcome(getattr(gate, name), *arguments) for gate in (self.twin, self.gate))
        assert found == expected
        assert self.gate.epoch() == self.twin.epoch()


PARTS = ("available", "answers", "expires", "deltas")


def names(gate: RedisGate) -> list[str]:
    """The names of all keys that the gate may have."""
    head = f"{gate.prefix}head"
    keys = gate._scripts.client.hget(head, "keys")
    return [head, *(f"{keys}{part}" for part in PARTS)]


def dump(gate: RedisGate) -> script.GateState:
    """What Redis holds under the gate's prefix, in the twin's shape."""
    head_name, available, answers, expires, deltas = names(gate)
    with gate._scripts.client.pipeline(transaction=False) as pipeline:
        for name in (head_name, available, answers, deltas):
            pipeline.hgetall(name)
        pipeline.zrange(expires, 0, -1, withscores=True)
        head, stock, kept, added, until = pipeline.execute()
    return {
        "epoch": int(head["epoch"]) if "open" in head else None,
        "available": {sku: int(units) for sku, units in stock.items()},
        "answers": {order: _stored(*text.split()) for order, text in kept.items()},
        "expires": {order: int(at) for order, at in until},
        "deltas": {key: int(one) for key, one in added.items()},
    }


def _stored(answer: str, *rest: str) -> script.StoredGateAnswer:
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


def answers(gate: Any) -> list[Any]:
    """Every answer, in the order of the orders' ids."""
    return sorted(gate.all_answers(), key=lambda kept: kept[0])
