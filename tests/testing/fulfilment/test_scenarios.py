"""Shipments, cancelled units, returns and goodwill, from the user's side, in memory and in files of one machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import oms
from oms.testing import Shop
from tests.testing.fulfilment.orders import confirmed


def check(shop: Shop) -> None:
    shop.expect().nothing_owed().nothing_parked().promises_kept()


def test_two_parcels(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    first = shop.ship(order, {"lamp": 1}, carrier="DHL", tracking_number="JD1")
    shop.run()
    shop.expect(order).fulfilling().shipped({"lamp": 1}).notified_of(first)
    second = shop.ship(order, {"lamp": 1})
    shop.run()

    shop.expect(order).completed().parcels({"lamp": 1}, {"lamp": 1}).shipped({"lamp": 2}).refunded(0).paid("15.00")
    shop.expect(order).notified_of(first, second).notified(
        "payment.success", "order.confirmed", "order.shipped", "order.shipped", "order.completed"
    )
    parcel = next(one for one in shop.notifications(order) if one.part == first.id)
    assert (parcel.carrier, parcel.tracking_number, dict(parcel.items)) == ("DHL", "JD1", {"lamp": 1})
    assert [(line.name, line.quantity) for line in parcel.lines] == [("Lamp", 1)]
    with pytest.raises(oms.Conflict) as refused:
        shop.ship(order)
    assert refused.value.code == "order_completed"
    check(shop)


def test_a_unit_is_cancelled_before_the_first_parcel(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    refund = shop.refund(order, "CANCEL", {"lamp": 1})
    shop.run()
    shop.expect(order).fulfilling().cancelled_units({"lamp": 1}).refunded("5.00").paid("10.00").refund(refund, "PAID")
    shop.expect().stock("lamp", on_hand=4, held=0)
    shop.ship(order)
    shop.run()

    shop.expect(order).completed().shipped({"lamp": 1}).notified_of(refund, shop.order(order).fulfilment.shipments[0])
    completed = next(event for event in shop.published("order.completed"))
    assert isinstance(completed, oms.OrderCompleted)
    assert (str(completed.refunded), dict(completed.items)) == ("5.00 USD", {"lamp": 1})
    check(shop)


def test_a_unit_is_cancelled_between_two_parcels(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop, 3, price="30.00")
    shop.ship(order, {"lamp": 1})
    shop.refund(order, "CANCEL", {"lamp": 1})
    shop.run()
    shop.expect(order).fulfilling().refunded("10.00")
    shop.ship(order, {"lamp": 1})
    shop.run()

    shop.expect(order).completed().shipped({"lamp": 2}).cancelled_units({"lamp": 1}).refunded("10.00").paid("25.00")
    shop.expect().stock("lamp", on_hand=3, held=0)
    check(shop)


def test_a_unit_cannot_be_cancelled_after_the_last_parcel(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.ship(order)
    shop.run()
    with pytest.raises(oms.Conflict) as refused:
        shop.refund(order, "CANCEL", {"lamp": 1})
    assert refused.value.code == "order_completed"

    shop.expect(order).completed().refunded(0).paid("15.00")
    check(shop)


def test_both_units_are_cancelled_one_by_one(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.refund(order, "CANCEL", {"lamp": 1})
    with pytest.raises(oms.InvalidValue) as refused:
        shop.refund(order, "CANCEL", {"lamp": 1}, amount="5.00")
    assert refused.value.code == "amount_must_be_rest"
    shop.refund(order, "CANCEL", {"lamp": 1})
    shop.run()

    shop.expect(order).completed().cancelled_units({"lamp": 2}).shipped({}).refunded("15.00").paid_nothing()
    shop.expect().stock("lamp", on_hand=5, held=0)
    completed = next(event for event in shop.published("order.completed"))
    assert isinstance(completed, oms.OrderCompleted)
    assert (str(completed.refunded), dict(completed.items)) == ("15.00 USD", {})
    check(shop)


@pytest.mark.parametrize(("restock", "on_hand"), [(None, 3), (False, 3), (True, 4)])
def test_a_return(any_shop: Shop, restock: bool | None, on_hand: int) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.ship(order)
    shop.run()
    refund = shop.refund(order, "RETURN", {"lamp": 1}, restock=restock, reason="too bright")
    shop.run()

    shop.expect(order).completed().returned({"lamp": 1}).refunded("5.00").paid("10.00").refund(refund, "PAID")
    shop.expect().stock("lamp", on_hand=on_hand, held=0).published("order.completed", times=1)
    with pytest.raises(oms.Conflict) as refused:
        shop.refund(order, "RETURN", {"lamp": 2})
    assert refused.value.code == "not_enough_units"
    check(shop)


def test_goodwill(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    with pytest.raises(oms.InvalidValue) as refused:
        shop.refund(order, "GOODWILL")
    assert refused.value.code == "amount_required"
    shop.refund(order, "GOODWILL", amount="1.50")
    shop.run()
    shop.expect(order).fulfilling().refunded("1.50").paid("13.50")
    shop.ship(order)
    later = shop.refund(order, "GOODWILL", amount=0)
    shop.run()

    shop.expect(order).completed().refunded("1.50").paid("13.50").refund(later, "PAID")
    shop.expect().stock("lamp", on_hand=3)
    check(shop)


def test_three_units_with_a_discount(any_shop: Shop) -> None:
    """Three units at 19.99 for 49.99: the shares are 16.66, 16.66 and 16.67, and never more than the line's price."""
    shop = any_shop
    order = confirmed(shop, 3, price="49.99", shipping="4.90")
    amounts = [str(shop.refund(order, "CANCEL", {"lamp": 1}).amount) for _ in range(2)]
    shop.ship(order)
    shop.run()
    amounts.append(str(shop.refund(order, "RETURN", {"lamp": 1}).amount))
    shop.run()

    assert amounts == ["16.66 USD", "16.66 USD", "16.67 USD"]
    shop.expect(order).completed().refunded("49.99").paid("4.90")
    check(shop)


def test_three_units_at_19_99(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop, 3, price="59.97", shipping="0.00")
    shop.ship(order, {"lamp": 2})
    amounts = [str(shop.refund(order, kind, {"lamp": 1}).amount) for kind in ("RETURN", "CANCEL", "RETURN")]
    shop.run()

    assert amounts == ["19.99 USD"] * 3
    shop.expect(order).completed().refunded("59.97").paid_nothing()
    check(shop)


def test_more_than_is_left_is_refused(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.refund(order, "GOODWILL", amount="14.00")
    with pytest.raises(oms.Conflict) as refused:
        shop.refund(order, "GOODWILL", amount="1.01")
    assert refused.value.code == "refund_exceeds_total"
    with pytest.raises(oms.Conflict) as refused:
        shop.refund(order, "CANCEL", {"lamp": 1})
    assert refused.value.code == "refund_exceeds_total"
    shop.refund(order, "CANCEL", {"lamp": 1}, amount="1.00")
    shop.ship(order)
    shop.run()

    shop.expect(order).completed().refunded("15.00").paid_nothing()
    check(shop)


def test_units_are_neither_shipped_nor_refunded_before_the_confirmation_or_after_a_cancel(any_shop: Shop) -> None:
    shop = any_shop
    order = shop.given(stock={"lamp": 5}, order={"lamp": 2})
    for command in (lambda: shop.ship(order), lambda: shop.refund(order, "GOODWILL", amount=1)):
        with pytest.raises(oms.Conflict) as refused:
            command()
        assert refused.value.code == "order_not_confirmed"
    shop.run()
    shop.cancel(order, by_operator=True)
    with pytest.raises(oms.Conflict) as refused:
        shop.ship(order)
    assert refused.value.code == "order_not_confirmed"
    shop.run()

    shop.expect(order).cancelled("OPERATOR").paid_nothing().refunded(100)
    with pytest.raises(oms.Conflict) as refused:
        shop.refund(order, "GOODWILL", amount=1)
    assert refused.value.code == "order_settled"
    check(shop)


def test_an_order_that_is_shipped_in_part_is_not_cancelled(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.ship(order, {"lamp": 1})
    for by_operator in (False, True):
        with pytest.raises(oms.Conflict) as refused:
            shop.cancel(order, by_operator=by_operator)
        assert refused.value.code == "order_settled"
    shop.run()
    shop.expect(order).fulfilling().paid("15.00")
    check(shop)


def test_a_command_with_a_key_is_carried_out_once(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    parcels = [shop.ship(order, {"lamp": 1}, key="parcel-1") for _ in range(2)]
    refunds = [shop.refund(order, "CANCEL", {"lamp": 1}, key="refund-1") for _ in range(2)]
    shop.run()
    parcels.append(shop.ship(order, {"lamp": 1}, key="parcel-1"))
    refunds.append(shop.refund(order, "CANCEL", {"lamp": 1}, key="refund-1"))

    assert len({one.id for one in parcels}) == len({one.id for one in refunds}) == 1
    shop.expect(order).completed().shipped({"lamp": 1}).cancelled_units({"lamp": 1}).refunded("5.00").paid("10.00")
    check(shop)


def test_ten_refunds_at_once_are_never_more_than_the_total(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)

    def refund(number: int) -> str:
        command = oms.RefundOrder.of(order.id, "GOODWILL", "at once", amount="2.00")
        try:
            shop.app.orders.refund(command, key=f"refund-{number}")
        except oms.Conflict as refused:
            return refused.code
        return "accepted"

    with shop.app, ThreadPoolExecutor(10) as threads:
        results = sorted(threads.map(refund, range(10)))
    shop.run()
    shop.advance(minutes=5)

    assert results == ["accepted"] * 7 + ["refund_exceeds_total"] * 3
    shop.expect(order).fulfilling().refunded("14.00").paid("1.00")
    check(shop)
