"""Tables and aggregates: every cell is there, and each aggregate does what its cell says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest

import oms
from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import Conflict, DomainError, ImpossibleTransition, NotFound, TermsMismatch
from oms.domain.events import (
    EVENTS,
    InventoryReleased,
    InventoryReserved,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderPaymentInstructed,
    OrderRefundRequested,
    PaymentRefundFailed,
    PaymentRefundPaid,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
    Shortage,
)
from oms.domain.fulfilment import Fulfilment
from oms.domain.money import Currency, Money
from oms.domain.order import EARLY_MISMATCH, MAX_EARLY, EarlyEvent, Order
from oms.domain.order_table import ORDER_TABLE, OrderPayment, OrderState, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, Payment, PaymentState, PaymentTrigger
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE, Instruction, OrderRefund, RefundKind, Refusal
from oms.domain.reservation import RESERVATION_TABLE, Reservation, ReservationState, ReservationTrigger
from oms.domain.saga import possible_ends, publisher, routes, what_can_still_happen
from oms.domain.shipment import Shipment
from oms.domain.state_machine import Effect, by_state, state_table, stay
from oms.domain.stated_terms import StatedTerms, stated_in
from oms.domain.tasks import TaskKey, TaskKind
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku, UserId
from oms.operations.consistency import CAUSAL

AT = datetime(2026, 1, 1, tzinfo=UTC)
END = AT + timedelta(minutes=15)
BEFORE = AT - timedelta(days=300)
TOTAL = Money(1000, Currency.of("USD"))
TERMS = Terms.checked("u", TOTAL, {"a": 2})
ID = OrderId("o")
STATED = StatedTerms(UserId("u"), TOTAL)
FORGED = (StatedTerms(UserId("u"), Money(1, TOTAL.currency)), StatedTerms(UserId("mallory"), TOTAL))
PAYMENT_NEWS = (OrderTrigger.PAID, OrderTrigger.DECLINED, OrderTrigger.VOIDED, OrderTrigger.REFUNDED)


@pytest.mark.parametrize(
    ("table", "states", "triggers"),
    [
        (ORDER_TABLE, OrderState, OrderTrigger),
        (RESERVATION_TABLE, ReservationState, ReservationTrigger),
        (PAYMENT_TABLE, PaymentState, PaymentTrigger),
    ],
)
def test_no_cell_is_missing(table, states, triggers) -> None:
    assert set(table) == set(states)
    for row in table.values():
        assert list(row) == list(triggers)
        assert all((cell.effect is Effect.MOVE) == (cell.to is not None) for cell in row.values())


def tried(order: Order, trigger: OrderTrigger):
    if trigger is OrderTrigger.PLACED:
        return order.place(TERMS, at=AT, deadline_at=END)
    if trigger is OrderTrigger.CREATED:
        return order.created(TERMS, at=AT, deadline_at=END)
    if trigger is OrderTrigger.RESERVED:
        return order.reserved(TERMS, at=AT, deadline_at=END)
    if trigger is OrderTrigger.CUSTOMER_CANCEL:
        return order.cancel(Reason.CUSTOMER, at=AT)
    if trigger is OrderTrigger.OPERATOR_CANCEL:
        return order.cancel(Reason.OPERATOR, at=AT)
    if trigger is OrderTrigger.DEADLINE:
        return order.deadline(at=AT)
    if trigger is OrderTrigger.IMPORTED:
        return order.imported(TERMS, at=AT, created_at=BEFORE, detail="CREATED")
    if trigger is OrderTrigger.RESUMED:
        return order.resume(at=AT, deadline_at=END)
    if trigger in AFTER_CONFIRMATION:
        return AFTER_CONFIRMATION[trigger](order)
    return order.hear(trigger, at=AT, stated=STATED)


ONE, BOTH = {"a": 1}, {"a": 2}
AFTER_CONFIRMATION = {
    OrderTrigger.SHIP: lambda order: order.ship(ShipOrder.of("o", ONE), "s-2", at=AT),
    OrderTrigger.SHIP_LAST: lambda order: order.ship(ShipOrder.of("o"), "s-2", at=AT),
    OrderTrigger.CANCEL_UNITS: lambda order: order.refund(
        RefundOrder.of("o", "CANCEL", "why", items=ONE, amount=1), "r-2", at=AT
    ),
    OrderTrigger.CANCEL_LAST_UNITS: lambda order: order.refund(RefundOrder.of("o", "CANCEL", "why"), "r-2", at=AT),
    OrderTrigger.GIVE_BACK: lambda order: order.refund(RefundOrder.of("o", "GOODWILL", "why", amount=1), "r-2", at=AT),
    OrderTrigger.INSTRUCT: lambda order: order.instruct(
        InstructPayment.to(Instruction.RETRY, "o", WHOLE, "why"), "ops", at=AT
    ),
    OrderTrigger.REFUND_PAID: lambda order: order.refund_paid(
        PaymentRefundPaid(ID, UserId("u"), refunded(order), amount_of(order), {}, 1), at=AT
    ),
    OrderTrigger.REFUND_FAILED: lambda order: order.refund_failed(
        PaymentRefundFailed(ID, UserId("u"), refunded(order), amount_of(order), {}, 1), at=AT
    ),
}


def refunded(order: Order) -> str:
    """The refund that can be reported in this state."""
    return order.fulfilment.refunds[0].id if order.fulfilment.refunds else WHOLE


def amount_of(order: Order) -> Money:
    return order.fulfilment.refunds[0].amount if order.fulfilment.refunds else TOTAL


def fulfilment_in(state: OrderState) -> Fulfilment:
    """What happened to an order of two units in this state, with a refused whole refund where one may be."""
    goodwill = OrderRefund("r-1", RefundKind.GOODWILL, {}, Money(100, TOTAL.currency), False, "late", True, AT)
    if state is OrderState.FULFILLING:
        return Fulfilment(refunds=(goodwill,), refusals=(Refusal(WHOLE, 1),))
    if state is OrderState.COMPLETED:
        return Fulfilment((Shipment("s-1", {Sku("a"): 2}, AT),), (goodwill,), (Refusal(WHOLE, 1),))
    return Fulfilment(refusals=(Refusal(WHOLE, 1),)) if state in CANCELLED else Fulfilment()


CANCELLED = (OrderState.CANCELLING, OrderState.CANCELLED)


@pytest.mark.parametrize("state", OrderState)
@pytest.mark.parametrize("trigger", OrderTrigger)
def test_an_order_does_what_its_cell_says(state: OrderState, trigger: OrderTrigger) -> None:
    known = state is not OrderState.ABSENT
    ended = state in (OrderState.CANCELLED, OrderState.REJECTED, OrderState.CANCELLING)
    order = Order(
        id=ID,
        state=state,
        version=3 if known else 0,
        terms=TERMS if known else None,
        deadline_at=END if known and state is not OrderState.LEGACY else None,
        reason=Reason.CUSTOMER if ended else None,
        fulfilment=fulfilment_in(state),
    )
    cell = ORDER_TABLE[state][trigger]
    refusals = {
        Effect.IMPOSSIBLE: ImpossibleTransition,
        Effect.NOT_FOUND: NotFound,
        Effect.REFUSED: Conflict,
    }
    if cell.effect in refusals:
        with pytest.raises(refusals[cell.effect]):
            tried(order, trigger)
        return
    step = tried(order, trigger)
    after = step.aggregate
    assert after.state is (cell.to or state)
    assert tuple(type(event) for event in step.events) == cell.publishes
    if cell.effect is Effect.SAME:
        assert after == order
        return
    assert [entry.seq for entry in step.history] == [order.version + 1]
    assert after.version == order.version + 1
    assert (EarlyEvent(trigger, STATED) in after.early) == (cell.effect is Effect.EARLY)
    timed = (OrderState.CREATED, OrderState.RESERVED)
    assert [task.due_at for task in step.tasks] == ([END] if after.state in timed and state not in timed else [])
    assert (TaskKey(TaskKind.DEADLINE, ID) in step.ended) == (state in timed and after.state not in timed)


def test_an_imported_order_keeps_its_age_until_its_time_begins_anew() -> None:
    step = Order(id=ID).imported(TERMS, at=AT, created_at=BEFORE, detail="CREATED there")
    legacy = step.aggregate
    assert (legacy.created_at, legacy.deadline_at, step.events, step.tasks) == (BEFORE, None, (), ())
    assert [(entry.trigger, entry.detail) for entry in step.history] == [("import", "CREATED there")]
    assert legacy.state.resting
    assert not legacy.state.settled
    resumed = legacy.resume(at=AT, deadline_at=END).aggregate
    assert (resumed.created_at, resumed.deadline_at) == (AT, END)
    later = resumed.resume(at=END, deadline_at=END + timedelta(minutes=15)).aggregate
    assert later == resumed, "resumed once"


def test_news_that_came_before_an_import_is_applied_to_it() -> None:
    order = Order(id=ID).hear(OrderTrigger.DECLINED, at=AT).aggregate
    step = order.imported(TERMS, at=AT, created_at=BEFORE)
    assert step.aggregate.state is OrderState.CANCELLED
    assert [entry.after for entry in step.history] == ["LEGACY", "CANCELLED"]


def test_a_legacy_order_is_no_customers_to_cancel() -> None:
    legacy = Order(id=ID).imported(TERMS, at=AT, created_at=BEFORE).aggregate
    with pytest.raises(Conflict) as refused:
        legacy.cancel(Reason.CUSTOMER, at=AT)
    assert refused.value.code == "order_legacy"
    ended = Order(id=ID, state=OrderState.CANCELLED, version=1, terms=TERMS)
    with pytest.raises(Conflict, match="resumed"):
        ended.resume(at=AT, deadline_at=END)


def test_early_news_is_applied_when_the_order_is_adopted() -> None:
    order = Order(id=ID).hear(OrderTrigger.PAID, at=AT, stated=STATED).aggregate
    assert order.early == (EarlyEvent(OrderTrigger.PAID, STATED),)
    assert order.hear(OrderTrigger.PAID, at=AT, stated=STATED).aggregate.early == order.early

    step = order.created(TERMS, at=AT, deadline_at=END)

    assert step.aggregate.state is OrderState.CONFIRMED
    assert step.aggregate.early == ()
    assert [type(event) for event in step.events] == [OrderConfirmed]
    assert [entry.seq for entry in step.history] == [2, 3]


@pytest.mark.parametrize("forged", FORGED, ids=["amount", "customer"])
@pytest.mark.parametrize("state", [state for state in OrderState if state is not OrderState.ABSENT])
@pytest.mark.parametrize("trigger", PAYMENT_NEWS)
def test_payment_news_with_other_terms_is_refused_in_every_state(
    state: OrderState, trigger: OrderTrigger, forged: StatedTerms
) -> None:
    order = Order(id=ID, state=state, version=3, terms=TERMS, deadline_at=END)
    with pytest.raises(TermsMismatch, match=r"mallory, not u|0\.01 USD, not 10\.00 USD"):
        order.hear(trigger, at=AT, stated=forged)


def test_what_a_message_states() -> None:
    assert stated_in(PaymentSucceeded(ID, UserId("u"), TOTAL, "p-1")) == STATED
    assert stated_in(InventoryReserved(ID, TERMS)) == StatedTerms.of(TERMS)
    assert stated_in(OrderCreated(ID, TERMS)) is None


def test_a_reservation_with_other_terms_is_refused() -> None:
    order = Order(id=ID).place(TERMS, at=AT, deadline_at=END).aggregate
    for other in ({"a": 1}, {"a": 2, "b": 1}):
        with pytest.raises(TermsMismatch, match="items"):
            order.reserved(Terms.checked("u", TOTAL, other), at=AT, deadline_at=END)
    same = Terms.checked("u", TOTAL, {"a": 2}, {"channel": "web"})
    assert order.reserved(same, at=AT, deadline_at=END).aggregate.state is OrderState.RESERVED


@pytest.mark.parametrize("forged", FORGED, ids=["amount", "customer"])
@pytest.mark.parametrize("true_comes", [False, True])
def test_early_news_with_other_terms_is_not_applied(forged: StatedTerms, true_comes: bool) -> None:
    order = Order(id=ID).hear(OrderTrigger.PAID, at=AT, stated=forged).aggregate
    if true_comes:
        order = order.hear(OrderTrigger.PAID, at=AT, stated=STATED).aggregate
    step = order.created(TERMS, at=AT, deadline_at=END)
    assert step.aggregate.state is (OrderState.CONFIRMED if true_comes else OrderState.CREATED)
    assert step.alert == EARLY_MISMATCH
    assert step.history[0].detail == f"payment.success ignored: {forged}"


def test_news_that_names_no_terms_is_applied() -> None:
    """Inventory's news names none, and so do rows that a program before this check wrote."""
    order = Order(id=ID).hear(OrderTrigger.REJECTED, at=AT).aggregate
    step = order.created(TERMS, at=AT, deadline_at=END)
    assert (step.aggregate.state, step.alert) == (OrderState.REJECTED, "")


def test_an_absent_order_keeps_few_different_messages() -> None:
    order = Order(id=ID)
    for minor in range(MAX_EARLY):
        stated = StatedTerms(UserId("u"), Money(minor, TOTAL.currency))
        order = order.hear(OrderTrigger.PAID, at=AT, stated=stated).aggregate
    assert order.hear(OrderTrigger.PAID, at=AT, stated=stated).aggregate.early == order.early
    with pytest.raises(TermsMismatch, match="16 different messages"):
        order.hear(OrderTrigger.PAID, at=AT, stated=STATED)


def test_a_paid_whole_refund_is_no_longer_refused() -> None:
    order = Order(
        id=ID,
        state=OrderState.CANCELLING,
        version=4,
        terms=TERMS,
        reason=Reason.OPERATOR,
        fulfilment=Fulfilment(refusals=(Refusal(WHOLE, 1, "no funds", Instruction.RETRY),)),
    )
    paid = order.hear(OrderTrigger.REFUNDED, at=AT, stated=STATED).aggregate
    assert (paid.state, paid.payment, paid.fulfilment) == (OrderState.CANCELLED, OrderPayment.REFUNDED, Fulfilment())
    late = paid.refund_failed(PaymentRefundFailed(ID, UserId("u"), WHOLE, TOTAL, {}, 1), at=AT).aggregate
    assert late.fulfilment == Fulfilment()


def test_the_first_reason_stays() -> None:
    order = Order(id=ID).place(TERMS, at=AT, deadline_at=END).aggregate
    cancelling = order.cancel(Reason.CUSTOMER, at=AT).aggregate
    ended = cancelling.hear(OrderTrigger.DECLINED, at=AT)
    assert ended.aggregate.reason is Reason.CUSTOMER
    (event,) = ended.events
    assert isinstance(event, OrderCancelled)
    assert event.reason is Reason.CUSTOMER


def test_what_an_order_is_asked_before_it_exists() -> None:
    with pytest.raises(NotFound) as missing:
        _ = Order(id=ID).agreed
    assert isinstance(missing.value, DomainError)
    assert missing.value.code == "order_not_found"
    assert OrderState.CONFIRMED.settled
    assert not OrderState.CANCELLING.settled
    cancelling = Order(id=ID, state=OrderState.CANCELLING, version=1, terms=TERMS)
    with pytest.raises(ImpossibleTransition):
        cancelling.hear(OrderTrigger.VOIDED, at=AT)


def test_a_reservation_is_sticky() -> None:
    held = Reservation(order_id=ID).hold(TERMS, at=AT).aggregate
    released = held.release(at=AT)
    assert released.aggregate.state is ReservationState.RELEASED
    assert released.events == (InventoryReleased(ID, {Sku("a"): 2}),)
    for again in (released.aggregate.hold(TERMS, at=AT), released.aggregate.commit(at=AT)):
        assert again.events == ()
        assert again.aggregate.state is ReservationState.RELEASED
    tombstone = Reservation(order_id=ID).release(at=AT)
    assert tombstone.events == (InventoryReleased(ID, {}),)
    rejected = Reservation(order_id=ID).reject((Shortage(Sku("a"), 2, 1),), at=AT).aggregate
    assert rejected.hold(TERMS, at=AT).aggregate == rejected
    with pytest.raises(ImpossibleTransition):
        rejected.commit(at=AT)
    assert Reservation(order_id=ID).movements_to(rejected) == ()


ANSWERS = {
    PaymentTrigger.RESERVED: lambda payment: payment.start(TERMS, at=AT),
    PaymentTrigger.CANCELLING: lambda payment: payment.cancel(UserId("u"), TOTAL, at=AT),
    PaymentTrigger.CAPTURED: lambda payment: payment.captured("p-1", at=AT),
    PaymentTrigger.DECLINED: lambda payment: payment.declined(at=AT),
    PaymentTrigger.NO_ANSWER: lambda payment: payment.unanswered(at=AT),
    PaymentTrigger.VOID_DONE: lambda payment: payment.void_done(at=AT),
    PaymentTrigger.VOID_LOST: lambda payment: payment.void_lost("p-1", at=AT),
    PaymentTrigger.REFUND_DONE: lambda payment: payment.refund_done(at=AT),
    PaymentTrigger.REFUND_REFUSED: lambda payment: payment.refund_refused("no funds", at=AT),
    PaymentTrigger.RETRY: lambda payment: payment.instructed(instruction(Instruction.RETRY), at=AT),
    PaymentTrigger.RESOLVE: lambda payment: payment.instructed(instruction(Instruction.RESOLVE), at=AT),
    PaymentTrigger.PART_REFUND: lambda payment: payment.refund_requested(REQUEST, at=AT),
    PaymentTrigger.SHIPPED: lambda payment: payment.shipped(at=AT),
    PaymentTrigger.COMPLETED: lambda payment: payment.completed(at=AT),
}
REQUEST = OrderRefundRequested(
    ID, UserId("u"), "r-1", RefundKind.GOODWILL, {}, (), False, Money(100, TOTAL.currency), True, "late"
)
INSTRUCTED = (PaymentTrigger.RETRY, PaymentTrigger.RESOLVE)


def instruction(what: Instruction) -> OrderPaymentInstructed:
    return OrderPaymentInstructed(ID, UserId("u"), WHOLE, what, 1, "ops", "why")


@pytest.mark.parametrize("state", PaymentState)
@pytest.mark.parametrize("trigger", PaymentTrigger)
def test_a_payment_does_what_its_cell_says(state: PaymentState, trigger: PaymentTrigger) -> None:
    known = state is not PaymentState.ABSENT
    payment = Payment(order_id=ID, state=state, user_id=UserId("u") if known else None, total=TOTAL if known else None)
    assert payment.key == "oms-o"
    cell = PAYMENT_TABLE[state][trigger]
    if trigger in INSTRUCTED and known:
        whole = PaymentRefund(WHOLE, TOTAL, {}, state=PaymentRefundState.REFUSED)
        payment = attrs.evolve(payment, refunds=(whole,))
    if cell.effect is Effect.IMPOSSIBLE:
        with pytest.raises(ImpossibleTransition):
            ANSWERS[trigger](payment)
        return
    step = ANSWERS[trigger](payment)
    assert step.aggregate.state is (cell.to or state)
    assert tuple(type(event) for event in step.events) == cell.publishes
    if trigger is PaymentTrigger.PART_REFUND:
        assert [task.key for task in step.tasks] == ['["o","r-1"]']
        return
    assert [task.kind for task in step.tasks] == ([cell.starts] if cell.starts else [])
    assert step.alert == cell.alert


def test_a_payment_without_terms_publishes_nothing() -> None:
    with pytest.raises(ImpossibleTransition):
        Payment(order_id=ID, state=PaymentState.INITIATED).declined(at=AT)


def test_the_saga_says_what_can_still_happen() -> None:
    assert "inventory" in routes()["order.created"]
    assert publisher("payment.success") == "payment"
    assert publisher("cancel by customer") == "order"
    triggers = {prospect.trigger for prospect in what_can_still_happen(OrderState.RESERVED)}
    assert {OrderTrigger.PAID, OrderTrigger.DECLINED, OrderTrigger.DEADLINE} <= triggers
    assert what_can_still_happen(OrderState.REJECTED) == ()
    assert {prospect.trigger for prospect in what_can_still_happen(OrderState.CANCELLED)} == {OrderTrigger.INSTRUCT}
    assert possible_ends(OrderState.CANCELLING) == {OrderState.CANCELLED}
    assert OrderState.CONFIRMED in possible_ends(OrderState.CREATED)


def test_a_table_names_each_cell_that_is_missing_or_unknown() -> None:
    noted = stay(Effect.NOTED)
    with pytest.raises(ValueError, match="missing or unknown cells: CONFIRMED in HELD, FITS in HOLD, FITS in REJECTED"):
        state_table(
            ReservationState,
            ReservationTrigger,
            {
                trigger: by_state(
                    ABSENT=noted,
                    COMMITTED=noted,
                    RELEASED=noted,
                    **({} if trigger is ReservationTrigger.CONFIRMED else {"HELD": noted}),
                    **({"HOLD": noted} if trigger is ReservationTrigger.FITS else {"REJECTED": noted}),
                )
                for trigger in ReservationTrigger
            },
        )


def test_each_event_with_a_topic_is_found_and_has_a_topic_of_its_own() -> None:
    assert len({event.topic for event in EVENTS}) == len(EVENTS) == 18
    assert EVENTS[0] is OrderCreated
    assert OrderCreated(ID, TERMS).part == "", "it is about the whole order"


def test_an_aggregate_refuses_to_make_an_event_of_another_one() -> None:
    with pytest.raises(TypeError, match="an order publishes no PaymentVoided"):
        Order(id=ID, terms=TERMS).event(PaymentVoided)
    with pytest.raises(TypeError, match="a payment publishes no OrderCreated"):
        Payment(order_id=ID, user_id=TERMS.user_id, total=TOTAL).event(OrderCreated)


def test_every_event_has_a_public_name_and_a_place_among_causes_and_effects() -> None:
    assert {event.__name__ for event in EVENTS} <= set(oms.__all__)
    assert all(getattr(oms, event.__name__) is event for event in EVENTS)
    assert set(CAUSAL) == set(EVENTS)
