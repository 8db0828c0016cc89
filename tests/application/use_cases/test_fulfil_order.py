"""Ship, refund and decide about refused refunds, through `app.orders`."""

from __future__ import annotations

import pytest

from oms.application import payment_work  # noqa: F401 - the refund runs through it
from oms.application.use_cases import fulfil_order  # noqa: F401 - used through `app.orders`
from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.errors import Refused
from oms.domain.order import OrderState
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
