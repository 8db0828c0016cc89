"""Payment events that contradict their order are parked with an alert and without effect, in any order of arrival.

After each test the promises are checked, with the forged messages in the log.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

import oms
from oms.domain.order import EARLY_MISMATCH
from oms.ports.messages import Outgoing
from oms.testing import Shop

WRONG = {"amount": {"amount": 0.01}, "customer": {"userId": "mallory"}}


def forged(order_id: str, topic: str = "payment.success", **other: Any) -> Outgoing:
    body = {"orderId": order_id, "userId": "customer-1", "amount": 100, "paymentId": "forged", **other}
    return Outgoing(topic, order_id.encode(), json.dumps(body).encode())


def parked(shop: Shop) -> list[tuple[str, str | None]]:
    return [(letter.cause, letter.order_id) for _, letter in shop.app.dead_letters.page(service="order")]


@pytest.fixture(params=WRONG)
def wrong(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WRONG[request.param]


def test_a_forged_payment_confirms_nothing(system: Shop, wrong: dict[str, Any]) -> None:
    order = system.place()
    system.log.publish([forged(order.id, **wrong)])
    assembly = system.app.system.order
    assembly.worker.run_once()
    assert system.app.orders.get(order.id).state is oms.OrderState.CREATED
    assert parked(system) == [("TermsMismatch", order.id)]
    (alert,) = system.telemetry.alerts
    assert (alert.event, alert.fields["topic"], alert.fields["cause"]) == (
        "message parked",
        "payment.success",
        "TermsMismatch",
    )

    system.run()
    assert system.app.orders.get(order.id).state is oms.OrderState.CONFIRMED, (
        "the genuine event has the same message id"
    )


def test_a_forgery_before_the_true_news_in_one_batch(system: Shop, wrong: dict[str, Any]) -> None:
    order = system.place()
    system.log.publish([forged(order.id, **wrong)])
    _let_the_others_work(system)
    system.log.publish([forged(order.id, **wrong)])
    system.app.system.order.worker.run_once()
    assert system.app.orders.get(order.id).state is oms.OrderState.CONFIRMED
    assert parked(system) == [("TermsMismatch", order.id)], "its copy is a repeat"
    system.run()


def test_a_forgery_after_the_true_news_is_parked_too(system: Shop, wrong: dict[str, Any]) -> None:
    order = system.place()
    system.run()
    system.log.publish([forged(order.id, **wrong)])
    system.run()
    assert system.app.orders.get(order.id).state is oms.OrderState.CONFIRMED
    assert parked(system) == [("TermsMismatch", order.id)]


@pytest.mark.parametrize("topic", ["payment.failed", "payment.voided", "payment.refunded"])
def test_no_forged_news_ends_a_cancel(system: Shop, topic: str, wrong: dict[str, Any]) -> None:
    order = system.place()
    system.run()
    system.cancel(order, by_operator=True)
    system.log.publish([forged(order.id, topic, **wrong)])
    system.app.system.order.worker.run_once()
    assert system.app.orders.get(order.id).state is oms.OrderState.CANCELLING
    system.run()
    assert system.app.orders.get(order.id).state is oms.OrderState.CANCELLED
    assert parked(system) == [("TermsMismatch", order.id)]


def test_a_forgery_that_comes_before_its_order_is_not_applied(system: Shop, wrong: dict[str, Any]) -> None:
    system.log.publish([forged("foreign-1", **wrong)])
    system.app.system.order.worker.run_once()
    with pytest.raises(oms.NotFound):
        system.app.orders.get("foreign-1")
    system.publish("order.created", _created("foreign-1"))
    _let_the_others_work(system)
    system.run()
    assert system.app.orders.get("foreign-1").state is oms.OrderState.CONFIRMED
    assert [alert.event for alert in system.telemetry.alerts] == [EARLY_MISMATCH]
    details = [entry.detail for entry in system.app.orders.timeline("foreign-1")]
    assert sum("payment.success ignored" in detail for detail in details) == 1
    assert parked(system) == []


def test_a_reservation_of_other_items_is_parked(system: Shop) -> None:
    order = system.place()
    body = {"orderId": order.id, "userId": "customer-1", "totalAmount": 100, "items": {"apple": 2}}
    system.publish("inventory.reserved", json.dumps(body).encode())
    system.app.system.order.worker.run_once()
    assert system.app.orders.get(order.id).state is oms.OrderState.CREATED
    assert parked(system) == [("TermsMismatch", order.id)]
    system.app.system.inventory.worker.run_once()
    system.app.system.order.worker.run_once()
    assert system.app.orders.get(order.id).state is oms.OrderState.RESERVED


def test_a_redrive_of_a_forgery_fails_again(system: Shop, wrong: dict[str, Any]) -> None:
    order = system.place()
    system.run()
    system.log.publish([forged(order.id, **wrong)])
    system.run()
    ((_, letter),) = system.app.dead_letters.page(service="order")
    with pytest.raises(oms.Conflict, match="it fails again"):
        system.app.dead_letters.redrive(letter.id)


def _let_the_others_work(shop: Shop) -> None:
    """Everything but the order service's consumer, until nothing moves any more."""
    assemblies = shop.app.system.assemblies
    steps = [assemblies["order"].relay, *(assembly.worker for name, assembly in assemblies.items() if name != "order")]
    while sum(step.run_once() for step in steps):
        pass


def _created(order_id: str) -> bytes:
    return json.dumps({"orderId": order_id, "userId": "customer-1", "totalAmount": 100, "items": {"apple": 1}}).encode()
