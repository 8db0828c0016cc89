"""A user's call that never returns: its slot is used again, its outcome is looked up, and its late answer is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import oms
from oms.adapters.memory.clock import ManualClock
from oms.testing import Shop


class Hanging(oms.PaymentGateway):
    """Its first charges hang until they are released, and then say that they captured; look-ups say declined."""

    def __init__(self, hangs: int) -> None:
        self.hangs, self.charges = hangs, 0
        self.release, self.late = threading.Event(), threading.Event()

    def charge(self, _charge: oms.Charge) -> oms.Captured:
        self.charges += 1
        if self.charges <= self.hangs:
            self.release.wait(20)
            self.late.set()
            return oms.Captured("late")
        return oms.Captured("in time")

    def lookup(self, _lookup: oms.Lookup) -> oms.Declined:
        return oms.Declined()

    def void(self, _void: oms.Void) -> oms.Voided:
        return oms.Voided()

    def refund(self, _refund: oms.Refund) -> oms.Refunded:
        return oms.Refunded()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.fixture(params=["memory", "embedded"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    return {"profile": request.param, "data": tmp_path, "environ": {}, "log_level": "error", "default_stock": 100}


@pytest.fixture
def gateway() -> Iterator[Hanging]:
    made = Hanging(2)
    yield made
    made.release.set()


def test_a_gateway_that_hangs_holds_up_no_other_order(given: dict[str, object], gateway: Hanging) -> None:
    limits = {"payment_timeout_s": 0.2, "task_lease_s": 1.0, "webhook_timeout_s": 0.5, "payment_calls": 2}
    with oms.create(gateway=gateway, **limits, **given) as app:
        hung = [app.orders.place(app.draft("ann", 1, {"apple": 1})) for _ in range(2)]
        assert within(10, lambda: gateway.charges == 2)
        other = app.orders.place(app.draft("bob", 1, {"apple": 1}))
        assert within(10, lambda: app.orders.get(other.id).state.name == "CONFIRMED")
        assert within(10, lambda: {app.orders.get(order.id).state.name for order in hung} == {"CANCELLED"})

        gateway.release.set()
        assert gateway.late.wait(10)
        time.sleep(0.3)
        assert {app.orders.get(order.id).state.name for order in hung} == {"CANCELLED"}, "a late answer changes nothing"
        payments = app.evidence.payment.all_payments()
        assert sorted(one.payment_id or "none" for one in payments) == ["in time", "none", "none"]


def test_a_notifier_and_a_step_that_hang_hold_up_nothing_else(given: dict[str, object]) -> None:
    release, sent, booked = threading.Event(), list[str](), list[str]()

    class Notifier(oms.Notifier):
        def send(self, notification: oms.Notification) -> None:
            sent.append(notification.id)
            if len(sent) == 1:
                release.wait(20)

    def book(order_id: str, _payload: object) -> None:
        booked.append(order_id)
        if len(booked) == 1:
            release.wait(20)

    limits = {"call_timeout_s": 0.2, "task_lease_s": 10.0, "notify_calls": 1}
    app = oms.create(notifier=Notifier(), **limits, **given)
    call = oms.OutsideCall(book)
    app.subscribe("order.confirmed", group="own", handler=lambda _, step: step.call("book"), calls={"book": call})
    try:
        with app:
            order = app.orders.place(app.draft("ann", 1, {"apple": 1}))
            assert within(10, lambda: booked == [order.id] * 2), "it is made again, after the first one was abandoned"
            assert within(10, lambda: {f"{order.id}:order.confirmed", f"{order.id}:payment.success"} == set(sent))
            release.set()
    finally:
        release.set()


def test_a_call_that_takes_longer_than_its_limit_is_settled_by_look_up_in_virtual_time() -> None:
    clock = ManualClock()

    class Slow(Hanging):
        def charge(self, charge: oms.Charge) -> oms.Captured:
            clock.advance(timedelta(seconds=6))
            return super().charge(charge)

    shop = Shop(clock=clock, gateway=Slow(0), payment_timeout_s=5.0)
    order = shop.place()
    shop.advance(minutes=1)
    assert shop.status(order) == "CANCELLED", "the answer of the look-up counts, not the late capture"
