"""The stock gate: it holds all lines of an order or none, its answers are final, and each call belongs to an epoch.

A subclass defines the fixture `new_gate`, a function that makes a gate without data. If `controls_time` is True, it
also defines `advance(seconds)`; if `can_lose_memory` is True, `lose_memory(gate)`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oms.domain.events import Shortage
from oms.domain.tasks import composite_key
from oms.domain.values import OrderId, Sku
from oms.ports.errors import Closed, Permanent, Retryable
from oms.ports.gate import MOST_UNITS, GateAnswer, Taken
from oms.testing.contracts.samples import SUITE_CHECKS

NewGate = Callable[[], Any]
A, B, C = Sku("sku-a"), Sku("sku-b"), Sku("sku-c")
ONE, TWO, THREE = OrderId("o1"), OrderId("o2"), OrderId("o3")
HELD, REJECTED, RELEASED, UNKNOWN = GateAnswer.HELD, GateAnswer.REJECTED, GateAnswer.RELEASED, GateAnswer.UNKNOWN
DAY_S = 24 * 60 * 60
EPOCH = 7


class GateContract:
    """The contract of `StockGate`."""

    controls_time = True
    """Whether a test can move the gate's clock."""

    can_lose_memory = True
    """Whether a test can delete the gate's data."""

    @pytest.fixture
    def new_gate(self) -> NewGate:
        """A function that makes a gate without data, which no rebuild has opened yet."""
        raise NotImplementedError("a contract suite needs the fixture `new_gate`")

    @pytest.fixture
    def gate(self, new_gate: NewGate) -> Any:
        """A gate with 5 units of A and 10 units of B."""
        gate = new_gate()
        gate.rebuild({A: 5, B: 10}, {}, EPOCH)
        return gate

    def advance(self, seconds: float) -> None:
        """Move the gate's clock forward."""
        raise NotImplementedError("a gate whose time can be moved needs `advance`")

    def lose_memory(self, gate: Any) -> None:
        """Delete all data of the gate, as a flush of Redis does."""
        raise NotImplementedError("a gate that can lose its memory needs `lose_memory`")

    def test_a_new_gate_is_closed(self, new_gate: NewGate) -> None:
        self._assert_closed(new_gate())

    def test_a_gate_that_lost_its_data_is_closed_until_it_is_rebuilt(self, gate: Any) -> None:
        if not self.can_lose_memory:
            pytest.skip("this suite has no way to delete this gate's data")
        self.lose_memory(gate)
        self._assert_closed(gate)
        gate.rebuild({A: 1}, {}, EPOCH + 1)
        assert gate.epoch() == EPOCH + 1
        assert _take(gate, ONE, {A: 1}).answer is HELD

    def test_an_empty_take_has_no_effect(self, gate: Any) -> None:
        assert dict(gate.take({})) == {}

    def test_an_order_with_enough_stock_is_held(self, gate: Any) -> None:
        assert _take(gate, ONE, {A: 2, B: 10}) == Taken(HELD, EPOCH)
        assert _available(gate, A, B) == {A: 3, B: 0}

    def test_all_lines_are_held_or_none(self, gate: Any) -> None:
        assert _take(gate, ONE, {B: 3, A: 6}) == Taken(REJECTED, EPOCH, (Shortage(A, 6, 5),))
        assert _available(gate, A, B) == {A: 5, B: 10}

    def test_every_short_line_is_reported(self, gate: Any) -> None:
        taken = _take(gate, ONE, {B: 11, A: 6})
        assert sorted(taken.shortages, key=lambda short: short.sku) == [Shortage(A, 6, 5), Shortage(B, 11, 10)]

    def test_a_batch_is_decided_order_by_order(self, gate: Any) -> None:
        taken = gate.take({ONE: {A: 3}, TWO: {A: 3}, THREE: {A: 2}})
        assert [taken[order].answer for order in (ONE, TWO, THREE)] == [HELD, REJECTED, HELD]
        assert _available(gate, A) == {A: 0}

    def test_a_take_for_another_epoch_is_refused(self, gate: Any) -> None:
        assert gate.take({ONE: {A: 2}}, EPOCH)[ONE] == Taken(HELD, EPOCH)
        for other in (EPOCH - 1, EPOCH + 1):
            with pytest.raises(Closed):
                gate.take({TWO: {A: 1}}, other)
        assert _available(gate, A) == {A: 3}

    def test_an_answer_is_final(self, gate: Any) -> None:
        held, refused = _take(gate, ONE, {A: 5}), _take(gate, TWO, {A: 1})
        assert _take(gate, ONE, {A: 5}) == held
        gate.give_back([ONE])
        assert _take(gate, TWO, {A: 1}) == refused, "a refusal must stay one when stock becomes free"
        assert _available(gate, A) == {A: 5}

    def test_a_repeat_with_other_items_gets_the_first_answer(self, gate: Any) -> None:
        held = _take(gate, ONE, {A: 1})
        assert _take(gate, ONE, {A: 4, B: 4}) == held
        assert _available(gate, A, B) == {A: 4, B: 10}

    @pytest.mark.parametrize("quantity", [0, -1])
    def test_a_quantity_of_zero_or_less_is_refused(self, gate: Any, quantity: int) -> None:
        with pytest.raises(Permanent):
            gate.take({ONE: {A: 1, B: quantity}})
        assert _available(gate, A, B) == {A: 5, B: 10}

    def test_large_quantities_are_exact(self, gate: Any) -> None:
        assert _take(gate, ONE, {A: 10**12 + 1}) == Taken(REJECTED, EPOCH, (Shortage(A, 10**12 + 1, 5),))
        gate.add([("k1", A, 10**12)], EPOCH)
        assert _take(gate, TWO, {A: 10**12 + 1}).answer is HELD
        assert _available(gate, A) == {A: 4}

    def test_a_delta_beyond_what_is_counted_exactly_is_refused(self, gate: Any) -> None:
        for units in (MOST_UNITS + 1, -MOST_UNITS - 1):
            with pytest.raises(Permanent):
                gate.add([("k1", A, 1), ("k2", B, units)], EPOCH)
        assert _available(gate, A, B) == {A: 5, B: 10}
        gate.add([("k2", B, MOST_UNITS)], EPOCH)
        assert _take(gate, ONE, {B: MOST_UNITS}).answer is HELD
        assert _available(gate, B) == {B: 10}

    def test_an_order_of_an_unknown_product_is_neither_held_nor_rejected(self, gate: Any) -> None:
        assert _take(gate, ONE, {A: 1, C: 1}) == Taken(UNKNOWN, EPOCH, (), (C,))
        assert _available(gate, A) == {A: 5}

    def test_the_answer_for_an_unknown_product_is_not_final(self, gate: Any) -> None:
        _take(gate, ONE, {C: 1})
        gate.introduce({C: 1}, EPOCH)
        assert _take(gate, ONE, {C: 1}).answer is HELD

    def test_an_unknown_product_is_reported_before_a_shortage(self, gate: Any) -> None:
        assert _take(gate, ONE, {A: 100, C: 1}).answer is UNKNOWN
        assert _take(gate, ONE, {A: 1}).answer is HELD

    def test_units_are_given_back_once(self, gate: Any) -> None:
        _take(gate, ONE, {A: 5, B: 1})
        gate.give_back([ONE, ONE])
        gate.give_back([ONE])
        assert _available(gate, A, B) == {A: 5, B: 10}
        assert _take(gate, ONE, {A: 1}).answer is RELEASED

    def test_an_order_that_is_given_back_before_its_take_never_holds(self, gate: Any) -> None:
        gate.give_back([ONE])
        assert _take(gate, ONE, {A: 1}).answer is RELEASED
        assert _available(gate, A) == {A: 5}

    def test_giving_back_a_rejected_order_frees_no_units(self, gate: Any) -> None:
        _take(gate, ONE, {A: 6})
        gate.give_back([ONE])
        assert _available(gate, A) == {A: 5}
        assert _take(gate, ONE, {A: 1}).answer is RELEASED

    def test_a_known_product_is_not_introduced_again(self, gate: Any) -> None:
        gate.introduce({A: 100, C: 3}, EPOCH)
        assert _available(gate, A, C) == {A: 5, C: 3}

    def test_a_sold_out_product_is_not_introduced_again(self, gate: Any) -> None:
        _take(gate, ONE, {A: 5})
        gate.introduce({A: 100}, EPOCH)
        assert _available(gate, A) == {A: 0}

    def test_a_delta_is_applied_once_per_key(self, gate: Any) -> None:
        gate.add([("k1", A, 3), ("k2", A, -1), ("k1", A, 3)], EPOCH)
        gate.add([("k1", A, 3)], EPOCH)
        assert _available(gate, A) == {A: 7}

    def test_composite_keys_with_the_same_joined_text_are_different(self, gate: Any) -> None:
        restocks = [("a:b", "c"), ("a", "b:c")]
        gate.add([(composite_key("restock", *fields), A, 1) for fields in restocks], EPOCH)
        assert dict(gate.all_available())[A] == 7

    def test_a_delta_with_a_key_of_the_old_format_is_not_applied_again(self, gate: Any) -> None:
        gate.add([("restock:order-1:sku-a", A, 1)], EPOCH)
        gate.add([("restock:order-1:sku-a", A, 1), (composite_key("restock", "order-2", A), A, 1)], EPOCH)
        assert dict(gate.all_available())[A] == 7

    def test_a_delta_does_not_introduce_a_product(self, gate: Any) -> None:
        gate.add([("k1", C, 3)], EPOCH)
        assert _take(gate, ONE, {C: 1}).answer is UNKNOWN

    def test_negative_stock_counts_as_zero(self, gate: Any) -> None:
        gate.add([("k1", A, -8)], EPOCH)
        assert _take(gate, ONE, {A: 1}) == Taken(REJECTED, EPOCH, (Shortage(A, 1, 0),))

    @pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
    def test_changes_of_another_epoch_are_ignored(self, gate: Any, epoch: int) -> None:
        gate.add([("k1", A, 3)], epoch)
        gate.introduce({C: 3}, epoch)
        assert _available(gate, A) == {A: 5}
        assert _take(gate, THREE, {C: 1}).answer is UNKNOWN
        gate.add([("k1", A, 3)], EPOCH)
        assert _available(gate, A) == {A: 8}

    def test_a_rebuild_replaces_all_data(self, gate: Any) -> None:
        _take(gate, ONE, {A: 5})
        _take(gate, TWO, {A: 1})
        gate.add([("k1", B, 1)], EPOCH)
        gate.rebuild({A: 2}, {THREE: {A: 3}}, EPOCH + 1)
        assert gate.epoch() == EPOCH + 1
        assert _take(gate, THREE, {A: 1}) == Taken(HELD, EPOCH + 1)
        assert _available(gate, A) == {A: 2}
        assert _take(gate, TWO, {A: 1}) == Taken(HELD, EPOCH + 1)
        assert _take(gate, ONE, {B: 1}).answer is UNKNOWN

    def test_a_rebuild_can_be_repeated_for_the_same_epoch(self, gate: Any) -> None:
        """The last rebuild counts: after the first one, the commit of the ledger may have failed."""
        _take(gate, ONE, {A: 5})
        gate.rebuild({A: 2}, {TWO: {A: 3}}, EPOCH)
        assert gate.epoch() == EPOCH
        assert _take(gate, TWO, {A: 3}).answer is HELD
        assert _available(gate, A) == {A: 2}
        assert _take(gate, ONE, {A: 2}).answer is HELD

    def test_a_rebuild_for_an_older_epoch_is_refused(self, gate: Any) -> None:
        held = _take(gate, ONE, {A: 2})
        with pytest.raises(Retryable):
            gate.rebuild({A: 100}, {TWO: {A: 1}}, EPOCH - 1)
        assert gate.epoch() == EPOCH
        assert _take(gate, ONE, {A: 2}) == held
        assert _available(gate, A) == {A: 3}

    def test_a_rebuilt_hold_can_be_given_back(self, gate: Any) -> None:
        gate.rebuild({A: 2}, {ONE: {A: 3}}, EPOCH + 1)
        gate.give_back([ONE])
        assert _available(gate, A) == {A: 5}

    def test_the_answer_of_a_settled_order_expires(self, gate: Any) -> None:
        if not self.controls_time:
            pytest.skip("this suite can't set the clock of this gate")
        held, refused = _take(gate, ONE, {A: 1}), _take(gate, TWO, {B: 11})
        gate.settle([TWO, OrderId("unknown")])
        self.advance(DAY_S - 1)
        assert _take(gate, TWO, {B: 1}) == refused
        self.advance(2)
        assert _take(gate, TWO, {B: 1}).answer is HELD
        self.advance(30 * DAY_S)
        assert _take(gate, ONE, {A: 5}) == held

    def test_settling_frees_no_units(self, gate: Any) -> None:
        held = _take(gate, ONE, {A: 2})
        gate.settle([ONE])
        assert _take(gate, ONE, {A: 2}) == held
        assert _available(gate, A) == {A: 3}

    @settings(max_examples=60, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(
        st.lists(
            st.one_of(
                st.tuples(
                    st.just("take"),
                    st.integers(0, 4),
                    st.dictionaries(st.sampled_from([A, B]), st.integers(1, 4), min_size=1),
                ),
                st.tuples(st.just("give_back"), st.integers(0, 4)),
                st.tuples(st.just("add"), st.integers(0, 2), st.sampled_from([A, B]), st.integers(0, 4)),
                st.tuples(st.just("settle"), st.integers(0, 4)),
            ),
            max_size=20,
        )
    )
    @example([("take", 0, {A: 2}), ("give_back", 0), ("give_back", 0)])
    def test_any_sequence_of_commands_matches_the_model(self, new_gate: NewGate, commands: list[Any]) -> None:
        gate, model = new_gate(), _Model()
        gate.rebuild(dict(model.available), {}, EPOCH)
        for name, *arguments in commands:
            getattr(model, name)(gate, *arguments)
        assert _available(gate, A, B) == model.available

    def _assert_closed(self, gate: Any) -> None:
        assert gate.epoch() is None
        calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
            (gate.take, ({ONE: {A: 1}},)),
            (gate.give_back, ([ONE],)),
            (gate.introduce, ({A: 1}, EPOCH)),
            (gate.add, ([("k", A, 1)], EPOCH)),
            (gate.settle, ([ONE],)),
        ]
        for call, arguments in calls:
            with pytest.raises(Closed):
                call(*arguments)


@attrs.define
class _Model:
    """A model of a gate, in plain dictionaries."""

    available: dict[Sku, int] = attrs.field(factory=lambda: {A: 5, B: 10})
    answers: dict[int, tuple[GateAnswer, dict[Sku, int]]] = attrs.field(factory=dict)
    added: set[int] = attrs.field(factory=set)

    def take(self, gate: Any, number: int, items: dict[Sku, int]) -> None:
        """Hold all items or none, unless the order already has an answer."""
        if number not in self.answers:
            fits = all(self.available[sku] >= wanted for sku, wanted in items.items())
            for sku, wanted in items.items() if fits else ():
                self.available[sku] -= wanted
            self.answers[number] = (HELD, items) if fits else (REJECTED, {})
        assert _take(gate, OrderId(f"o{number}"), items).answer is self.answers[number][0]

    def give_back(self, gate: Any, number: int) -> None:
        """Free the units that the order holds."""
        gate.give_back([OrderId(f"o{number}")])
        for sku, held in self.answers.get(number, (RELEASED, {}))[1].items():
            self.available[sku] += held
        self.answers[number] = (RELEASED, {})

    def add(self, gate: Any, key: int, sku: Sku, delta: int) -> None:
        """Apply the delta unless its key is known."""
        gate.add([(f"k{key}", sku, delta)], EPOCH)
        self.available[sku] += 0 if key in self.added else delta
        self.added.add(key)

    def settle(self, gate: Any, number: int) -> None:
        """Settle the order: its answer stays the same for a day."""
        gate.settle([OrderId(f"o{number}")])


def _take(gate: Any, order: OrderId, items: dict[Sku, int]) -> Taken:
    taken: Taken = gate.take({order: items})[order]
    return taken


_probes = count()


def _available(gate: Any, *skus: Sku) -> dict[Sku, int]:
    """Return the available units, read from the shortages of orders that are too large to be held."""
    probes = {sku: _take(gate, OrderId(f"probe-{next(_probes)}"), {sku: 10**6}) for sku in skus}
    return {sku: taken.shortages[0].available for sku, taken in probes.items()}
