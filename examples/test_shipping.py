"""How a shop tests its own step: `pytest examples/test_shipping.py`.

The fixture `shop` comes with `distributed-oms[testing]`.
"""

from __future__ import annotations

from shipping import PaperCarrier, subscribe

import oms
from oms.testing import AnyShop, HuntedShop, Shop, given_step, hunt


def with_carrier(shop: AnyShop) -> PaperCarrier:
    carrier = PaperCarrier()
    subscribe(shop.app, carrier)
    return carrier


def test_the_step_alone(shop: Shop) -> None:
    with_carrier(shop)
    confirmed = given_step(shop.app, "shipping", "order.confirmed")
    confirmed.when("order.confirmed").changes_nothing()
    confirmed.when("order.cancelled").saves({"status": "called off"}).calls("call off")
    confirmed.answered("book", "parcel-1").publishes("shipping.booked")

    overtaken = given_step(shop.app, "shipping", "order.cancelled")
    overtaken.when("order.confirmed").changes_nothing()


def test_a_parcel_is_booked_once_whatever_its_worker_goes_through(shop: Shop) -> None:
    carrier = with_carrier(shop)
    shop.given(order={"lamp": 1})
    shop.worker("shipping").crash_before_commit(of="messages")
    shop.worker("shipping").crash_after_commit(of="tasks")
    shop.topic("order.confirmed").repeat()
    shop.run()
    shop.advance(minutes=2)

    assert carrier.on_the_road == ["parcel-1 to the counter"]
    shop.expect().published("shipping.booked", times=1).nothing_parked().nothing_owed()


def test_a_declined_order_is_never_booked(shop: Shop) -> None:
    carrier = with_carrier(shop)
    shop.gateway.decline_next()
    order = shop.given(order={"lamp": 1})
    shop.run()

    shop.expect(order).cancelled(oms.Reason.PAYMENT_DECLINED).paid_nothing()
    assert carrier.parcels == {}


@hunt(schedules=40)
def test_what_is_cancelled_is_called_off_in_every_schedule(shop: HuntedShop) -> None:
    carrier = with_carrier(shop)
    order = shop.given(order={"lamp": 1})
    shop.run()
    shop.cancel(order, by_operator=True)
    shop.run()

    shop.expect(order).cancelled(oms.Reason.OPERATOR).paid_nothing()
    assert carrier.on_the_road == []
