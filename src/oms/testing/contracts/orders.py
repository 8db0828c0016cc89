"""The order service's store: orders by compare-and-set on their version, their history, and who may see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest

from oms.domain.events import Reason
from oms.domain.order import EarlyEvent, Order
from oms.domain.order_table import OrderState, OrderTrigger
from oms.domain.state_machine import Transition
from oms.domain.values import OrderId, UserId
from oms.ports import limits
from oms.ports.errors import Permanent, Retryable
from oms.testing.contracts.dead_letters import DeadLetterContract
from oms.testing.contracts.fulfilment import FulfilmentContract
from oms.testing.contracts.limits import HALF_PAIR, LimitContract, ResponseLimitContract, refuses
from oms.testing.contracts.models import ModelContract
from oms.testing.contracts.outbox import OutboxContract
from oms.testing.contracts.registration import RegistrationContract
from oms.testing.contracts.responses import DAY_S, ResponseContract, a_response
from oms.testing.contracts.samples import (
    AT,
    LATER,
    detailed_terms,
    history,
    order_id,
    placed,
    save_order,
    stated,
    terms,
)
from oms.testing.contracts.stores import StoreContract
from oms.testing.contracts.tasks import TaskContract

ONE, TWO = order_id(1), order_id(2)
ALICE, BOB = UserId("alice"), UserId("bob")


class OrderStoreContract(
    StoreContract,
    FulfilmentContract,
    TaskContract,
    RegistrationContract,
    OutboxContract,
    DeadLetterContract,
    LimitContract,
    ResponseContract,
    ResponseLimitContract,
    ModelContract,
):
    """The contract of `OrderStore` and `OrderEvidence`."""

    def test_an_order_is_read_back_unchanged(self, store: Any) -> None:
        step = placed(1)
        save_order(store, Order(id=ONE), step)
        assert store.order(ONE, None) == step.aggregate
        assert _locked(store, [ONE, TWO]) == {ONE: step.aggregate}
        assert list(store.all_orders()) == [step.aggregate]

    def test_lines_and_charges_are_read_back_unchanged(self, store: Any) -> None:
        step = Order(id=ONE).place(detailed_terms(), at=AT, deadline_at=AT + LATER)
        save_order(store, Order(id=ONE), step)
        cancelling = step.aggregate.cancel(Reason.CUSTOMER, at=AT)
        save_order(store, step.aggregate, cancelling)
        _place(store, 2)
        for found in (store.order(ONE, None), _locked(store, [ONE])[ONE], *store.orders(None, 0, 10).content[1:]):
            assert (found, found.terms.lines) == (cancelling.aggregate, detailed_terms().lines)
        assert [order.terms.charges for order in store.all_orders()] == [detailed_terms().charges, ()]

    def test_an_order_gets_lines_later(self, store: Any) -> None:
        plain = attrs.evolve(detailed_terms(), lines=(), charges=())
        step = Order(id=ONE).reserved(plain, at=AT, deadline_at=AT + LATER)
        save_order(store, Order(id=ONE), step)
        completed = attrs.evolve(step.aggregate, terms=plain.completed_by(detailed_terms()), version=2)
        with store.begin() as transaction:
            transaction.save_orders([(step.aggregate, completed)], [])
            transaction.commit()
        assert store.order(ONE, None) == completed

    def test_texts_and_numbers_of_an_order_are_limited(self, new_store: Any) -> None:
        def write(store: Any, **fields: Any) -> None:
            agreed = attrs.evolve(terms(), **fields)
            save_order(store, Order(id=ONE), Order(id=ONE).place(agreed, at=AT, deadline_at=AT + LATER))

        refuses(new_store, lambda store, text: write(store, user_id=text), limits.ID)
        write(new_store(), metadata={"k": "a\0b"})  # accepted: JSON escapes U+0000
        named = attrs.evolve(detailed_terms().lines[0], name=HALF_PAIR)
        for bad in ({"metadata": {"k": HALF_PAIR}}, {"items": {HALF_PAIR: 1}}, {"lines": (named,)}):
            with pytest.raises(Permanent):
                write(new_store(), **bad)

    def test_texts_of_an_order_id_and_a_history_entry_are_limited(self, new_store: Any) -> None:
        def write(store: Any, name: str, detail: str = "") -> None:
            order = Order(id=OrderId(name))
            save_order(store, order, order.imported(terms(), at=AT, created_at=AT, detail=detail))

        refuses(new_store, write, limits.ID)
        refuses(new_store, lambda store, text: write(store, "a", text), None)

    def test_early_events_wait_for_their_order(self, store: Any) -> None:
        early = Order(id=ONE).hear(OrderTrigger.PAID, at=AT, stated=stated())
        save_order(store, Order(id=ONE), early)
        assert _locked(store, [ONE])[ONE].early == (EarlyEvent(OrderTrigger.PAID, stated()),)
        assert store.order(ONE, None) is None
        assert store.timeline(ONE, None) is None
        assert store.orders(None, 0, 10).total == 0
        assert [order.id for order in store.all_orders()] == [ONE]

    def test_early_events_keep_their_terms(self, store: Any) -> None:
        order = Order(id=ONE)
        for trigger, named in (
            (OrderTrigger.PAID, stated("mallory", "0.01")),
            (OrderTrigger.RELEASED, None),
            (OrderTrigger.PAID, stated("alice", "12.50")),
        ):
            step = order.hear(trigger, at=AT, stated=named)
            save_order(store, order, step)
            order = step.aggregate
            assert _locked(store, [ONE]) == {ONE: order}
        adopted = order.created(terms("alice"), at=AT, deadline_at=AT + LATER)
        save_order(store, order, adopted)
        assert _locked(store, [ONE])[ONE].early == ()
        assert store.order(ONE, ALICE).state is OrderState.CONFIRMED
        assert "mallory" in store.timeline(ONE, ALICE)[3].detail

    def test_an_adopted_order_is_listed(self, store: Any) -> None:
        early = Order(id=ONE).hear(OrderTrigger.PAID, at=AT)
        save_order(store, Order(id=ONE), early)
        step = early.aggregate.created(terms("alice"), at=AT + LATER, deadline_at=AT + 2 * LATER)
        save_order(store, early.aggregate, step)
        assert store.order(ONE, ALICE) == step.aggregate
        assert [order.id for order in store.orders(ALICE, 0, 10).content] == [ONE]
        assert [entry.seq for entry in store.timeline(ONE, ALICE)] == [1, 2, 3]

    def test_a_legacy_order_keeps_its_age_until_it_is_resumed(self, store: Any) -> None:
        _place(store, 2)
        imported = Order(id=ONE).imported(terms("alice"), at=AT, created_at=AT - LATER, detail="CREATED there")
        save_order(store, Order(id=ONE), imported)
        assert store.order(ONE, ALICE) == imported.aggregate
        assert [order.id for order in store.orders(None, 0, 10).content] == [TWO, ONE]
        assert store.backlog().oldest_open_at == AT
        assert [entry.detail for entry in store.timeline(ONE, None)] == ["CREATED there"]
        resumed = imported.aggregate.resume(at=AT + LATER, deadline_at=AT + 2 * LATER)
        save_order(store, imported.aggregate, resumed)
        assert [order.id for order in store.orders(None, 0, 10).content] == [ONE, TWO]
        assert [order.id for order in store.orders(ALICE, 0, 10).content] == [ONE]
        assert store.orders(None, 0, 10).total == 2

    def test_every_state_and_reason_is_stored(self, store: Any) -> None:
        first = _place(store, 1)
        cancelling = first.cancel(Reason.CUSTOMER, at=AT)
        save_order(store, first, cancelling)
        cancelled = cancelling.aggregate.hear(OrderTrigger.VOIDED, at=AT)
        save_order(store, cancelling.aggregate, cancelled)
        found = store.order(ONE, None)
        assert found == cancelled.aggregate
        assert (found.state, found.reason) == (OrderState.CANCELLED, Reason.CUSTOMER)

    def test_saving_an_outdated_version_is_retryable(self, store: Any) -> None:
        first = _place(store, 1)
        save_order(store, first, first.cancel(Reason.CUSTOMER, at=AT))
        with pytest.raises(Retryable):
            save_order(store, first, first.deadline(at=AT))
        assert store.order(ONE, None).reason is Reason.CUSTOMER
        assert len(store.timeline(ONE, None)) == 2

    def test_inserting_a_known_order_is_retryable(self, store: Any) -> None:
        first = _place(store, 1)
        with pytest.raises(Retryable):
            save_order(store, Order(id=ONE), placed(1, user="bob"))
        assert store.order(ONE, None) == first

    def test_a_concurrent_second_insert_waits_and_is_retryable(self, store: Any) -> None:
        step = placed(1)
        with store.begin() as first:
            first.save_orders([(Order(id=ONE), step.aggregate)], history(step))
            first.lock_orders([ONE])
            assert self.meanwhile(lambda: _refused(store, Order(id=ONE), placed(1, "bob")), first.commit)
        assert store.order(ONE, None) == step.aggregate

    def test_a_concurrent_second_insert_succeeds_if_the_first_rolls_back(self, store: Any) -> None:
        step = placed(1)
        with store.begin() as first:
            first.save_orders([(Order(id=ONE), step.aggregate)], history(step))
            first.lock_orders([ONE])
            assert not self.meanwhile(lambda: _refused(store, Order(id=ONE), placed(1, "bob")), first.rollback)
        assert store.order(ONE, BOB) is not None

    def test_a_second_lock_sees_the_first_change(self, store: Any) -> None:
        before = _place(store, 1)
        step = before.cancel(Reason.CUSTOMER, at=AT)
        with store.begin() as first:
            first.lock_orders([ONE])
            first.save_orders([(before, step.aggregate)], history(step))
            assert self.meanwhile(lambda: _locked(store, [ONE]), first.commit) == {ONE: step.aggregate}

    def test_a_rollback_keeps_order_and_history(self, store: Any) -> None:
        before = _place(store, 1)
        step = before.cancel(Reason.CUSTOMER, at=AT)
        with store.begin() as transaction:
            transaction.save_orders([(before, step.aggregate)], history(step))
            assert transaction.lock_orders([ONE])[ONE] == step.aggregate
        assert store.order(ONE, None) == before
        assert len(store.timeline(ONE, None)) == 1

    def test_a_query_does_not_see_uncommitted_orders(self, store: Any) -> None:
        step = placed(1)
        with store.begin() as transaction:
            transaction.save_orders([(Order(id=ONE), step.aggregate)], history(step))
            assert store.order(ONE, None) is None
            assert store.orders(None, 0, 10).total == 0
            transaction.commit()
        assert store.order(ONE, None) is not None

    def test_an_order_is_visible_to_its_owner_only(self, store: Any) -> None:
        _place(store, 1, user="alice")
        assert store.order(ONE, ALICE).id == ONE
        assert store.order(ONE, None).id == ONE
        assert store.order(ONE, BOB) is None
        assert store.timeline(ONE, BOB) is None
        assert store.orders(BOB, 0, 10).content == ()
        assert store.order(TWO, None) is None

    def test_pages_list_the_newest_first(self, store: Any) -> None:
        for number, owner in enumerate(["alice", "bob", "alice", "alice", "bob"], start=1):
            _place(store, number, user=owner, age=number)
        page = store.orders(ALICE, 0, 2)
        assert [order.id for order in page.content] == [order_id(4), order_id(3)]
        assert (page.number, page.size, page.total) == (0, 2, 3)
        assert [order.id for order in store.orders(ALICE, 1, 2).content] == [order_id(1)]
        assert store.orders(ALICE, 2, 2).content == ()
        assert store.orders(None, 0, 100).total == 5
        assert [order.id for order in store.orders(None, 0, 1).content] == [order_id(5)]

    def test_pages_list_each_order_once_even_with_equal_times(self, store: Any) -> None:
        for number in range(1, 8):
            _place(store, number)
        pages = [store.orders(None, number, 3).content for number in range(3)]
        assert sorted(order.id for page in pages for order in page) == [order_id(number) for number in range(1, 8)]

    def test_the_timeline_contains_the_whole_history(self, store: Any) -> None:
        step = placed(1)
        save_order(store, Order(id=ONE), step)
        cancelling = step.aggregate.cancel(Reason.OPERATOR, at=AT + LATER)
        save_order(store, step.aggregate, cancelling)
        assert list(store.timeline(ONE, None)) == [*step.history, *cancelling.history]
        assert list(store.all_history()) == [(ONE, entry) for entry in (*step.history, *cancelling.history)]

    def test_many_orders_in_one_transaction(self, store: Any) -> None:
        steps = [placed(number) for number in range(400)]
        with store.begin() as transaction:
            changes = [(Order(id=step.aggregate.id), step.aggregate) for step in steps]
            transaction.save_orders(changes, [line for step in steps for line in history(step)])
            transaction.commit()
        found = _locked(store, [step.aggregate.id for step in steps])
        assert found == {step.aggregate.id: step.aggregate for step in steps}

    def test_the_backlog_contains_the_oldest_order_without_an_answer(self, store: Any) -> None:
        assert store.backlog().oldest_open_at is None
        first = _place(store, 1, age=1)
        _place(store, 2, age=2)
        assert store.backlog().oldest_open_at == first.created_at
        assert first.created_at is not None
        reserved = first.reserved(terms(), at=AT, deadline_at=first.created_at + LATER)
        save_order(store, first, reserved)
        assert store.backlog().oldest_open_at == AT + timedelta(minutes=2)

    def test_only_a_sql_connection_can_be_joined(self, store: Any) -> None:
        with pytest.raises(Permanent):
            store.join(object())

    def test_verification_reads_stored_responses(self, store: Any) -> None:
        assert list(store.all_responses()) == []

    def test_a_stored_response_can_be_looked_up_after_its_commit_for_a_day(self, store: Any) -> None:
        kept = a_response("a")
        with store.begin() as transaction:
            transaction.save_responses([kept])
            assert store.stored_response(kept.scope, "a") is None
            transaction.commit()
        assert store.stored_response(kept.scope, "a") == kept
        assert store.stored_response(kept.scope, "b") is None
        assert store.stored_response("other", "a") is None
        self.advance(DAY_S + 60)
        assert store.stored_response(kept.scope, "a") is None


def _place(store: Any, number: int, user: str = "user-1", age: int = 0) -> Order:
    step = placed(number, user, AT + timedelta(minutes=age))
    save_order(store, Order(id=step.aggregate.id), step)
    return step.aggregate


def _refused(store: Any, before: Order, step: Transition[Order]) -> bool:
    try:
        save_order(store, before, step)
    except Retryable:
        return True
    return False


def _locked(store: Any, wanted: Sequence[OrderId]) -> dict[OrderId, Order]:
    with store.begin() as transaction:
        return dict(transaction.lock_orders(wanted))
