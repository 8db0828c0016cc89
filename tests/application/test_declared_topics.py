"""A step declares the topics that it publishes to: setup makes them, and an event for another topic is noticed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import oms
from oms.application import topic_rights
from oms.application.topic_rights import StepTopics, topic_access
from oms.bootstrap.app import App
from oms.bootstrap.operators import acl_of
from oms.bootstrap.servers import topics_of
from oms.testing import Shop, given_step, hunt
from oms.testing.sim.rolling_upgrade import SimulatedApp

NewShop = Callable[..., Shop]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this release does."""
    monkeypatch.setattr(topic_rights, "UNDECLARED_TOPICS_FAIL", False)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next release does."""
    monkeypatch.setattr(topic_rights, "UNDECLARED_TOPICS_FAIL", True)


def confirmed(_event: oms.AnyEvent, step: oms.StepContext) -> None:
    step.save({"status": "booking"})
    step.publish("parcels.planned")
    step.call("book")


def booked(_result: object, step: oms.StepContext) -> None:
    step.publish("parcels.booked")


def subscribe(app: App, *publishes: str) -> None:
    calls = {"book": oms.OutsideCall(lambda *_: None, booked)}
    app.subscribe("order.confirmed", group="parcels", handler=confirmed, calls=calls, publishes=publishes)


def warnings_of(shop: Shop) -> list[Any]:
    return [(one.event, one.fields["step"], one.fields["topic"]) for one in shop.telemetry.failures]


def test_a_step_publishes_what_it_declares(new_shop: NewShop) -> None:
    shop = new_shop()
    subscribe(shop.app, "parcels.planned", "parcels.booked")
    order = shop.place()
    shop.run()
    assert {"parcels.planned", "parcels.booked"} <= set(shop.topics(order))
    assert warnings_of(shop) == []


@pytest.mark.usefixtures("warned")
def test_in_this_release_an_undeclared_topic_is_a_warning_once_and_the_event_goes_out(new_shop: NewShop) -> None:
    shop = new_shop()
    subscribe(shop.app, "parcels.planned")
    orders = [shop.place() for _ in range(3)]
    shop.run()
    assert all("parcels.booked" in shop.topics(order) for order in orders)
    assert warnings_of(shop) == [("undeclared topic", "parcels", "parcels.booked")]
    assert "publishes=['parcels.booked']" in shop.telemetry.failures[0].fields["detail"]


@pytest.mark.usefixtures("refused")
def test_in_the_next_release_an_undeclared_topic_fails_in_the_handler(new_shop: NewShop) -> None:
    shop = new_shop()
    subscribe(shop.app, "parcels.booked")
    order = shop.place()
    shop.run()
    (letter,) = shop.parked()
    assert (letter.cause, letter.topic) == ("UndeclaredTopic", "order.confirmed")
    shop.expect(order).not_published("parcels.planned").remembered("parcels", None)


@pytest.mark.usefixtures("refused")
def test_in_the_next_release_an_undeclared_topic_fails_in_the_result_of_a_call(new_shop: NewShop) -> None:
    shop = new_shop()
    subscribe(shop.app, "parcels.planned")
    order = shop.place()
    shop.run()
    assert [letter.cause for letter in shop.parked()] == ["UndeclaredTopic"]
    shop.expect(order).not_published("parcels.booked").remembered("parcels", {"status": "booking"})


@pytest.mark.usefixtures("warned")
def test_the_log_names_a_bounded_number_of_undeclared_topics() -> None:
    shop = Shop()
    publish = lambda event, step: step.publish(f"parcels.{event.order_id}")  # noqa: E731
    shop.app.subscribe("order.confirmed", group="parcels", handler=publish)
    shop.set_stock("apple", 200)
    for _ in range(120):
        shop.place()
    shop.run()
    assert len(warnings_of(shop)) == len(set(warnings_of(shop))) == 100


def test_handlers_of_one_group_share_their_declarations() -> None:
    app = oms.create(profile="memory")
    subscribe(app, "parcels.planned")
    app.subscribe("order.cancelled", group="parcels", handler=confirmed, publishes=["parcels.booked"])
    assert app.own_steps["parcels"].publishes == {"parcels.planned", "parcels.booked"}
    assert {"parcels.planned", "parcels.booked"} <= set(topics_of(app.own_steps))


@pytest.mark.parametrize(
    ("publishes", "message"),
    [
        ("parcels.booked", "expected a list of topics"),
        (None, "expected a list of topics"),
        (iter(["parcels.booked"]), "expected a list of topics"),
        ([b"parcels.booked"], "expected 1 to 128 characters"),
        (["parcels booked"], "expected 1 to 128 characters"),
        (["order.confirmed"], "the system's own"),
        (["order.dlq"], "the system's own"),
    ],
    ids=["a text", "nothing", "an iterator", "bytes", "a blank", "the system's", "dead letters"],
)
def test_a_declaration_that_no_step_can_have_is_refused(publishes: Any, message: str) -> None:
    app = oms.create(profile="memory")
    with pytest.raises(oms.OmsError, match=message):
        app.subscribe("order.confirmed", group="parcels", handler=confirmed, publishes=publishes)
    assert app.own_steps == {}


def test_a_declared_topic_is_written_by_those_that_declare_it() -> None:
    steps = {
        "parcels": StepTopics(["order.confirmed"], ["parcels.booked", "parcels.lost"]),
        "mail": StepTopics(["parcels.booked"], ["mail.sent"]),
    }
    rows = {row.topic: row for row in topic_access(steps)}
    assert (rows["parcels.booked"].writers, rows["parcels.booked"].readers) == (["parcels"], ["mail"])
    assert (rows["parcels.lost"].writers, rows["parcels.lost"].readers) == (["parcels"], [])
    assert rows["mail.sent"].writers == ["mail"]


def test_until_the_next_release_a_step_that_declares_nothing_may_write_to_what_steps_handle(
    request: pytest.FixtureRequest,
) -> None:
    steps = {
        "parcels": StepTopics(["order.confirmed"], ["parcels.booked"]),
        "mail": StepTopics(["parcels.booked"]),
        "crm": StepTopics(["order.confirmed"]),
    }
    request.getfixturevalue("warned")
    assert {row.topic: row for row in topic_access(steps)}["parcels.booked"].writers == ["crm", "mail", "parcels"]
    request.getfixturevalue("refused")
    assert {row.topic: row for row in topic_access(steps)}["parcels.booked"].writers == ["parcels"]


def test_setup_grants_what_is_declared() -> None:
    app = oms.create(profile="distributed")
    subscribe(app, "parcels.planned", "parcels.booked")
    (line,) = [line for line in acl_of(app, "User:{name}") if "User:parcels" in line and "Write" in line.split()]
    assert "--topic parcels.booked --topic parcels.dlq --topic parcels.planned" in line


def test_every_kind_of_app_takes_the_same_subscriptions() -> None:
    assert inspect.signature(SimulatedApp.subscribe) == inspect.signature(App.subscribe)


@hunt(schedules=5)
def test_a_hunted_shop_publishes_what_its_steps_declare(shop: Any) -> None:
    subscribe(shop.app, "parcels.planned", "parcels.booked")
    order = shop.place()
    shop.run()
    shop.advance(minutes=20)
    if shop.status(order) == "CONFIRMED":
        assert {"parcels.planned", "parcels.booked"} <= set(shop.topics(order))


def test_a_handler_that_is_tested_alone_warns_of_an_undeclared_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    app = oms.create(profile="memory")
    subscribe(app, "parcels.booked")
    monkeypatch.setattr(topic_rights, "UNDECLARED_TOPICS_FAIL", False)
    with pytest.warns(DeprecationWarning, match=r"parcels doesn't declare the topic 'parcels\.planned'") as found:
        given_step(app, "parcels").when("order.confirmed").publishes("parcels.planned")
    assert found[0].filename == __file__
    given_step(app, "parcels").answered("book").publishes("parcels.booked")
    monkeypatch.setattr(topic_rights, "UNDECLARED_TOPICS_FAIL", True)
    with pytest.raises(oms.OmsError, match=r"publishes=\['parcels\.planned'\]"):
        given_step(app, "parcels").when("order.confirmed")
