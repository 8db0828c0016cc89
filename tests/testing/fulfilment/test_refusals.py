"""Refunds that the gateway refuses, loses or makes late; an operator retries or resolves what was refused."""

from __future__ import annotations

import pytest

import oms
from oms.testing import Shop
from tests.testing.fulfilment.orders import confirmed
from tests.testing.fulfilment.test_scenarios import check


def test_a_refused_refund_is_retried(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.gateway.refuse_next_refund("the account is closed")
    refund = shop.refund(order, "GOODWILL", amount="3.00")
    shop.run()
    shop.expect(order).fulfilling().refund(refund, "REFUSED").refunded(0).paid("15.00").notified_of()
    shop.expect().published("payment.refund_failed")
    refusal = shop.order(order).fulfilment.refusal(refund.id)
    assert refusal is not None
    assert (refusal.attempt, refusal.reason) == (1, "the account is closed")
    check(shop)

    shop.retry_payment(order, refund, why="the account is open again")
    with pytest.raises(oms.Conflict) as refused:
        shop.resolve_payment(order, refund)
    assert refused.value.code == "nothing_refused"
    shop.run()
    shop.expect(order).refund(refund, "PAID").refunded("3.00").paid("12.00").notified_of(refund)
    check(shop)


def test_a_refund_that_is_refused_twice_is_resolved_by_hand(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.gateway.refuse_next_refund()
    refund = shop.refund(order, "CANCEL", {"lamp": 1})
    shop.run()
    shop.gateway.refuse_next_refund()
    shop.retry_payment(order, refund)
    shop.run()
    shop.expect(order).refund(refund, "REFUSED")
    shop.expect().published("payment.refund_failed", times=2).stock("lamp", on_hand=4)
    shop.resolve_payment(order, refund, why="paid in cash")
    shop.run()

    shop.expect(order).refund(refund, "PAID").refunded("5.00").paid("15.00").notified_of(refund)
    paid = next(event for event in shop.published("payment.refund_paid"))
    assert isinstance(paid, oms.PaymentRefundPaid)
    assert (paid.outside, paid.attempt) == (True, 2)
    check(shop)


@pytest.mark.parametrize(("decide", "left"), [("retry", 0), ("resolve", 100)])
def test_the_refund_of_a_cancelled_order_is_refused(any_shop: Shop, decide: str, left: int) -> None:
    shop = any_shop
    order = shop.given(stock={"lamp": 3}, order={"lamp": 1})
    shop.run()
    shop.gateway.refuse_next_refund()
    shop.cancel(order, by_operator=True)
    shop.run()
    shop.advance(minutes=30)
    shop.expect(order).in_state("CANCELLING").refund("whole", "REFUSED").payment("REFUNDING").paid(100)
    shop.expect().published("payment.refund_failed").stock("lamp", on_hand=2)

    if decide == "retry":
        shop.retry_payment(order)
    else:
        shop.resolve_payment(order)
    shop.run()
    shop.expect(order).cancelled("OPERATOR").refund("whole", "PAID").payment("REFUNDED").refunded(100).paid(left)
    shop.expect().stock("lamp", on_hand=3)
    check(shop)


def test_a_lost_response_is_one_refund(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.gateway.lose_next_refund_answer()
    refund = shop.refund(order, "GOODWILL", amount="3.00")
    shop.run()
    shop.expect(order).refund(refund, "DUE").paid("12.00").refunded(0)
    shop.advance(minutes=1)

    shop.expect(order).refund(refund, "PAID").paid("12.00").refunded("3.00").notified_of(refund)
    check(shop)


def test_a_lost_call_is_repeated_under_the_same_key(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.gateway.lose_next_refund_call()
    refund = shop.refund(order, "GOODWILL", amount="3.00")
    shop.run()
    shop.expect(order).refund(refund, "DUE").paid("15.00")
    shop.advance(minutes=1)

    shop.expect(order).refund(refund, "PAID").paid("12.00")
    payment = shop.stores()["payment"].payments([order.id])[order.id]
    assert [one.attempt for one in payment.refunds] == [1]
    check(shop)


def test_two_refunds_one_of_them_refused(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.gateway.refuse_next_refund()
    refunds = [shop.refund(order, "GOODWILL", amount=amount) for amount in ("1.00", "2.00")]
    shop.run()
    states = {
        str(one.amount): shop.order(order).fulfilment.state_of(one).value
        for one in shop.order(order).fulfilment.refunds
    }
    assert sorted(states.values()) == ["PAID", "REFUSED"]
    refused = next(one for one in refunds if states[str(one.amount)] == "REFUSED")
    with pytest.raises(oms.Conflict) as wrong:
        shop.retry_payment(order, next(one for one in refunds if one is not refused))
    assert wrong.value.code == "nothing_refused"
    shop.retry_payment(order, refused)
    shop.run()
    shop.expect(order).refunded("3.00").paid("12.00")
    check(shop)


def test_what_is_refused_to_operators(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    with pytest.raises(oms.Conflict) as refused:
        shop.retry_payment(order)
    assert refused.value.code == "nothing_refused"
    shop.ship(order, {"lamp": 1})
    with pytest.raises(oms.NotFound) as unknown:
        shop.retry_payment(order, "no-such-refund")
    assert unknown.value.code == "refund_not_found"
    shop.run()
    check(shop)
