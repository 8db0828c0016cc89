"""A result that a shop's own code can't apply yet delays its own task alone; a store out of reach delays all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import oms
from oms.testing import Shop

NewShop = Callable[..., Shop]


class Parcels:
    """A step whose `then` fails for the orders of one customer, after it has saved and published."""

    def __init__(self, shop: Shop, error: Exception) -> None:
        self.error: Exception | None = error
        self.runs: Counter[str] = Counter()
        calls = {"book": oms.OutsideCall(self.book, self.booked)}
        shop.app.subscribe(
            "order.confirmed", group="parcels", handler=self.confirmed, calls=calls, publishes=["parcels.booked"]
        )

    def confirmed(self, event: Any, step: oms.StepContext) -> None:
        step.call("book", user=event.terms.user_id)

    def book(self, order_id: str, payload: Any) -> str:
        self.runs[order_id] += 1
        return str(payload["user"])

    def booked(self, user: object, step: oms.StepContext) -> None:
        step.save({"booked": user})
        step.publish("parcels.booked")
        if user == "waits" and self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [oms.Retryable("the depot is closed"), oms.OutcomeUnknown("no answer")], ids=repr)
def test_only_the_task_whose_result_is_refused_backs_off(new_shop: NewShop, error: Exception) -> None:
    shop = new_shop(payment_success_rate=1)
    parcels = Parcels(shop, error)
    waiting = shop.place(user="waits")
    others = [shop.place(user=f"user-{number}") for number in range(5)]
    shop.run()
    for order in others:
        assert "parcels.booked" in shop.topics(order)
        shop.expect(order).remembered("parcels", {"booked": order.terms.user_id})
    shop.expect(waiting).not_published("parcels.booked").remembered("parcels", None).nothing_parked()
    assert shop.telemetry.total("step_retries") == 0
    (failure,) = shop.telemetry.failures
    assert (failure.event, failure.error) == ("call failed", error)
    assert failure.fields["order_id"] == waiting.id

    shop.advance(seconds=0.3)
    assert parcels.runs[waiting.id] == 2, "the call is made again after a quarter of a second"
    shop.advance(minutes=2)
    assert "book" in shop.app.degraded()[0]
    later = shop.place(user="later")
    shop.run()
    assert "parcels.booked" in shop.topics(later)

    parcels.error = None
    shop.advance(minutes=2)
    assert "parcels.booked" in shop.topics(waiting)
    shop.expect(waiting).remembered("parcels", {"booked": "waits"})
    assert {parcels.runs[order.id] for order in others} == {1}
    assert shop.app.degraded() == []


def test_a_result_that_fails_for_good_is_parked(new_shop: NewShop) -> None:
    shop = new_shop(payment_success_rate=1)
    Parcels(shop, oms.Permanent("no such depot"))
    refused, other = shop.place(user="waits"), shop.place(user="ann")
    shop.run()
    assert [letter.order_id for letter in shop.parked()] == [refused.id]
    assert "parcels.booked" in shop.topics(other)


@pytest.mark.parametrize("error", [oms.Retryable("busy"), oms.OutcomeUnknown("no answer")], ids=repr)
def test_a_gateway_or_notifier_that_fails_for_one_order_delays_no_other(error: Exception) -> None:
    class Fails(oms.PaymentGateway, oms.Notifier):
        def charge(self, charge: oms.Charge) -> oms.ChargeAnswer:
            if charge.user_id == "waits":
                raise error
            return oms.Captured(charge.key)

        def lookup(self, lookup: oms.Lookup) -> oms.LookupAnswer:
            raise error

        def void(self, void: oms.Void) -> oms.VoidAnswer:
            raise error

        def refund(self, refund: oms.Refund) -> oms.RefundAnswer:
            raise error

        def send(self, notification: oms.Notification) -> None:
            if notification.user_id == "quiet":
                raise error

    fails = Fails()
    shop = Shop(gateway=fails, notifier=fails)
    waiting, quiet, other = shop.place(user="waits"), shop.place(user="quiet"), shop.place(user="ann")
    shop.run()
    shop.expect(other).confirmed().notified("order.confirmed", "payment.success")
    shop.expect(quiet).confirmed()
    shop.expect(waiting).in_state("RESERVED")
    assert shop.telemetry.total("step_retries") == 0
