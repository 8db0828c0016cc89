"""Schedules that share what they have in common are the same schedules, and a snapshot forgets nothing."""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import islice
from typing import Any

import attrs
import pytest

from oms.testing.sim.scope import CRASH, PAUSES, REBALANCE, Scope
from oms.testing.sim.search import Found, Visited, exhaustive, play
from oms.testing.sim.snapshot import Keeper

SCOPES = {
    "coarse": (Scope(), 2),
    "fine": (Scope(fine=True), 1),
    "two orders": (Scope(orders=2), 1),
    "two workers who stand still": (
        Scope(fine=True, workers={"order": 2, "inventory": 2}, faults=frozenset({PAUSES, CRASH, REBALANCE})),
        2,
    ),
}


def each_from_its_beginning(scope: Scope, tape: Any, *, visited: Visited | None = None, listener: Any = None) -> Any:
    return play(scope, tape, visited=visited, listener=listener)


def result_of(found: Found) -> tuple[Any, ...]:
    outcome = found.outcome
    return outcome.deviations, outcome.steps, outcome.at_s, outcome.pruned, outcome.violations, outcome.tally


@pytest.mark.slow
@pytest.mark.parametrize("name", SCOPES)
def test_shared_schedules_are_the_same_ones(name: str) -> None:
    scope, depth = SCOPES[name]
    shared = map(result_of, islice(exhaustive(scope, depth), 200))
    alone = map(result_of, islice(exhaustive(scope, depth, each_from_its_beginning), 200))

    count = 0
    for one, other in zip(shared, alone, strict=True):
        assert one == other
        count += 1
    assert count >= 150


class Slotted:
    __slots__ = ("__own", "found", "unset")

    def __init__(self) -> None:
        self.found = [1]
        self.__own = 1

    def count(self) -> int:
        self.__own += 1
        return self.__own


class Bag:
    def __init__(self) -> None:
        self.dict = {"b": [1], "a": 2}
        self.deque = deque([1, 2], maxlen=9)
        self.set = {1, 2}
        self.slotted = Slotted()
        self.inside = ({"deep": [1]}, frozenset({3}))
        self.record = Record([1])
        self.partial = partial(print, [1])
        self.count = self.counter()

    def counter(self) -> Any:
        number = 0

        def count() -> int:
            nonlocal number
            number += 1
            return number

        return count


@attrs.frozen
class Record:
    lines: list[int]


def test_everything_is_as_it_was() -> None:
    bag = Bag()
    same = (bag.dict, bag.dict["b"], bag.slotted)
    keeper = Keeper(bag)
    first = keeper.snapshot()
    assert bag.count() == 1
    bag.dict["b"].append(2)  # type: ignore[attr-defined]
    del bag.dict["b"]
    bag.dict["b"] = [9]
    bag.deque.append(3)
    bag.set.add(3)
    bag.slotted.found = [2]
    assert bag.slotted.count() == 2
    bag.inside[0]["deep"].append(2)
    bag.record.lines.append(2)
    bag.partial.args[0].append(2)
    bag.more = 1  # type: ignore[attr-defined]
    second = keeper.snapshot()
    bag.dict["b"].append(10)  # type: ignore[attr-defined]

    keeper.put_back(second)
    assert (bag.dict, bag.slotted.found, bag.more, bag.count()) == ({"a": 2, "b": [9]}, [2], 1, 2)  # type: ignore[attr-defined]

    keeper.put_back(first)
    assert list(bag.dict) == ["b", "a"]
    assert (bag.dict, list(bag.deque), bag.set, bag.slotted.found) == ({"b": [1], "a": 2}, [1, 2], {1, 2}, [1])
    assert (bag.inside[0], bag.record.lines, bag.partial.args[0]) == ({"deep": [1]}, [1], [1])
    assert not hasattr(bag, "more")
    assert bag.slotted.count() == 2
    assert all(one is other for one, other in zip(same, (bag.dict, bag.dict["b"], bag.slotted), strict=True))
    assert bag.count() == 1


def test_a_thing_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"can't keep a builtins\.generator"):
        Keeper([iter(n for n in range(3))])
