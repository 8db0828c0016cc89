"""The inventory service's store: the stock ledger, which decides whether a sale is possible, and the gate's epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.domain.reservation import Reservation, ReservationState, restock_reference
from oms.domain.stock import Movement, MovementKind, Stock, movements
from oms.domain.values import MAX_PART_ID, OrderId, Sku
from oms.ports import limits
from oms.ports.errors import Permanent, PortError, Retryable
from oms.testing.contracts.dead_letters import DeadLetterContract
from oms.testing.contracts.limits import LimitContract, ResponseLimitContract, refuses, refuses_number
from oms.testing.contracts.outbox import OutboxContract
from oms.testing.contracts.registration import RegistrationContract
from oms.testing.contracts.responses import ResponseContract
from oms.testing.contracts.samples import AT, SUITE_CHECKS, order_id, refund_requested, terms
from oms.testing.contracts.stores import NewStore, StoreContract
from oms.testing.contracts.tasks import TaskContract

ONE, TWO = order_id(1), order_id(2)
A, B, C = Sku("sku-a"), Sku("sku-b"), Sku("sku-c")
HOLD, COMMIT, RELEASE = MovementKind.HOLD, MovementKind.COMMIT, MovementKind.RELEASE
Moves = Sequence[tuple[int, Sku, int, int]]


class InventoryStoreContract(
    StoreContract,
    TaskContract,
    RegistrationContract,
    OutboxContract,
    DeadLetterContract,
    LimitContract,
    ResponseContract,
    ResponseLimitContract,
):
    """The contract of `InventoryStore` and `InventoryEvidence`."""

    def test_a_product_is_introduced_once(self, store: Any) -> None:
        _introduce(store, {A: 10, B: 0})
        _introduce(store, {A: 99, C: 5})
        assert store.stock([A, B, C, Sku("unknown")]) == {A: Stock(A, 10), B: Stock(B, 0), C: Stock(C, 5)}

    def test_the_first_default_stock_is_never_overwritten(self, store: Any) -> None:
        assert store.default_stock() is None
        store.record_default_stock("")
        store.record_default_stock("100")
        assert store.default_stock() == ""
        assert store.currency() is None, "the two are recorded apart"

    def test_a_default_stock_has_a_ledger_row(self, store: Any) -> None:
        _introduce(store, {A: 10, B: 0})
        rows = [(row.sku, row.kind, row.on_hand, row.held) for row in store.all_movements()]
        assert rows == [(A, MovementKind.DEFAULT, 10, 0)]

    def test_a_concurrent_second_introduction_waits_and_changes_nothing(self, store: Any) -> None:
        with store.begin() as first:
            first.introduce_stock({A: 10})
            self.meanwhile(lambda: _introduce(store, {A: 99}), first.commit)
        assert store.stock([A]) == {A: Stock(A, 10)}

    def test_texts_and_numbers_of_stock_ledger_and_reservations_are_limited(self, new_store: Any) -> None:
        def move(store: Any, reference: str) -> None:
            _introduce(store, {A: 10})
            _move(store, movements(reference, HOLD, {A: 1}))

        def reserve(store: Any, order: str) -> None:
            _hold(store, OrderId(order))

        refuses(new_store, lambda store, text: _introduce(store, {Sku(text): 1}), limits.ID)
        refuses(new_store, move, limits.REFERENCE)
        refuses(new_store, reserve, limits.ID)
        refuses_number(new_store, lambda store, units: _introduce(store, {A: units}))

    def test_pages_list_products_by_sku(self, store: Any) -> None:
        _introduce(store, {C: 3, A: 1, B: 2})
        page = store.stock_page(0, 2)
        assert page.content == (Stock(A, 1), Stock(B, 2))
        assert (page.number, page.size, page.total) == (0, 2, 3)
        assert store.stock_page(1, 2).content == (Stock(C, 3),)
        assert store.stock_page(2, 2).content == ()

    def test_stock_changes_by_the_sum_of_its_ledger_rows(self, store: Any) -> None:
        _introduce(store, {A: 10, B: 10})
        _move(store, [*movements("o1", HOLD, {A: 2, B: 1}), *movements("o2", HOLD, {A: 3})])
        assert store.stock([A, B]) == {A: Stock(A, 10, 5), B: Stock(B, 10, 1)}
        _move(store, [*movements("o1", COMMIT, {A: 2, B: 1}), *movements("o2", RELEASE, {A: 3})])
        assert store.stock([A, B]) == {A: Stock(A, 8, 0), B: Stock(B, 9, 0)}

    def test_only_the_sum_of_a_batch_must_stay_within_bounds(self, store: Any) -> None:
        """A batch that sells the last units and receives more is one update per product."""
        _introduce(store, {A: 1})
        _move(store, [*movements("o1", HOLD, {A: 3}), Movement("delivery", A, MovementKind.RECEIVE, 5, 0)])
        assert store.stock([A]) == {A: Stock(A, 6, 3)}

    @pytest.mark.parametrize(
        "movement",
        [
            Movement("o1", A, HOLD, 0, 11),
            Movement("o1", A, RELEASE, 0, -1),
            Movement("k", A, MovementKind.COUNT, -11, 0),
        ],
        ids=["more than there is", "less than none held", "less than none on hand"],
    )
    def test_stock_stays_within_its_bounds(self, store: Any, movement: Movement) -> None:
        _introduce(store, {A: 10})
        with pytest.raises(Permanent):
            _move(store, [movement])
        assert store.stock([A]) == {A: Stock(A, 10)}
        assert [row.kind for row in store.all_movements()] == [MovementKind.DEFAULT]

    def test_an_unknown_product_cannot_change(self, store: Any) -> None:
        with pytest.raises(PortError):
            _move(store, movements("o1", HOLD, {A: 1}))
        assert list(store.all_movements()) == []

    def test_a_second_ledger_row_for_the_same_cause_is_refused(self, store: Any) -> None:
        _introduce(store, {A: 10})
        _move(store, movements("o1", HOLD, {A: 1}))
        with pytest.raises(Retryable):
            _move(store, movements("o1", HOLD, {A: 1}))
        assert store.stock([A]) == {A: Stock(A, 10, 1)}

    def test_a_second_lock_sees_the_first_change_of_stock(self, store: Any) -> None:
        _introduce(store, {A: 10})
        with store.begin() as first:
            assert first.lock_stock([A, B]) == {A: Stock(A, 10)}
            first.move_stock(movements("o1", HOLD, {A: 9}))
            assert self.meanwhile(lambda: _locked_stock(store), first.commit) == {A: Stock(A, 10, 9)}

    def test_a_rollback_keeps_stock_and_ledger(self, store: Any) -> None:
        _introduce(store, {A: 10})
        with store.begin() as transaction:
            transaction.move_stock(movements("o1", HOLD, {A: 9}))
            assert transaction.lock_stock([A]) == {A: Stock(A, 10, 9)}
        assert store.stock([A]) == {A: Stock(A, 10)}

    def test_a_reservation_is_read_back_unchanged(self, store: Any) -> None:
        held = _hold(store, ONE)
        assert store.reservations([ONE, TWO]) == {ONE: held}
        assert list(store.all_reservations()) == [held]
        with store.begin() as transaction:
            assert transaction.lock_reservations([TWO, ONE]) == {ONE: held}

    def test_restocks_are_read_back_unchanged(self, store: Any) -> None:
        held = _hold(store, ONE)
        once = held.refunded(refund_requested("r-1", items={B: 1}), at=AT).aggregate
        _reserve(store, held, once)
        sold = once.commit(at=AT).aggregate
        _reserve(store, once, sold)
        twice = sold.refunded(refund_requested("r-2", items={A: 1, B: 1}), at=AT).aggregate
        _reserve(store, sold, twice)
        assert store.reservations([ONE]) == {ONE: twice}
        assert list(store.all_reservations()) == [twice]
        with store.begin() as transaction:
            assert transaction.lock_reservations([ONE]) == {ONE: twice}
        assert twice.refunded(refund_requested("r-1", items={B: 1}), at=AT).aggregate is twice

    def test_two_restocks_wait_for_each_other_and_both_are_stored(self, store: Any) -> None:
        held = _hold(store, ONE)

        def second() -> Reservation:
            with store.begin() as transaction:
                known: Reservation = transaction.lock_reservations([ONE])[ONE]
                after = known.refunded(refund_requested("r-2", items={A: 1}), at=AT).aggregate
                transaction.save_reservations([(known, after)])
                transaction.commit()
            return after

        with store.begin() as first:
            first.lock_reservations([ONE])
            first.save_reservations([(held, held.refunded(refund_requested("r-1", items={B: 1}), at=AT).aggregate)])
            after = self.meanwhile(second, first.commit)
        assert [restock.refund_id for restock in after.restocks] == ["r-1", "r-2"]
        assert store.reservations([ONE]) == {ONE: after}

    def test_a_refund_restocks_once_by_its_ledger_row(self, store: Any) -> None:
        """Ids of orders and refunds may have their greatest lengths."""
        _introduce(store, {A: 10})
        restock = movements(restock_reference(OrderId("o" * limits.ID), "r" * MAX_PART_ID), MovementKind.REFUND, {A: 2})
        _move(store, restock)
        with pytest.raises(Retryable):
            _move(store, restock)
        assert store.stock([A]) == {A: Stock(A, 12)}
        assert list(store.all_movements())[1:] == list(restock)

    def test_a_tombstone_has_no_items(self, store: Any) -> None:
        tombstone = Reservation(order_id=ONE).release(at=AT).aggregate
        _reserve(store, Reservation(order_id=ONE), tombstone)
        assert dict(store.reservations([ONE])[ONE].items) == {}
        assert store.reservations([ONE])[ONE].state is ReservationState.RELEASED

    def test_saving_an_outdated_state_is_retryable(self, store: Any) -> None:
        held = _hold(store, ONE)
        committed = held.commit(at=AT).aggregate
        _reserve(store, held, committed)
        with pytest.raises(Retryable):
            _reserve(store, held, held.release(at=AT).aggregate)
        assert store.reservations([ONE]) == {ONE: committed}

    def test_inserting_a_known_reservation_is_retryable(self, store: Any) -> None:
        held = _hold(store, ONE)
        with pytest.raises(Retryable):
            _reserve(store, Reservation(order_id=ONE), Reservation(order_id=ONE).release(at=AT).aggregate)
        assert store.reservations([ONE]) == {ONE: held}

    def test_the_fold_contains_all_stock_and_holds(self, store: Any) -> None:
        _introduce(store, {A: 10, B: 10})
        held = _hold(store, ONE)
        _reserve(store, _hold(store, TWO), _hold_of(TWO).commit(at=AT).aggregate)
        _move(store, movements(ONE, HOLD, held.items))
        with store.begin() as transaction:
            stock, items = transaction.fold()
        assert dict(stock) == {A: Stock(A, 10, 1), B: Stock(B, 10, 2)}
        assert {order: dict(lines) for order, lines in items.items()} == {ONE: {A: 1, B: 2}}

    def test_the_epoch_is_stored(self, store: Any) -> None:
        with store.begin() as transaction:
            epoch = transaction.lock_gate()
            assert transaction.gate_epoch() == epoch
            transaction.set_gate_epoch(epoch + 1)
            transaction.commit()
        with store.begin() as transaction:
            assert transaction.gate_epoch() == epoch + 1
            transaction.set_gate_epoch(epoch + 2)
        with store.begin() as transaction:
            assert transaction.gate_epoch() == epoch + 1

    def test_concurrent_takes_read_the_same_epoch(self, store: Any) -> None:
        if not self.concurrent:
            pytest.skip("this store runs one transaction at a time")
        with store.begin() as first, store.begin() as second:
            assert first.gate_epoch() == second.gate_epoch()

    def test_a_rebuild_waits_for_takes_in_progress(self, store: Any) -> None:
        def rebuild() -> int:
            with store.begin() as second:
                epoch: int = second.lock_gate()
            return epoch

        with store.begin() as first:
            epoch = first.gate_epoch()
            assert self.meanwhile(rebuild, first.commit) == epoch

    def test_a_take_waits_for_a_rebuild_and_sees_its_epoch(self, store: Any) -> None:
        def take() -> int:
            with store.begin() as second:
                epoch: int = second.gate_epoch()
            return epoch

        with store.begin() as first:
            epoch = first.lock_gate()
            first.set_gate_epoch(epoch + 1)
            assert self.meanwhile(take, first.commit) == epoch + 1

    @settings(max_examples=25, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(
        st.lists(
            st.lists(
                st.tuples(st.integers(0, 5), st.sampled_from([A, B]), st.integers(-4, 4), st.integers(-4, 4)),
                min_size=1,
                max_size=4,
            ),
            max_size=8,
        )
    )
    def test_stock_equals_the_fold_of_its_ledger(self, new_store: NewStore, batches: list[Moves]) -> None:
        store = new_store()
        _introduce(store, {A: 5, B: 5})
        model = {A: Stock(A, 5), B: Stock(B, 5)}
        for number, batch in enumerate(batches):
            rows = [
                Movement(f"{number}-{index}-{name}", sku, MovementKind.COUNT, on_hand, held)
                for index, (name, sku, on_hand, held) in enumerate(batch)
            ]
            after = _summed(model, rows)
            if all(0 <= stock.held <= stock.on_hand for stock in after.values()):
                _move(store, rows)
                model = after
            else:
                with pytest.raises(Permanent):
                    _move(store, rows)
        assert store.stock([A, B]) == model
        assert _summed({A: Stock(A, 0), B: Stock(B, 0)}, list(store.all_movements())) == model


def _summed(stock: dict[Sku, Stock], rows: Sequence[Movement]) -> dict[Sku, Stock]:
    after = dict(stock)
    for row in rows:
        before = after[row.sku]
        after[row.sku] = Stock(row.sku, before.on_hand + row.on_hand, before.held + row.held)
    return after


def _introduce(store: Any, levels: dict[Sku, int]) -> None:
    _commit(store, lambda transaction: transaction.introduce_stock(levels))


def _move(store: Any, rows: Sequence[Movement]) -> None:
    _commit(store, lambda transaction: transaction.move_stock(rows))


def _reserve(store: Any, before: Reservation, after: Reservation) -> None:
    _commit(store, lambda transaction: transaction.save_reservations([(before, after)]))


def _commit(store: Any, write: Callable[[Any], object]) -> None:
    with store.begin() as transaction:
        write(transaction)
        transaction.commit()


def _hold_of(order: OrderId) -> Reservation:
    return Reservation(order_id=order).hold(terms(), at=AT).aggregate


def _hold(store: Any, order: OrderId) -> Reservation:
    held = _hold_of(order)
    _reserve(store, Reservation(order_id=order), held)
    return held


def _locked_stock(store: Any) -> dict[Sku, Stock]:
    with store.begin() as transaction:
        return dict(transaction.lock_stock([A]))
