"""Messages about shipments and refunds: late, repeated, contradicting what the aggregates know, and of other orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import attrs
import pytest

from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import Conflict, ImpossibleTransition, NotFound, TermsMismatch
from oms.domain.events import (
    OrderPaymentInstructed,
    OrderRefundRequested,
    PaymentRefundFailed,
    PaymentRefundPaid,
    Reason,
)
from oms.domain.lines import OrderLine
from oms.domain.money import Currency, Money
from oms.domain.order import Order
from oms.domain.order_table import OrderPayment, OrderState, OrderTrigger
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE, Instruction, RefundKind, RefundState
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.stated_terms import StatedTerms
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku, UserId

AT = datetime(2026, 1, 1, tzinfo=UTC)
END = AT + timedelta(minutes=15)
USD = Currency.of("USD")
TOTAL, PART = Money.of(10, USD), Money.of(3, USD)
TERMS = Terms.checked("u", TOTAL, {"lamp": 2})
ID, USER = OrderId("o"), UserId("u")
CONFIRMED = Order(id=ID, state=OrderState.CONFIRMED, version=3, terms=TERMS, payment=OrderPayment.CAPTURED)
GIVEN = CONFIRMED.refund(RefundOrder.of("o", "GOODWILL", "late", amount=3), "r-1", at=AT).aggregate
CANCELLED = Order(id=ID, state=OrderState.CANCELLING, version=3, terms=TERMS, reason=Reason.CUSTOMER)
CAPTURED = Payment(order_id=ID, state=PaymentState.CAPTURED, user_id=USER, total=TOTAL, payment_id="p-1")


def paid(refund_id: str = "r-1", amount: Money = PART, user: str = "u", attempt: int = 1) -> PaymentRefundPaid:
    return PaymentRefundPaid(ID, UserId(user), refund_id, amount, {}, attempt)


def failed(refund_id: str = "r-1", amount: Money = PART, user: str = "u", attempt: int = 1) -> PaymentRefundFailed:
    return PaymentRefundFailed(ID, UserId(user), refund_id, amount, {}, attempt, reason="no funds")


def request(**changes: Any) -> OrderRefundRequested:
    event = OrderRefundRequested(ID, USER, "r-1", RefundKind.CANCEL, {Sku("lamp"): 1}, (), True, PART, True, "why")
    return attrs.evolve(event, **changes)


def state_of(order: Order) -> RefundState:
    return order.fulfilment.state_of(order.fulfilment.refunds[0])


FORGERIES = [
    ("another amount", {"amount": Money.of(2, USD)}),
    ("another customer", {"user": "mallory"}),
    ("an unknown refund", {"refund_id": "r-2"}),
    ("the whole order", {"refund_id": WHOLE, "amount": TOTAL}),
]


@pytest.mark.parametrize(("what", "fields"), FORGERIES, ids=[what for what, _ in FORGERIES])
def test_news_that_contradicts_the_requested_refund_is_refused(what: str, fields: dict[str, Any]) -> None:
    for call in (
        lambda: GIVEN.refund_paid(paid(**fields), at=AT),
        lambda: GIVEN.refund_failed(failed(**fields), at=AT),
    ):
        with pytest.raises(TermsMismatch, match=str(fields.get("refund_id", "r-1"))):
            call()


def test_only_the_whole_refund_of_a_cancelled_order_can_be_reported() -> None:
    known = CANCELLED.refund_failed(failed(WHOLE, TOTAL), at=AT).aggregate
    assert known.fulfilment.refusals[0].of == WHOLE
    with pytest.raises(TermsMismatch):
        CANCELLED.refund_failed(failed("r-1"), at=AT)
    with pytest.raises(ImpossibleTransition):
        CONFIRMED.refund_failed(failed(WHOLE, TOTAL), at=AT)


def test_a_refusal_that_arrives_after_the_payment_changes_nothing() -> None:
    known = GIVEN.refund_paid(paid(attempt=2), at=AT).aggregate
    late = known.refund_failed(failed(attempt=1), at=AT)
    assert state_of(late.aggregate) is RefundState.PAID
    assert late.aggregate.fulfilment == known.fulfilment
    assert [entry.trigger for entry in late.history] == ["payment.refund_failed"]


@pytest.mark.parametrize("heard", [(), (OrderTrigger.VOIDED,)], ids=["captured", "captured after a void"])
def test_a_repeated_refusal_of_a_whole_refund_that_was_paid_changes_nothing(heard: tuple[OrderTrigger, ...]) -> None:
    stated = StatedTerms.of(TERMS)
    order = CANCELLED
    for trigger in heard:
        order = order.hear(trigger, at=AT, stated=stated).aggregate
    order = order.refund_failed(failed(WHOLE, TOTAL), at=AT).aggregate
    order = order.hear(OrderTrigger.REFUNDED, at=AT, stated=stated).aggregate
    assert order.fulfilment.refusals == ()
    assert order.refund_failed(failed(WHOLE, TOTAL), at=AT).aggregate.fulfilment.refusals == ()


def test_a_refusal_of_an_earlier_attempt_changes_nothing() -> None:
    known = GIVEN.refund_failed(failed(attempt=2), at=AT).aggregate
    assert known.refund_failed(failed(attempt=1), at=AT).aggregate.fulfilment == known.fulfilment
    refunded = attrs.evolve(CANCELLED, payment=OrderPayment.REFUNDED)
    assert refunded.refund_failed(failed(WHOLE, TOTAL), at=AT).aggregate.fulfilment.refusals == ()


def test_an_instruction_is_about_one_attempt() -> None:
    retry = InstructPayment.to(Instruction.RETRY, "o", "r-1", "funds are there")
    with pytest.raises(NotFound) as unknown:
        GIVEN.instruct(InstructPayment.to(Instruction.RETRY, "o", "r-2", "why"), "ops", at=AT)
    assert unknown.value.code == "refund_not_found"
    refused = GIVEN.refund_failed(failed(), at=AT).aggregate
    assert state_of(refused) is RefundState.REFUSED
    step = refused.instruct(retry, "ops", at=AT)
    assert step.events == (OrderPaymentInstructed(ID, USER, "r-1", Instruction.RETRY, 1, "ops", "funds are there"),)
    assert state_of(step.aggregate) is RefundState.DUE
    for order in (GIVEN, step.aggregate, step.aggregate.refund_failed(failed(), at=AT).aggregate):
        with pytest.raises(Conflict) as nothing:
            order.instruct(retry, "ops", at=AT)
        assert nothing.value.code == "nothing_refused"
    again = step.aggregate.refund_failed(failed(attempt=2), at=AT).aggregate
    assert again.instruct(retry, "ops", at=AT).aggregate.fulfilment.refusals[0].attempt == 2


@pytest.mark.parametrize("state", [OrderState.FULFILLING, OrderState.COMPLETED])
def test_an_order_that_was_shipped_or_refunded_in_part_is_cancelled_unit_by_unit(state: OrderState) -> None:
    order = attrs.evolve(GIVEN, state=state)
    with pytest.raises(Conflict, match="cancel units that weren't shipped by a refund") as refused:
        order.cancel(Reason.OPERATOR, at=AT)
    assert refused.value.code == "order_settled"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (OrderState.CREATED, "order_not_confirmed"),
        (OrderState.CANCELLED, "order_settled"),
        (OrderState.COMPLETED, "order_completed"),
    ],
)
def test_why_an_order_cant_be_shipped(state: OrderState, code: str) -> None:
    with pytest.raises(Conflict) as refused:
        attrs.evolve(CONFIRMED, state=state).ship(ShipOrder.of("o"), "s-1", at=AT)
    assert refused.value.code == code


def test_lines_that_arrive_after_the_confirmation_are_the_orders() -> None:
    lines = [OrderLine.of("lamp", 2, TOTAL)]
    full = Terms.checked("u", TOTAL, lines=lines)
    order = Order(id=ID).reserved(TERMS, at=AT, deadline_at=END).aggregate
    order = order.hear(OrderTrigger.PAID, at=AT, stated=StatedTerms.of(TERMS)).aggregate
    order = order.created(full, at=AT, deadline_at=END).aggregate
    assert order.state is OrderState.CONFIRMED
    assert order.agreed.lines == tuple(lines)
    other = Terms.checked("u", TOTAL, lines=[OrderLine.of("lamp", 1, TOTAL)])
    assert (
        Order(id=ID, state=OrderState.CONFIRMED, terms=TERMS).created(other, at=AT, deadline_at=END).aggregate.agreed
        is TERMS
    )


def test_the_order_keeps_the_last_result_of_its_payment() -> None:
    """Whatever the order in which they arrive: a refund follows a capture, also one that came after a void."""
    stated = StatedTerms.of(TERMS)
    for first, second in permutations((OrderTrigger.PAID, OrderTrigger.VOIDED, OrderTrigger.REFUNDED), 2):
        if OrderTrigger.REFUNDED not in (first, second):
            continue
        order = CANCELLED.hear(first, at=AT, stated=stated).aggregate
        assert order.hear(second, at=AT, stated=stated).aggregate.payment is OrderPayment.REFUNDED


@pytest.mark.parametrize(
    "changes",
    [{"user_id": UserId("mallory")}, {"amount": Money.of("10.01", USD)}, {"amount": Money(1, Currency.of("EUR"))}],
    ids=["another customer", "more than the total", "another currency"],
)
def test_a_request_that_doesnt_fit_the_payment_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TermsMismatch, match="refund r-1"):
        CAPTURED.refund_requested(request(**changes), at=AT)


def test_all_refunds_together_are_at_most_the_total() -> None:
    payment = CAPTURED.refund_requested(request(amount=Money.of(8, USD)), at=AT).aggregate
    with pytest.raises(TermsMismatch):
        payment.refund_requested(request(refund_id="r-2"), at=AT)
    payment = payment.refund_requested(request(refund_id="r-2", amount=Money.of(2, USD)), at=AT).aggregate
    assert [one.amount.minor for one in payment.refunds] == [800, 200]


def test_a_refund_of_nothing_makes_no_call() -> None:
    step = CAPTURED.refund_requested(request(amount=Money(0, USD)), at=AT)
    assert step.tasks == ()
    assert [event.topic for event in step.events] == ["payment.refund_paid"]
    assert step.aggregate.part_events() == step.events


def test_an_old_instruction_changes_nothing() -> None:
    payment = CAPTURED.refund_requested(request(), at=AT).aggregate
    payment = payment.part_refund_refused("r-1", "no funds", at=AT).aggregate
    retry = OrderPaymentInstructed(ID, USER, "r-1", Instruction.RETRY, 1, "ops", "why")
    again = payment.instructed(retry, at=AT)
    assert [task.key for task in again.tasks] == ['["o","r-1"]']
    assert again.aggregate.refunds[0].key(ID) == "oms/o/refund/r-1/2"
    refused = again.aggregate.part_refund_refused("r-1", "no funds", at=AT).aggregate
    for payment in (again.aggregate, refused):
        step = payment.instructed(retry, at=AT)
        assert (step.aggregate, step.tasks, step.events) == (payment, (), ())


def test_what_a_payment_doesnt_know_of_is_impossible() -> None:
    for call in (
        lambda: CAPTURED.part_refund_paid("r-1", at=AT),
        lambda: CAPTURED.instructed(OrderPaymentInstructed(ID, USER, "r-1", Instruction.RETRY, 1, "ops", "why"), at=AT),
        lambda: Payment(order_id=ID).whole_refund,
    ):
        with pytest.raises(ImpossibleTransition):
            call()


@pytest.mark.parametrize("state", [PaymentState.REFUNDING, PaymentState.VOIDED])
@pytest.mark.parametrize("known", [PaymentRefundState.PAID, PaymentRefundState.REFUSED])
def test_a_repeated_refusal_of_the_whole_is_not_reported_again(state: PaymentState, known: PaymentRefundState) -> None:
    payment = attrs.evolve(CAPTURED, state=state, refunds=(PaymentRefund(WHOLE, TOTAL, {}, state=known),))
    step = payment.refund_refused("no funds", at=AT)
    assert (step.aggregate, step.events, step.alert) == (payment, (), "")


@pytest.mark.parametrize("state", [ReservationState.HELD, ReservationState.COMMITTED])
def test_units_are_restocked_once_for_each_refund(state: ReservationState) -> None:
    held = Reservation(order_id=ID, state=state, items={Sku("lamp"): 2})
    once = held.refunded(request(), at=AT).aggregate
    assert [(one.reference, one.on_hand, one.held) for one in held.movements_to(once)] == [("o/r-1", 1, 0)]
    assert once.refunded(request(), at=AT).aggregate is once
    twice = once.refunded(request(refund_id="r-2"), at=AT).aggregate
    assert [one.reference for one in once.movements_to(twice)] == ["o/r-2"]
    with pytest.raises(TermsMismatch, match="restocks 1 units of lamp: order o has 2, 2 are back"):
        twice.refunded(request(refund_id="r-3"), at=AT)
    with pytest.raises(TermsMismatch, match="has 0, 0 are back"):
        held.refunded(request(items={Sku("sofa"): 1}), at=AT)
    assert held.refunded(request(restock=False), at=AT).aggregate is held


@pytest.mark.parametrize("state", [ReservationState.ABSENT, ReservationState.RELEASED, ReservationState.REJECTED])
def test_units_that_arent_held_or_sold_cant_be_restocked(state: ReservationState) -> None:
    with pytest.raises(ImpossibleTransition):
        Reservation(order_id=ID, state=state).refunded(request(), at=AT)
