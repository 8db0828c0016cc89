from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.adapters.memory import ManualClock, MemoryGate, WorkerKilled
from oms.adapters.memory import gate_rules as script
from oms.domain.values import OrderId, Sku
from oms.testing.contracts.gate import GateContract
from tests.contracts.labs import Timed


class TestMemoryGate(Timed, GateContract):
    @pytest.fixture
    def new_gate(self) -> Callable[[], Any]:
        return lambda: MemoryGate(self.clock)

    def lose_memory(self, gate: Any) -> None:
        gate.lose_memory()


def _built(**available: int) -> script.GateState:
    state = script.empty()
    script.rebuild(state, available, {}, 1)
    return state


def test_lines_of_one_product_are_summed() -> None:
    """The port's items are summed already; the script doesn't trust its callers."""
    state = _built(a=5)
    assert script.take(state, "o1", [("a", 3), ("a", 3)], 0)["answer"] == script.REJECTED
    assert script.take(state, "o2", [("a", 2), ("a", 3)], 0)["answer"] == script.HELD
    assert state["available"] == {"a": 0}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-2, 6)), min_size=1, max_size=5))
def test_a_take_changes_stock_by_all_of_its_lines_or_by_none(lines: list[tuple[str, int]]) -> None:
    state = _built(a=5, b=5)
    answer = script.take(state, "o1", lines, 0)["answer"]
    wanted = {sku: sum(quantity for name, quantity in lines if name == sku) for sku in "ab"}
    taken = {sku: 5 - state["available"][sku] for sku in "ab"}
    assert taken == (wanted if answer == script.HELD else {"a": 0, "b": 0})
    assert all(units >= 0 for units in state["available"].values())
    assert ("o1" in state["answers"]) is (answer in (script.HELD, script.REJECTED))


def test_an_answer_can_be_compared_as_plain_data() -> None:
    state = _built(a=1)
    script.take(state, "o1", [("a", 2)], 0)
    script.settle(state, "o1", 1000)
    assert state == {
        "epoch": 1,
        "available": {"a": 1},
        "answers": {"o1": {"answer": "REJECTED", "lines": {}, "short": [("a", 2, 1)]}},
        "expires": {"o1": 1000 + script.ANSWER_KEPT_MS},
        "deltas": {},
    }


def test_a_killed_worker_takes_nothing() -> None:
    gate = MemoryGate(ManualClock())
    gate.rebuild({Sku("a"): 1}, {}, 1)
    gate.worker("dead")
    gate.kill("dead")
    with pytest.raises(WorkerKilled):
        gate.worker("dead").take({OrderId("o1"): {Sku("a"): 1}})
    assert gate.state["available"] == {"a": 1}
