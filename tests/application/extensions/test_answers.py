"""Results of extensions are checked before they are used, and unsuitable objects are refused by `create`."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.application.extensions.ids import CheckedIds
from oms.application.extensions.names import did_you_mean
from oms.application.extensions.telemetry import CheckedTelemetry
from oms.domain.errors import OmsError
from oms.domain.events import BY_TOPIC
from oms.domain.money import MAX_MINOR
from oms.ports.errors import Retryable, WrongAnswer
from oms.settings import Settings
from oms.testing import Shop

HALF = json.loads('"half \\ud83d"')
JPY, EUR = oms.Currency.of("JPY"), oms.Currency.of("EUR")
NewShop = Callable[..., Shop]


@pytest.fixture(params=["memory", "embedded"])
def new_shop(request: pytest.FixtureRequest, tmp_path: Path) -> NewShop:
    return lambda **given: Shop(settings=Settings(profile=request.param, data=tmp_path), **given)


class Returns:
    """Any method of it returns one thing, or what a function makes of its arguments."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def _call(self, *given: Any) -> Any:
        return self.answer(*given) if callable(self.answer) else self.answer

    price = check = send = authenticate = _call


def fail(error: BaseException) -> Callable[..., Any]:
    def raising(*_: Any) -> Any:
        raise error

    return raising


async def later(*_: Any) -> None:
    raise AssertionError("never run")


def generated(*_: Any) -> Any:
    yield


async def streamed(*_: Any) -> Any:
    yield


class CallsLater:
    async def __call__(self, *_: Any) -> None: ...

    async def method(self, *_: Any) -> None: ...


DEFERRED = [later, generated, streamed, functools.partial(later, 1), CallsLater(), CallsLater().method]


# -- pricing


@pytest.mark.parametrize(
    "price",
    [
        lambda _: oms.Money.of(50000, JPY),
        lambda _: oms.Money.of("19.80", EUR),
        lambda terms: oms.Money(terms.total.minor - 533, terms.total.currency),
        lambda terms: oms.Money(terms.total.minor * 0.9, terms.total.currency),  # type: ignore[arg-type]
        lambda terms: oms.Money(True, terms.total.currency),
        lambda terms: oms.Money(MAX_MINOR + 1, terms.total.currency),
        None,
        3,
        2.5,
        Decimal("2.5"),
        "3.33",
        oms.Money,
    ],
)
def test_a_wrong_total_of_pricing_is_refused_and_nothing_is_stored(new_shop: NewShop, price: Any) -> None:
    shop = new_shop(pricing=Returns(price if not isinstance(price, type) else fail(oms.InvalidValue("a", "b"))))
    with pytest.raises(oms.InvalidValue):
        shop.place({"x": 1}, amount="3.33")
    shop.run()
    assert shop.app.orders.page().total == 0


def test_an_order_in_another_currency_is_refused_without_pricing(new_shop: NewShop) -> None:
    shop = new_shop()
    with pytest.raises(oms.InvalidValue, match="expected an amount in USD, got JPY"):
        shop.app.orders.place(oms.PlaceOrder.of("ann", oms.Money.of(50000, JPY), {"x": 1}))


def test_a_total_of_the_wrong_type_says_what_was_returned_and_expected(new_shop: NewShop) -> None:
    with pytest.raises(oms.InvalidValue, match=r"pricing\.price: expected Money, got float 2\.5"):
        new_shop(pricing=Returns(2.5)).place()


# -- policy


@pytest.mark.parametrize("answer", [later, generated, False, "no", lambda *_: sys.exit(1)])
def test_a_policy_accepts_by_returning_none_alone(new_shop: NewShop, answer: Any) -> None:
    shop = new_shop(policy=Returns(answer))
    with pytest.raises(WrongAnswer, match=r"policy\.check"):
        shop.place()
    assert shop.app.orders.page().total == 0


@pytest.mark.parametrize(
    ("code", "detail"),
    [("fraud", HALF), (HALF, "no"), ("a\0 b", "x\0"), ("", ""), (5, None), ("x" * 10**6, "y" * 10**6)],
)
def test_a_hostile_refusal_is_made_sound_and_repeated_under_its_key(new_shop: NewShop, code: Any, detail: Any) -> None:
    shop = new_shop(policy=Returns(fail(oms.Refused(code, detail))))
    refusals = []
    for _ in range(2):
        with pytest.raises(oms.Refused) as refused:
            shop.place(key="k")
        refusals.append((refused.value.code, refused.value.detail))
    assert refusals[0] == refusals[1]
    assert refusals[0][0].replace("_", "").isalnum()
    assert len(refusals[0][0]) <= 64
    assert len(refusals[0][1]) <= 500
    refusals[0][1].encode()


def test_a_refusal_that_never_called_its_base_class_is_answered_as_its_kind(new_shop: NewShop) -> None:
    class Fraud(oms.Refused):
        def __init__(self) -> None:
            pass

    with pytest.raises(oms.Refused) as refused:
        new_shop(policy=Returns(fail(Fraud()))).place(key="k")
    assert refused.value.code == "refused"


def test_a_sound_refusal_stays_as_it_is(new_shop: NewShop) -> None:
    refusal = oms.Refused("over-limit.v2", "more than 5 lamps")
    with pytest.raises(oms.Refused) as refused:
        new_shop(policy=Returns(fail(refusal))).place()
    assert refused.value is refusal


# -- notifier


@pytest.mark.parametrize("answer", [later, generated, True, "sent"])
def test_a_notifier_has_delivered_only_where_it_returns_none(new_shop: NewShop, answer: Any) -> None:
    shop = new_shop(notifier=Returns(answer))
    order = shop.place()
    shop.run()
    assert {letter.cause for letter in shop.parked()} == {"WrongAnswer"}
    assert len(shop.parked()) == 2
    shop.expect(order).confirmed()


# -- steps


@pytest.mark.parametrize(
    "act",
    [
        lambda step: step.publish("own.done", value=float("nan")),
        lambda step: step.publish("own.done", value=b"bytes"),
        lambda step: step.publish("own.done", value=HALF),
        lambda step: step.publish("own.done", value="a\0"),
        lambda step: step.publish("own.done", **{HALF: 1}),
        lambda step: step.publish("own.done", value=2**64),
        lambda step: step.publish("own.done", value="x" * 2**20),
        lambda step: step.publish("own.done", value=cycle()),
        lambda step: step.publish("own.done", value=bomb()),
        lambda step: step.publish("own.done", value=Decimal(1)),
        lambda step: step.publish("own.done", value={1: 2}),
        lambda step: step.publish("own.done", orderId="another"),
        lambda step: step.publish("own done"),
        lambda step: step.publish("x" * 250),
        lambda step: step.publish(HALF),
        lambda step: step.publish("order.confirmed"),
        lambda step: step.publish("own.dlq"),
        lambda step: step.save({"value": float("inf")}),
        lambda step: step.save({"value": HALF}),
        lambda step: step.save([1]),
        lambda step: step.save(None),
        lambda step: step.call("ship", value={1, 2}),
        lambda step: step.call("ship", value=HALF),
    ],
)
def test_a_value_that_no_store_or_topic_takes_fails_in_the_handler(new_shop: NewShop, act: Any) -> None:
    def handle(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.save({"begun": True})
        step.publish("own.begun")
        act(step)

    shop = new_shop()
    shop.app.subscribe(
        "order.confirmed",
        group="own",
        handler=handle,
        publishes=["own.begun", "own.done"],
        calls={"ship": oms.OutsideCall(lambda *_: None)},
    )
    order = shop.place()
    shop.run()
    (letter,) = shop.parked()
    assert letter.cause in ("NotJson", "WrongName")
    assert letter.order_id == order.id
    shop.expect(order).confirmed().remembered("own", None)
    assert shop.published("own.begun") == []


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def bomb() -> list[Any]:
    found: list[Any] = ["x"]
    for _ in range(64):
        found = [found, found]
    return found


def test_a_published_body_is_the_one_of_its_moment(new_shop: NewShop) -> None:
    def handle(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        lines = [1]
        step.publish("own.done", lines=lines)
        lines.append(2)

    shop = new_shop()
    shop.app.subscribe("order.confirmed", group="own", handler=handle, publishes=["own.done"])
    order = shop.place()
    shop.run()
    (event,) = shop.published("own.done")
    assert event.body == {"orderId": order.id, "lines": [1]}  # type: ignore[union-attr]


@pytest.mark.parametrize("part", ["handler", "run", "then"])
@pytest.mark.parametrize("answer", [later, generated, streamed, lambda *_: sys.exit(2)])
def test_a_deferred_answer_of_a_step_is_parked_not_taken_for_done(new_shop: NewShop, part: str, answer: Any) -> None:
    given: dict[str, Any] = {"handler": lambda _event, step: step.call("ship"), "run": print, "then": print}
    given[part] = lambda *arguments: answer(*arguments)
    shop = new_shop()
    calls = {"ship": oms.OutsideCall(given["run"], given["then"])}
    shop.app.subscribe("order.confirmed", group="own", handler=given["handler"], calls=calls)
    shop.place()
    shop.run()
    assert [letter.cause for letter in shop.parked()] == ["WrongAnswer"]


# -- telemetry, clock and names


class Broken:
    def __getattr__(self, _name: str) -> Any:
        return fail(OSError("no space left"))

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        raise OSError("no space left")

    def note(self, event: str, **fields: object) -> None:
        raise OSError("no space left")

    note_all = alert = note


def test_telemetry_that_always_raises_changes_nothing(new_shop: NewShop) -> None:
    shop = new_shop(telemetry=Broken(), notifier=Returns(fail(oms.Permanent("no"))))
    order = shop.place()
    shop.run()
    shop.expect(order).confirmed()
    shop.expect().promises_kept()
    assert len(shop.parked()) == 2


@pytest.mark.parametrize("made", ["", "a b", HALF, "x" * 65, None, 7])
def test_an_order_id_that_is_none_stops_the_order_and_nothing_else(new_shop: NewShop, made: Any) -> None:
    class Own:
        def order_id(self) -> Any:
            return made

        def token(self) -> str:
            return "t"

    with pytest.raises(Retryable, match=r"ids\.order_id"):
        new_shop(ids=Own()).place()


@pytest.mark.parametrize("made", ["", "a b", HALF, "x" * 37, None, 7, later])
def test_a_token_that_is_no_name_is_refused_as_retryable(made: Any) -> None:
    class Own:
        def token(self) -> Any:
            return made

    with pytest.raises(Retryable, match=r"ids\.token"):
        CheckedIds(Own()).token()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\0b", HALF, "x" * 65, "", 7])
def test_an_id_from_a_program_is_checked_before_any_store_is_asked(new_shop: NewShop, name: Any) -> None:
    app = new_shop().app
    for ask in (app.orders.get, app.orders.timeline, app.dead_letters.get, app.dead_letters.redrive, app.stock.get):
        with pytest.raises(oms.InvalidValue):
            ask(name)
    with pytest.raises(oms.InvalidValue):
        app.orders.cancel(oms.CancelOrder(name))


# -- checks by `create`


@pytest.mark.parametrize("function", DEFERRED)
@pytest.mark.parametrize("argument", ["notifier", "pricing", "policy", "authenticator"])
def test_an_async_method_is_refused_at_the_door(argument: str, function: Any) -> None:
    given = type("Own", (), {})()
    for name in ("send", "price", "check", "authenticate"):
        setattr(given, name, function)
    with pytest.raises(oms.SettingsError, match=argument):
        oms.create(profile="memory", environ={}, **{argument: given})


class Notifier:
    def send(self, notification: oms.Notification) -> None: ...


class TakesNothing:
    def send(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (object(), r"notifier: expected Notifier with a method send\(\), got object"),
        (Notifier, "notifier: expected an instance, got the class Notifier"),
        (TakesNothing(), r"notifier\.send: expected a plain function of 1 arguments"),
        (7, "notifier: expected Notifier"),
    ],
)
def test_what_lacks_a_ports_methods_is_refused_by_create(given: Any, message: str) -> None:
    with pytest.raises(oms.SettingsError, match=message):
        oms.create(profile="memory", environ={}, notifier=given)


def test_an_extension_by_import_path_is_checked_like_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oms, "OwnPricing", lambda: Returns(later), raising=False)
    app = oms.create(profile="memory", environ={}, pricing="oms:OwnPricing")
    with pytest.raises(WrongAnswer, match=r"pricing\.price"):
        app.orders.place(app.draft("ann", "1", {"x": 1}))
    monkeypatch.setattr(oms, "NoPolicy", object, raising=False)
    with pytest.raises(oms.SettingsError, match="OMS_POLICY: expected Policy"):
        oms.create(profile="memory", environ={}, policy="oms:NoPolicy").start()


def test_a_clock_without_a_time_zone_is_refused() -> None:
    class Naive:
        def now(self) -> Any:
            return __import__("datetime").datetime(2026, 1, 1)

        steady = now

    with pytest.raises(oms.SettingsError, match=r"clock\.now: expected a timezone-aware datetime"):
        oms.create(profile="memory", environ={}, clock=Naive())


@pytest.mark.parametrize(
    "given",
    [
        *({"handler": function} for function in DEFERRED),
        {"handler": None},
        {"handler": lambda event: None},
        {"handler": Notifier},
        {"group": "../escape"},
        {"group": ""},
        {"group": "x" * 65},
        {"group": HALF},
        {"group": "Order"},
        {"group": "payment-group"},
        {"group": "OWN"},
        {"group": "own_step"},
        {"topic": "order created"},
        {"topic": "x" * 250},
        {"topic": ".."},
        {"topic": HALF},
        {"topic": None},
        {"topic": "order.confirmd"},
        {"topic": "Order.Confirmed"},
        {"topic": "order_created"},
        {"topic": "payment.sucess"},
        {"calls": {"ship": later}},
        {"calls": {"ship": oms.OutsideCall(later)}},
        {"calls": {"ship": oms.OutsideCall(print, generated)}},
        {"calls": [1]},
    ],
)
def test_subscribe_refuses_names_and_functions_that_cant_work(given: dict[str, Any]) -> None:
    app = oms.create(profile="memory", environ={})
    app.subscribe("order.created", group="own", handler=lambda _event, _step: None)
    app.subscribe("order.created", group="own step", handler=lambda _event, _step: None)
    fine: dict[str, Any] = {"topic": "order.confirmed", "group": "new", "handler": lambda _event, _step: None}
    with pytest.raises(OmsError, match=r"topic|group|handler|calls"):
        app.subscribe(**fine | given)
    app.subscribe(**fine)


def test_a_misspelt_topic_is_refused_with_the_right_one_unless_it_is_foreign() -> None:
    app = oms.create(profile="memory", environ={})
    with pytest.raises(OmsError, match=r"did you mean 'order\.confirmed'"):
        app.subscribe("order.confirmd", group="own", handler=lambda _event, _step: None)
    app.subscribe("order.confirmd", group="own", handler=lambda _event, _step: None, foreign=True)


def test_no_topic_of_ours_is_a_misspelling_of_another() -> None:
    assert [did_you_mean(topic, BY_TOPIC) for topic in BY_TOPIC] == [None] * len(BY_TOPIC)
    assert did_you_mean("warehouse.counted", BY_TOPIC) is None


def test_topics_of_other_systems_are_named_at_the_start() -> None:
    shop = Shop()
    shop.app.subscribe("warehouse.counted", group="own", handler=lambda _event, _step: None)
    with shop.app:
        pass
    (line,) = [line for line in shop.telemetry.notes if line.event == "topics that aren't the system's own"]
    assert line.fields == {"group": "own", "topics": "warehouse.counted"}


def test_the_log_line_about_telemetry_that_raises_is_text_that_every_handler_can_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Loud(RecordingTelemetry):
        def note(self, event: str, **fields: object) -> None:
            raise ValueError("half \ud83d")

    CheckedTelemetry(Loud()).note("Order placed")

    (line,) = [record.getMessage() for record in caplog.records if record.name == "oms.telemetry"]
    assert "telemetry.note failed, 1 times so far" in line
    assert "ValueError: half" in line
    line.encode()
