"""given, when, expect: for aggregates, and for a step of a user's own."""

from __future__ import annotations

import pytest

import oms
from oms.domain.errors import ImpossibleTransition
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, Payment
from oms.domain.reservation import RESERVATION_TABLE, Reservation
from oms.domain.terms import Terms
from oms.testing import Shop, given, given_step
from oms.testing.aggregates import ACTS
from oms.testing.fulfilment_acts import ORDER_ID
from oms.testing.own_step import event_of
from oms.testing.part_samples import REFUND_ID, shipped


def test_a_paid_order_is_confirmed() -> None:
    paid = given(Order, "place", "inventory.reserved").when("payment.success")

    paid.expect(oms.OrderConfirmed).state("CONFIRMED").starts()
    assert paid.step.aggregate.agreed.total == oms.Money.of(100, oms.Currency.of("USD"))


def test_an_order_begins_with_its_timer() -> None:
    given(Order).when("place").expect("order.created").state(oms.OrderState.CREATED).starts("deadline")


def test_refusals_and_what_cannot_be() -> None:
    confirmed = given(Order, OrderTrigger.PLACED, "RESERVED", "PAID")
    confirmed.when("cancel by customer").refused("order_settled")
    confirmed.when("payment.failed").impossible()
    given(Order).when("cancel by operator").refused("order_not_found")
    given(Reservation).when("order.confirmed").impossible()


def test_sticky_ends() -> None:
    given(Reservation, "order.cancelled").when("FITS").changes_nothing()
    given(Reservation, "FITS").when("order.cancelled").expect(oms.InventoryReleased).state("RELEASED")
    given(Payment, "order.cancelling").when("inventory.reserved").changes_nothing()


def test_money_that_was_taken_goes_back() -> None:
    unknown = given(Payment, "inventory.reserved", "no answer")
    unknown.when("order.cancelling").expect().state("VOIDING").starts("void")
    given(Payment, "inventory.reserved", "no answer", "order.cancelling").when("void: captured").starts("refund")


TWO = Terms.checked("customer-1", oms.Money.of(100, oms.Currency.of("USD")), {"apple": 2})


def test_an_order_is_shipped_in_two_parcels() -> None:
    begun = given(Order, "place", "payment.success", "ship", terms=TWO)

    begun.when("ship the last unit").expect("order.shipped", "order.completed").state("COMPLETED")
    begun.when("cancel the last units").expect("order.refund_requested", "order.completed").state("COMPLETED")
    begun.when("refund a return or goodwill").expect("order.refund_requested").state("FULFILLING")
    begun.when("cancel by operator").refused("order_settled")


def test_one_unit_of_one_is_the_last_one() -> None:
    with pytest.raises(ValueError, match="'ship' needs an order with several open units: this would be 'ship the last"):
        given(Order, "place", "payment.success").when("ship")
    given(Order, "place", "payment.success").when("ship the last unit").state("COMPLETED")
    given(Order, "place").when("ship").refused("order_not_confirmed")


def test_a_refused_refund_is_retried_by_instruction() -> None:
    refused = given(Order, "place", "payment.success", "CANCEL_UNITS", "payment.refund_failed", terms=TWO)
    refused.when("instruct payment").expect(oms.OrderPaymentInstructed).state("FULFILLING")
    given(Order, "place", "payment.success", "ship", terms=TWO).when("instruct payment").refused("nothing_refused")

    whole = given(Payment, "inventory.reserved", "captured", "order.cancelling")
    whole.when("refund refused").expect("payment.refund_failed").state("REFUNDING").starts()
    refused_whole = given(Payment, "inventory.reserved", "captured", "order.cancelling", "refund refused")
    refused_whole.when("instructed: retry the refund").expect().starts("refund")
    refused_whole.when("instructed: resolve the refund").expect("payment.refunded").state("REFUNDED")


def test_a_part_is_refunded_and_restocked() -> None:
    given(Payment, "inventory.reserved", "captured").when("order.refund_requested").expect().starts("refund")
    restocked = given(Reservation, "FITS", "order.confirmed").when("order.refund_requested")
    assert [(one.refund_id, dict(one.items)) for one in restocked.state("COMMITTED").step.aggregate.restocks] == [
        (REFUND_ID, {"apple": 1})
    ]


def test_every_trigger_of_every_table_can_happen() -> None:
    tables = {Order: ORDER_TABLE, Reservation: RESERVATION_TABLE, Payment: PAYMENT_TABLE}
    for kind, table in tables.items():
        for row in table.values():
            assert set(row) == set(ACTS[kind])


def test_a_failure_says_what_was_given_and_what_came() -> None:
    with pytest.raises(AssertionError) as failed:
        given(Order, "place").when("inventory.rejected").expect(oms.OrderCancelled)

    assert str(failed.value).splitlines()[1:] == [
        "   given Order: place; so it is CREATED",
        "    when inventory.rejected",
        "expected events order.cancelled",
        "   found state REJECTED; events order.rejected; tasks none",
    ]


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        (lambda then: then.state("CREATED"), "expected state CREATED"),
        (lambda then: then.starts("charge"), "expected tasks charge"),
        (lambda then: then.refused("order_settled"), "expected a refusal order_settled"),
        (lambda then: then.impossible(), "expected an impossible transition"),
        (lambda then: then.changes_nothing(), "expected events none"),
    ],
)
def test_each_expectation_can_fail(expectation, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        expectation(given(Order, "place").when("inventory.rejected"))


def test_a_step_that_was_refused_is_none() -> None:
    refused = given(Order).when("cancel by customer")
    with pytest.raises(AssertionError, match="found NotFound"):
        print(refused.step)
    with pytest.raises(AssertionError, match="found NotFound"):
        refused.expect()


def test_a_past_that_cannot_be_is_an_error_at_once() -> None:
    with pytest.raises(ImpossibleTransition):
        given(Reservation, "order.confirmed")


def test_what_is_no_trigger_is_said_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"'paid twice' can't happen to a Payment; this can: 'inventory.reserved', .*"):
        given(Payment).when("paid twice")


# -- a step of a user's own


@pytest.fixture
def app(shop: Shop) -> oms.App:
    def confirmed(event: oms.AnyEvent, step: oms.StepContext) -> None:
        if step.state is None:
            step.save({"status": "booking"})
            step.call("book", address="1 Quay")

    def cancelled(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        if step.state is not None:
            step.call("call off")
        step.save({"status": "called off"})

    def booked(parcel: object, step: oms.StepContext) -> None:
        step.save({"status": "booked", "parcel": parcel})
        step.publish("shipping.booked", parcel=parcel)

    calls = {"book": oms.OutsideCall(lambda *_: "p-1", booked), "call off": oms.OutsideCall(lambda *_: None)}
    shop.app.subscribe(
        "order.confirmed", group="shipping", handler=confirmed, calls=calls, publishes=["shipping.booked"]
    )
    shop.app.subscribe("order.cancelled", group="shipping", handler=cancelled)
    return shop.app


def test_what_a_step_does_by_what_it_did(app: oms.App) -> None:
    confirmed = given_step(app, "shipping").when("order.confirmed")
    confirmed.saves({"status": "booking"}).calls("book").calls_with("book", address="1 Quay").publishes()
    given_step(app, "shipping", "order.confirmed").when("order.confirmed").changes_nothing()
    given_step(app, "shipping", "order.cancelled").when("order.confirmed").changes_nothing()
    given_step(app, "shipping", "order.confirmed").when("order.cancelled").calls("call off")
    given_step(app, "shipping", "order.confirmed").answered("book", "p-1").publishes("shipping.booked").saves(
        {"status": "booked", "parcel": "p-1"}
    )


def test_an_event_about_a_parcel_can_be_given_as_topic_or_as_object(shop: Shop) -> None:
    parcels: list[object] = []
    shop.app.subscribe("order.shipped", group="labels", handler=lambda event, _step: parcels.append(event))
    given_step(shop.app, "labels", "order.shipped").when(shipped(ORDER_ID, TWO))
    assert [dict(parcel.items) for parcel in parcels if isinstance(parcel, oms.OrderShipped)] == [
        {"apple": 1},
        {"apple": 2},
    ]


def test_what_it_does_not_do_is_said(app: oms.App) -> None:
    with pytest.raises(AssertionError) as failed:
        given_step(app, "shipping", "order.confirmed").when("order.cancelled").publishes("shipping.called_off")
    assert str(failed.value).splitlines()[1:] == [
        '   given shipping: order.confirmed; it remembers {"status": "booking"}',
        "    when order.cancelled",
        "expected published: ['shipping.called_off']",
        "   found published: []",
    ]
    with pytest.raises(AssertionError, match="expected saved: None"):
        given_step(app, "shipping").when("order.cancelled").saves(None)
    with pytest.raises(AssertionError, match="found called:"):
        given_step(app, "shipping").when("order.confirmed").calls()
    with pytest.raises(AssertionError, match="2 Quay"):
        given_step(app, "shipping").when("order.confirmed").calls_with("book", address="2 Quay")


def test_what_there_is_not(app: oms.App) -> None:
    with pytest.raises(ValueError, match="there is no step 'parcels'; there are shipping"):
        given_step(app, "parcels")
    with pytest.raises(ValueError, match=r"shipping doesn't handle order\.created"):
        given_step(app, "shipping").when("order.created")
    with pytest.raises(ValueError, match="it has book, call off"):
        given_step(app, "shipping").answered("bok")
    with pytest.raises(ValueError, match="is no event of the system"):
        event_of("shipping.booked")


@pytest.mark.parametrize("topic", sorted(oms.domain.events.BY_TOPIC))
def test_every_event_of_the_system_can_be_given(topic: str) -> None:
    assert event_of(topic).topic == topic
