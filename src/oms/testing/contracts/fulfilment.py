"""Shipments, refunds and refusals in the order service's store. Part of the order suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.events import PaymentRefundFailed, PaymentRefundPaid, Reason
from oms.domain.fulfilment import MAX_PARTS, NOTHING_YET, Fulfilment
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.order_table import OrderPayment, OrderState, OrderTrigger
from oms.domain.refund import Instruction, OrderRefund, RefundKind, Refusal
from oms.domain.shipment import Shipment
from oms.domain.state_machine import Transition
from oms.domain.values import Sku
from oms.ports.errors import Permanent, Retryable
from oms.testing.contracts.limits import HALF_PAIR
from oms.testing.contracts.samples import AT, EUR, LATER, detailed_terms, history, order_id, placed, save_order
from oms.testing.contracts.stores import StoreLab

ONE, TWO = order_id(1), order_id(2)
Step = Callable[[Order], Transition[Order]]
CUP = Sku("sku-b")


def _ship(shipment: str, items: Mapping[str, int] | None = None) -> Step:
    command = ShipOrder.of(ONE, items, "DHL Päckchen", "JD01 4600\t✓")
    return lambda order: order.ship(command, shipment, at=AT)


def _refund(refund: str, kind: RefundKind, amount: str | None = None, items: Mapping[str, int] | None = None) -> Step:
    command = RefundOrder.of(ONE, kind, "zerbrochen ✓", items=items, amount=amount)
    return lambda order: order.refund(command, refund, at=AT + LATER)


def _refused(refund: str, attempt: int) -> Step:
    def heard(order: Order) -> Transition[Order]:
        amount = order.fulfilment.refund(refund).amount  # type: ignore[union-attr]
        user = order.agreed.user_id
        return order.refund_failed(PaymentRefundFailed(ONE, user, refund, amount, {}, attempt, reason="é"), at=AT)

    return heard


def _paid(refund: str, attempt: int) -> Step:
    def heard(order: Order) -> Transition[Order]:
        amount = order.fulfilment.refund(refund).amount  # type: ignore[union-attr]
        event = PaymentRefundPaid(ONE, order.agreed.user_id, refund, amount, {}, attempt, outside=True)
        return order.refund_paid(event, at=AT)

    return heard


def _instructed(refund: str) -> Step:
    command = InstructPayment.to(Instruction.RETRY, ONE, refund, "the bank said so ✓")
    return lambda order: order.instruct(command, "ops", at=AT)


LIFE: tuple[Step, ...] = (
    _refund("r-1", RefundKind.CANCEL, items={CUP: 1}),
    _ship("s-1", {Sku("sku-a"): 1}),
    _refused("r-1", 1),
    _instructed("r-1"),
    _ship("s-2"),
    _refund("r-2", RefundKind.RETURN, "1.00", {CUP: 1}),
    _refund("r-3", RefundKind.GOODWILL, "0"),
    _paid("r-1", 2),
    _refused("r-2", 1),
)
"""Every kind of part, and every state of a refund: after the last step the order is COMPLETED."""


class FulfilmentContract(StoreLab):
    """The parts of an order."""

    def test_shipments_and_refunds_are_read_back_unchanged_after_each_step(self, store: Any) -> None:
        order = _confirmed(store)
        for step in LIFE:
            order = _take(store, order, step)
            assert store.order(ONE, None) == order
            assert _locked(store) == order
            assert store.orders(None, 0, 10).content == (order,)
            assert list(store.all_orders()) == [order]
        assert (order.state, len(order.fulfilment.refusals)) == (OrderState.COMPLETED, 1)
        assert order.part_events() == _locked(store).part_events()
        assert len(store.timeline(ONE, None)) == order.version

    def test_the_last_result_of_the_payment_is_stored(self, store: Any) -> None:
        order = _confirmed(store)
        assert store.order(ONE, None).payment is OrderPayment.CAPTURED
        order = _take(store, order, lambda known: known.cancel(Reason.OPERATOR, at=AT))
        order = _take(store, order, lambda known: known.hear(OrderTrigger.REFUNDED, at=AT))
        assert (order.state, store.order(ONE, None).payment) == (OrderState.CANCELLED, OrderPayment.REFUNDED)
        step = placed(2)
        save_order(store, Order(id=TWO), step)
        assert store.order(TWO, None).payment is None
        declined = step.aggregate.hear(OrderTrigger.DECLINED, at=AT)
        save_order(store, step.aggregate, declined)
        assert store.order(TWO, None).payment is OrderPayment.DECLINED

    def test_an_order_without_parts_has_none_after_reading(self, store: Any) -> None:
        _confirmed(store)
        assert store.order(ONE, None).fulfilment is NOTHING_YET

    def test_a_refund_of_an_outdated_version_is_retryable(self, store: Any) -> None:
        order = _confirmed(store)
        first = _take(store, order, _refund("r-1", RefundKind.GOODWILL, "5.00"))
        with pytest.raises(Retryable):
            _take(store, order, _refund("r-2", RefundKind.GOODWILL, "5.00"))
        assert store.order(ONE, None) == first

    def test_a_second_shipment_waits_for_the_first_and_sees_it(self, store: Any) -> None:
        order = _confirmed(store)
        step = _ship("s-1")(order)
        with store.begin() as first:
            first.lock_orders([ONE])
            first.save_orders([(order, step.aggregate)], history(step))
            assert self.meanwhile(lambda: _locked(store), first.commit) == step.aggregate

    def test_a_rollback_keeps_the_parts(self, store: Any) -> None:
        order = _take(store, _confirmed(store), _ship("s-1", {CUP: 1}))
        step = _ship("s-2")(order)
        with store.begin() as transaction:
            transaction.save_orders([(order, step.aggregate)], history(step))
            assert transaction.lock_orders([ONE])[ONE] == step.aggregate
        assert store.order(ONE, None) == order

    def test_an_order_can_have_the_largest_number_of_parts(self, store: Any) -> None:
        order = _confirmed(store)
        refunds = tuple(_a_refund(f"{number:036}", "é" * 500) for number in range(MAX_PARTS))
        full = attrs.evolve(order, fulfilment=Fulfilment(refunds=refunds), version=order.version + 1)
        with store.begin() as transaction:
            transaction.save_orders([(order, full)], [])
            transaction.commit()
        assert store.order(ONE, None) == full

    def test_texts_of_parts_must_be_encodable(self, new_store: Any) -> None:
        def write(fulfilment: Fulfilment) -> None:
            store = new_store()
            order = _confirmed(store)
            after = attrs.evolve(order, fulfilment=fulfilment, version=order.version + 1)
            with store.begin() as transaction:
                transaction.save_orders([(order, after)], [])
                transaction.commit()
            assert store.order(ONE, None) == after

        for make in (_with_bad_refund, _with_bad_shipment, _with_bad_refusal):
            write(make("a\0b"))  # accepted: JSON escapes U+0000
            with pytest.raises(Permanent):
                write(make(HALF_PAIR))


def _a_refund(name: str, reason: str) -> OrderRefund:
    kind = RefundKind.RETURN
    return OrderRefund(name, kind, {CUP: 1}, Money(1, EUR), restock=True, reason=reason, before_shipment=False, at=AT)


def _with_bad_refund(text: str) -> Fulfilment:
    return Fulfilment(refunds=(_a_refund("r", text),))


def _with_bad_shipment(text: str) -> Fulfilment:
    return Fulfilment(shipments=(Shipment("s", {CUP: 1}, AT, text, text),))


def _with_bad_refusal(text: str) -> Fulfilment:
    return Fulfilment(refusals=(Refusal("whole", 1, text, Instruction.RESOLVE, "ops", text),))


def _confirmed(store: Any) -> Order:
    step = Order(id=ONE).place(detailed_terms(), at=AT, deadline_at=AT + LATER)
    save_order(store, Order(id=ONE), step)
    return _take(store, step.aggregate, lambda order: order.hear(OrderTrigger.PAID, at=AT))


def _take(store: Any, order: Order, step: Step) -> Order:
    transition = step(order)
    save_order(store, order, transition)
    return transition.aggregate


def _locked(store: Any) -> Any:
    with store.begin() as transaction:
        return transaction.lock_orders([ONE])[ONE]
