"""Ship, refund and decide about refused refunds, through `app.orders`."""

from __future__ import annotations

import pytest

from oms.application import payment_work  # noqa: F401 - the refund runs through it
from oms.application.use_cases import fulfil_order  # noqa: F401 - used through `app.orders`
from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.errors import InvalidValue, NotFound, Refused
from oms.domain.order_table import OrderState
from oms.domain.values import UserId
from oms.ports.extensions import Principal, Role
from oms.testing import Shop

CUSTOMER = Principal(Role.CUSTOMER, UserId("customer-1"))


def test_an_order_is_shipped_in_parts_and_refunded() -> None:
    shop = Shop()
    order = shop.place(items={"lamp": 2})
    shop.run()
    orders = shop.app.orders
    parcel = orders.ship(ShipOrder.of(order.id, {"lamp": 1}, "DHL", "t-1"), key="k")
    assert orders.ship(ShipOrder.of(order.id, {"lamp": 1}, "DHL", "t-1"), key="k") == parcel
    refund = orders.refund(RefundOrder.of(order.id, "CANCEL", "damaged", amount=3), key="k")
    shop.advance(minutes=1)
    assert orders.refund(RefundOrder.of(order.id, "CANCEL", "damaged", amount="3.00"), key="k") == refund
    now = orders.get(order.id)
    assert (now.state, now.fulfilment.shipments) == (OrderState.COMPLETED, (parcel,))
    assert [one.state.value for one in now.fulfilment.refunds] == ["PAID"]


def test_customers_neither_ship_nor_refund() -> None:
    shop = Shop()
    order = shop.place()
    with pytest.raises(Refused):
        shop.app.orders.ship(ShipOrder.of(order.id), caller=CUSTOMER)
    with pytest.raises(Refused):
        shop.app.orders.refund(RefundOrder.of(order.id, "GOODWILL", "late", amount=1), caller=CUSTOMER)
    with pytest.raises(Refused):
        shop.app.orders.retry_payment(order.id, "whole", "why", caller=CUSTOMER)


def test_a_tiny_amount_is_refused_at_once() -> None:
    """Written out, it has a billion digits."""
    shop = Shop()
    order = shop.place()
    shop.run()
    with pytest.raises(InvalidValue) as refused:
        shop.app.orders.refund(RefundOrder.of(order.id, "GOODWILL", "late", amount="1e-999999999"), key="k")
    assert refused.value.code == "invalid_amount"


def test_retrying_and_resolving_under_one_key_are_two_requests() -> None:
    shop = Shop()
    order = shop.place(items={"lamp": 2})
    shop.run()
    shop.app.orders.ship(ShipOrder.of(order.id, {"lamp": 1}))
    for decide in (shop.app.orders.retry_payment, shop.app.orders.resolve_payment):
        with pytest.raises(NotFound) as refused:
            decide(order.id, "no-such-refund", "why", key="k")
        assert refused.value.code == "refund_not_found"
