"""A caller's W3C trace goes with everything that comes of its request, through every service, call and timer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms
from oms.testing import Shop

PLACED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CANCELLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
ORDER = {"userId": "ann", "amount": 5, "items": {"apple": 1}}
INVALID = [
    "", "x", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", PLACED.upper(), PLACED + "-00",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01",
    f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", "00-" + "\u0661" * 32 + "-00f067aa0ba902b7-01",
]  # fmt: skip


def traces(log: Any) -> dict[str, str | None]:
    """The trace of each topic's messages; one order is in the log."""
    found: dict[str, str | None] = {}
    for record in log.all_records():
        headers = dict(record.headers)
        found[record.topic] = headers["traceparent"].decode() if "traceparent" in headers else None
    return found


@pytest.fixture(params=["memory", "embedded"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[oms.App]:
    with oms.create(profile=request.param, data=tmp_path, environ={}, default_stock=100, log_level="error") as made:
        yield made


def published(app: oms.App, last: str) -> dict[str, str | None]:
    """The traces, once the last message is there."""
    until = time.monotonic() + 20
    while last not in (found := traces(app.system.container.broker())):
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return found


def test_over_http_from_order_created_to_the_refund(app: oms.App) -> None:
    client = TestClient(oms.asgi(app), "http://localhost")
    order = client.post("/orders", json=ORDER, headers={"traceparent": PLACED}).json()
    assert published(app, "order.confirmed") == dict.fromkeys(
        ("order.created", "inventory.reserved", "payment.success", "order.confirmed"), PLACED
    )

    client.post(f"/orders/{order['id']}/cancel", json={"by": "operator"}, headers={"traceparent": CANCELLED})
    found = published(app, "inventory.released")
    later = ("order.cancelling", "payment.refunded", "order.cancelled", "inventory.released")
    assert {topic: trace for topic, trace in found.items() if topic in later} == dict.fromkeys(later, CANCELLED)


@pytest.mark.parametrize("trace", [value for value in INVALID if value.isascii()])
def test_one_that_isnt_valid_is_ignored(trace: str) -> None:
    with (
        oms.create(profile="memory", environ={}, default_stock=100, log_level="error") as app,
        TestClient(oms.asgi(app), "http://localhost") as client,
    ):
        assert client.post("/orders", json=ORDER, headers={"traceparent": trace}).status_code == 201
        assert published(app, "order.created")["order.created"] is None


def test_as_a_library_and_by_a_timer() -> None:
    shop = Shop(settings=oms.Settings(profile="memory", order_deadline_s=60))
    order = shop.app.orders.place(shop.app.draft("ann", 5, {"apple": 1}), trace=PLACED)
    shop.gateway.on(order.id).no_answer_before_charge()
    shop.run()
    shop.gateway.on(order.id).no_answer_before_charge()
    shop.advance(minutes=10)

    assert shop.status(order) in ("CONFIRMED", "CANCELLED")
    assert set(traces(shop.log).values()) == {PLACED}


@pytest.mark.parametrize("trace", INVALID)
def test_as_a_library_one_that_isnt_valid_is_ignored(trace: str) -> None:
    shop = Shop()
    shop.app.orders.place(shop.app.draft("ann", 5, {"apple": 1}), trace=trace)
    shop.run()
    assert set(traces(shop.log).values()) == {None}


def test_an_own_step_and_its_calls_carry_it_on() -> None:
    def ship(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.call("carrier")

    def booked(_result: object, step: oms.StepContext) -> None:
        step.publish("shipping.booked")

    shop = Shop()
    call = oms.OutsideCall(lambda _order, _payload: None, booked)
    shop.app.subscribe(
        "order.confirmed", group="shipping", handler=ship, calls={"carrier": call}, publishes=["shipping.booked"]
    )
    shop.app.orders.place(shop.app.draft("ann", 5, {"apple": 1}), trace=PLACED)
    shop.place({"pear": 1})
    shop.run()

    booked_as = [dict(record.headers) for record in shop.log.all_records() if record.topic == "shipping.booked"]
    assert {headers.get("traceparent") for headers in booked_as} == {PLACED.encode(), None}


def test_orders_of_one_group_keep_their_own() -> None:
    shop = Shop()
    draft = shop.app.draft("ann", 5, {"apple": 1})
    placed = [shop.app.orders.submit(draft, trace=trace) for trace in (PLACED, None, CANCELLED)]
    shop.run()
    for future, trace in zip(placed, (PLACED, None, CANCELLED), strict=True):
        order_id = future.result().id
        mine = [record for record in shop.log.all_records() if record.key == order_id.encode()]
        assert {dict(record.headers).get("traceparent") for record in mine} == {trace.encode() if trace else None}
        assert len(mine) == 4
