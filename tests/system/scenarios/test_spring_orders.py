"""With OMS_HTTP_COMPAT=spring a foreign `order.created` is taken as the HTTP API would take it; else it is parked."""

from __future__ import annotations

from typing import Any

import pytest

import oms

BODY = b'{"orderId":"spring-1","userId":"u","totalAmount":19.995,"items":{"a":2,"b":0}}'


def test_an_order_of_the_spring_system_is_taken(make: Any) -> None:
    shop = make(settings={"http_compat": "spring"})
    shop.publish("order.created", BODY)
    shop.run()
    order = shop.app.orders.get("spring-1")
    assert order.state is oms.OrderState.CONFIRMED
    assert (str(order.agreed.total), order.agreed.items) == ("20.00 USD", {"a": 2})
    assert shop.app.dead_letters.page() == []


def test_without_the_setting_it_is_parked_by_each_service_that_reads_it(make: Any) -> None:
    shop = make()
    shop.publish("order.created", BODY)
    shop.run()
    with pytest.raises(oms.NotFound):
        shop.app.orders.get("spring-1")
    assert {service for service, _ in shop.app.dead_letters.page()} == {"order", "inventory"}
