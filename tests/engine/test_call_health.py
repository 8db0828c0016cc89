"""No error of a user's code is silent: it is logged with its traceback, counted, and shown while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms
from oms.testing import Shop


class Bug(Exception):
    """A bug in a user's code."""


class Gateway(oms.PaymentGateway):
    """Raises the given errors, and otherwise captures."""

    def __init__(self, fault: Callable[[], Any] | None) -> None:
        self.fault = fault

    def _answer(self, well: Any) -> Any:
        return self.fault() if self.fault is not None else well

    def charge(self, _charge: oms.Charge) -> Any:
        return self._answer(oms.Captured("p"))

    def lookup(self, _lookup: oms.Lookup) -> Any:
        return self._answer(oms.Captured("p"))

    def void(self, _void: oms.Void) -> Any:
        return self._answer(oms.Voided())

    def refund(self, _refund: oms.Refund) -> Any:
        return self._answer(oms.Refunded())


def bug() -> Any:
    raise Bug("mine")


def logged_failures(shop: Shop, event: str = "call failed") -> list[Mapping[str, object]]:
    return [failure.fields for failure in shop.telemetry.failures if failure.event == event]


def errors(shop: Shop, extension: str, error: str = "Bug") -> int:
    return shop.telemetry.total("extension_errors", extension=extension, error=error)


# -- calls


def test_an_error_of_the_gateway_is_logged_at_the_first_attempt_and_at_each_tenth() -> None:
    shop = Shop(gateway=Gateway(bug))
    order = shop.place()
    shop.run()
    (first,) = shop.telemetry.failures
    assert isinstance(first.error, Bug)
    assert first.error.__traceback__ is not None
    assert (first.fields["order_id"], first.fields["attempt"]) == (order.id, 1)
    assert first.fields["next_try_at"] > shop.clock.now().isoformat()  # type: ignore[operator]

    shop.advance(minutes=14)
    attempts = [fields["attempt"] for fields in logged_failures(shop)]
    assert attempts == [1, 10, 20]
    assert 20 <= errors(shop, "gateway") < 30


def test_an_unanswered_call_is_logged_with_its_detail_made_storable() -> None:
    shop = Shop(gateway=Gateway(lambda: oms.Unanswered("503 \ud800\x00" + "x" * 10**6)))
    shop.place()
    shop.run()
    (fields,) = logged_failures(shop)
    assert str(fields["detail"]).startswith("503 \ufffd\ufffdx")
    assert len(str(fields["detail"])) <= 500
    assert errors(shop, "gateway", "Unanswered") == 1


def test_a_dead_gateway_is_degraded_within_ten_seconds_until_it_answers() -> None:
    gateway = Gateway(bug)
    shop = Shop(gateway=gateway)
    order = shop.place()
    assert shop.app.degraded() == []
    shop.advance(seconds=10)
    (line,) = shop.app.degraded()
    assert "gateway" in line
    assert "Bug" in line
    assert "mine" not in line, "the text of an error is for the log, /readyz is for everybody"
    assert [fields["call"] for fields in logged_failures(shop, "degraded")] == ["charge"]

    gateway.fault = None
    shop.advance(minutes=1)
    assert shop.status(order) == "CONFIRMED"
    assert shop.app.degraded() == []
    assert [note.fields["call"] for note in shop.telemetry.notes if note.event == "recovered"] == ["charge"]


def test_a_gateway_that_cannot_be_reached_is_degraded_too() -> None:
    shop = Shop(gateway=Gateway(lambda: oms.NotAttempted("connection refused")))
    shop.place()
    shop.advance(seconds=10)
    assert logged_failures(shop)[0]["detail"] == "connection refused"
    assert "NotAttempted" in shop.app.degraded()[0]


def test_an_answer_of_a_wrong_type_is_logged_as_an_error() -> None:
    shop = Shop(gateway=Gateway(lambda: None))
    shop.place()
    shop.run()
    assert "charge() returned" in str(shop.telemetry.failures[0].error)
    assert errors(shop, "gateway", "UnusableGatewayAnswer") == 1


def test_a_call_that_fails_slowly_is_degraded_before_its_third_failure() -> None:
    gateway = Gateway(None)
    shop = Shop(gateway=gateway)

    def slow() -> Any:
        shop.clock.advance(timedelta(seconds=6))
        raise Bug

    gateway.fault = slow
    shop.place()
    shop.run()
    shop.advance(seconds=4)
    assert len(shop.app.degraded()) == 1


def test_one_order_that_always_fails_is_no_dead_gateway() -> None:
    shop = Shop()
    bad = shop.place()
    shop.gateway.on(bad.id).no_answer_before_charge(times=100)
    shop.run()
    for _ in range(10):
        shop.place()
        shop.advance(seconds=1)
    assert shop.app.degraded() == []


def test_a_notifier_that_fails_is_logged_counted_and_degraded() -> None:
    class Notifier(oms.Notifier):
        def send(self, _notification: oms.Notification) -> None:
            bug()

    shop = Shop(notifier=Notifier())
    order = shop.place()
    shop.advance(seconds=10)
    assert {fields["order_id"] for fields in logged_failures(shop)} == {order.id}
    assert errors(shop, "notifier") >= 2
    assert "notifier" in shop.app.degraded()[0]


def test_a_refusal_for_good_is_logged_although_it_is_parked_at_once() -> None:
    class Notifier(oms.Notifier):
        def send(self, _notification: oms.Notification) -> None:
            raise oms.Permanent("no such address")

    shop = Shop(notifier=Notifier())
    shop.place()
    shop.run()
    assert [fields["next_try_at"] for fields in logged_failures(shop)] == [None] * len(shop.parked())
    assert errors(shop, "notifier", "Permanent") == len(shop.parked()) > 0


def step(shop: Shop, handler: Any, **calls: oms.OutsideCall) -> None:
    shop.app.subscribe("order.confirmed", group="own", handler=handler, calls=calls)


def test_each_call_of_a_step_is_watched_by_its_name() -> None:
    shop = Shop()

    def both(_event: oms.AnyEvent, context: oms.StepContext) -> None:
        context.call("good")
        context.call("bad")

    step(shop, both, good=oms.OutsideCall(lambda *_: None), bad=oms.OutsideCall(lambda *_: bug()))
    order = shop.place()
    shop.advance(seconds=10)
    assert [(fields["call"], fields["order_id"]) for fields in logged_failures(shop)] == [("bad", order.id)]
    assert [("'bad'" in line, "'good'" in line) for line in shop.app.degraded()] == [(True, False)]


def test_a_result_that_cannot_be_applied_is_logged_when_its_task_is_parked() -> None:
    shop = Shop()
    call = oms.OutsideCall(lambda *_: 42, lambda *_: bug())
    step(shop, lambda _event, context: context.call("call"), call=call)
    order = shop.place()
    shop.run()
    (failure,) = shop.telemetry.failures
    assert (failure.event, failure.fields["order_id"]) == ("result not applied", order.id)
    assert isinstance(failure.error, Bug)
    assert len(shop.parked()) == 1
    assert errors(shop, "step:own") == 1


# -- handlers and checks


def test_an_error_of_a_handler_is_logged_first_and_when_its_message_is_parked() -> None:
    shop = Shop()
    step(shop, lambda _event, _context: bug())
    order = shop.place()
    shop.advance(minutes=5)
    found = logged_failures(shop, "handler failed")
    assert [(fields["attempt"], fields["order_id"]) for fields in found] == [(1, order.id), (5, order.id)]
    assert found[0]["next_try_at"] is not None
    assert found[-1]["next_try_at"] is None
    assert errors(shop, "step:own") == 5


def test_a_handler_that_asks_to_be_tried_again_is_logged_at_each_tenth_try() -> None:
    shop = Shop()
    tries = []

    def handle(_event: oms.AnyEvent, _context: oms.StepContext) -> None:
        tries.append(1)
        if len(tries) <= 25:
            raise oms.Retryable("not yet")

    step(shop, handle)
    shop.place()
    shop.advance(minutes=5)
    assert [fields["attempt"] for fields in logged_failures(shop, "handler failed")] == [1, 10, 20]
    assert errors(shop, "step:own", "Retryable") == 25


@pytest.mark.parametrize("part", ["pricing", "policy"])
def test_an_error_of_pricing_or_policy_is_logged_and_a_refusal_is_not(part: str) -> None:
    class Checks(oms.Pricing, oms.Policy):
        error: Exception = Bug()

        def price(self, _terms: oms.Terms) -> oms.Money:
            raise self.error

        def check(self, _terms: oms.Terms, _caller: oms.Principal) -> None:
            raise self.error

    checks = Checks()
    shop = Shop(**{part: checks})
    with pytest.raises(Bug):
        shop.place()
    assert [failure.fields for failure in shop.telemetry.failures] == [{"extension": part}]
    assert errors(shop, part) == 1

    checks.error = oms.Refused("no", "not you")
    with pytest.raises(oms.Refused):
        shop.place()
    assert len(shop.telemetry.failures) == 1


def test_an_error_of_the_authenticator_is_logged_and_counted() -> None:
    class Broken(oms.Authenticator):
        def authenticate(self, _headers: Mapping[str, str]) -> oms.Principal | None:
            bug()

    shop = Shop(authenticator=Broken())
    with TestClient(oms.asgi(shop.app), raise_server_exceptions=False) as client:
        assert client.get("/orders").status_code == 503
    assert [failure.event for failure in shop.telemetry.failures] == ["caller not authenticated"]
    assert errors(shop, "authenticator") == 1


# -- as an operator sees it


@pytest.mark.parametrize("profile", ["memory", "embedded"])
def test_readyz_metrics_and_the_log_show_a_dead_gateway_within_ten_seconds(
    profile: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Gateway(bug)
    app = oms.create(
        profile=profile, data=tmp_path, environ={}, gateway=gateway, default_stock=100, log_level="warning"
    )
    with app, TestClient(oms.asgi(app), base_url="http://localhost") as client:
        assert client.get("/readyz").json() == {"status": "ready", "problems": [], "degraded": []}
        order = app.orders.place(app.draft("ann", 1, {"apple": 1}))
        began = time.monotonic()
        while client.get("/readyz").json()["status"] == "ready":
            assert time.monotonic() - began < 10
            time.sleep(0.05)
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert (answer.json()["status"], app.problems()) == ("degraded", [])
        assert 'oms_extension_errors_total{error="Bug",extension="gateway"}' in client.get("/metrics").text
        gateway.fault = None
        while client.get("/readyz").json()["status"] != "ready":
            assert time.monotonic() - began < 20
            time.sleep(0.05)
        assert app.orders.get(order.id).state.name in ("RESERVED", "CONFIRMED")
    assert "call failed" in caplog.text
    assert "Bug: mine" in caplog.text
    assert 'raise Bug("mine")' in caplog.text
