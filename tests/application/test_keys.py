"""Keys that are made of several ids: two things never share one, whatever characters their ids have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import oms
from oms.application import notifications, payments
from oms.application.steps.context import call_key
from oms.application.use_cases.idempotency import checked_key
from oms.domain.tasks import TaskKind, TaskRequest, call_of, composite_key, order_of
from oms.domain.values import OrderId, Sku
from oms.ports import limits
from oms.ports.stores.rows import Delivery
from oms.ports.stores.store import Store
from oms.settings import Settings
from oms.testing import Shop

IDS = st.text("ab:.", min_size=1, max_size=4)
LONGEST = st.text("aZ9._:-", min_size=64, max_size=64)


def place_from_log(shop: Shop, order_id: str, items: dict[str, int]) -> None:
    """Another system's order: its ids are of its own choice."""
    body = {"orderId": order_id, "userId": "u", "totalAmount": 5, "items": items}
    shop.publish("order.created", json.dumps(body).encode())


@settings(max_examples=40)
@given(st.dictionaries(IDS, st.dictionaries(IDS, st.integers(1, 3), min_size=1, max_size=3), min_size=2, max_size=4))
@example({"a:b": {"c": 2}, "a": {"b:c": 3}})
def test_the_gate_agrees_with_the_ledger_after_restocks_of_any_ids(orders: dict[str, dict[str, int]]) -> None:
    shop = Shop()
    for order_id, items in orders.items():
        place_from_log(shop, order_id, items)
    shop.run()
    for order_id in orders:
        assert shop.status(order_id) == "CONFIRMED"
        shop.cancel(order_id, by_operator=True)
    shop.advance(minutes=2)

    gate = dict(shop.evidence.gate.all_available())  # type: ignore[union-attr]
    assert gate == dict.fromkeys({sku for items in orders.values() for sku in items}, 100)
    assert shop.report().violations == ()


@given(LONGEST, LONGEST, LONGEST, st.integers(0, 10**6))
def test_keys_fit_their_columns_with_the_longest_ids(order_id: str, sku: str, name: str, number: int) -> None:
    name = name.replace(":", "-")
    call = call_key(name, order_id, "topic" * 25, number)
    restock = composite_key("restock", order_id, sku)
    assert len(f"{TaskKind.CALL.value}:{call}") <= limits.TASK_KEY
    assert len(f"{TaskKind.GATE_DELTA.value}:{restock}") <= limits.TASK_KEY
    assert (order_of(TaskKind.CALL, call), order_of(TaskKind.GATE_DELTA, restock)) == (order_id, order_id)
    assert call_of(call) == (name, order_id)
    for topic in notifications.ROUTES:
        assert order_of(TaskKind.NOTIFY, f"{order_id}:{topic}") == order_id


def test_no_topic_of_a_notification_has_a_colon() -> None:
    """Notification ids are `order id:topic`, and order ids may contain colons."""
    assert not [topic for topic in (*notifications.ROUTES, *payments.ROUTES) if ":" in topic]


CALLERS = st.one_of(
    st.builds(oms.Principal, st.just(oms.Role.CUSTOMER), IDS),
    st.sampled_from([oms.Principal(oms.Role.OPERATOR), oms.Principal(oms.Role.TRUSTED)]),
)
ROUTES = st.sampled_from(["place", "cancel", "stock.set", "stock.add"])


@given(st.tuples(CALLERS, ROUTES), st.tuples(CALLERS, ROUTES))
def test_idempotency_keys_of_two_callers_or_routes_never_meet(
    one: tuple[oms.Principal, str], other: tuple[oms.Principal, str]
) -> None:
    scopes = [checked_key("key", *caller_and_route, {}).scope for caller_and_route in (one, other)]  # type: ignore[union-attr]
    assert (scopes[0] == scopes[1]) == (one == other)


# -- outside calls of a step


def calling(handler: Callable[[oms.AnyEvent, oms.StepContext], None], *names: str) -> tuple[Shop, list[object]]:
    """A shop with a step on two topics, and the payloads of the calls that it makes."""
    shop, made = Shop(), list[object]()

    def run(_order_id: str, payload: object) -> object:
        made.append(dict(payload))  # type: ignore[call-overload]
        return payload

    calls = {name: oms.OutsideCall(run) for name in names}
    for topic in ("order.confirmed", "payment.success"):
        shop.app.subscribe(topic, group="crm", handler=handler, calls=calls)
    return shop, made


def test_every_call_of_one_name_is_made() -> None:
    def both(event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.call("mail", to="a", of=event.topic)
        step.call("mail", to="b", of=event.topic)

    shop, made = calling(both, "mail")
    shop.place()
    shop.run()

    wanted = [{"to": to, "of": topic} for topic in ("order.confirmed", "payment.success") for to in ("a", "b")]
    assert sorted(made, key=str) == sorted(wanted, key=str)


def test_a_result_may_lead_to_another_call_of_the_same_name() -> None:
    shop, made = Shop(), list[int]()

    def again(result: object, step: oms.StepContext) -> None:
        if result != 3:
            step.call("count")

    def count(_order_id: str, _payload: object) -> object:
        made.append(len(made) + 1)
        return made[-1]

    shop.app.subscribe(
        "order.confirmed",
        group="crm",
        handler=lambda _event, step: step.call("count"),
        calls={"count": oms.OutsideCall(count, again)},
    )
    shop.place()
    shop.run()

    assert made == [1, 2, 3]


@pytest.mark.parametrize("name", ["mial", "crm:tell", "", "x" * 65])
def test_a_call_of_an_unknown_name_parks_its_message(name: str) -> None:
    shop, made = calling(lambda _event, step: step.call(name), "mail")
    shop.place()
    shop.run()

    assert made == []
    assert {letter.topic for letter in shop.parked()} == {"order.confirmed", "payment.success"}
    assert all("no outside call" in letter.detail and "mail" in letter.detail for letter in shop.parked())


@pytest.mark.parametrize("name", ["crm:tell", "", "x" * 65, 'a"b', "a\\b", "a\nb", "\ud800", 7])
def test_a_name_that_fits_no_key_is_refused_by_subscribe(name: str) -> None:
    with pytest.raises(oms.InvalidValue, match="name of a call"):
        calling(lambda _event, _step: None, name)


def test_two_different_calls_of_one_name_in_a_group_are_refused() -> None:
    shop, _ = calling(lambda _event, _step: None, "mail")
    with pytest.raises(oms.OmsError, match="another outside call"):
        shop.app.subscribe(
            "order.cancelled",
            group="crm",
            handler=lambda _event, _step: None,
            calls={"mail": oms.OutsideCall(lambda _order_id, _payload: None)},
        )


# -- rows of the version before


@pytest.fixture(params=["memory", "embedded"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return Settings(profile=request.param, data=tmp_path)


def owe(store: Store, task: TaskRequest) -> None:
    with store.begin() as transaction:
        transaction.flush(Delivery(tasks=[task]))
        transaction.commit()


def test_a_call_under_a_key_of_the_old_form_is_made_and_finished(profile: Settings) -> None:
    made: list[object] = []
    shop = Shop(settings=profile)
    shop.app.subscribe(
        "order.confirmed",
        group="crm",
        handler=lambda _event, _step: None,
        calls={"call off": oms.OutsideCall(lambda *given: made.append(given), lambda _, step: step.save({"a": 1}))},
    )
    store = shop.app.system.assemblies["crm"].service.store
    owe(store, TaskRequest(TaskKind.CALL, "call off:order:7", payload='{"x": 1}'))
    shop.run()

    assert made == [("order:7", {"x": 1})]
    assert store.next_due() is None, "the row is finished"
    shop.app.stop()


def test_a_call_that_this_version_does_not_know_is_parked_after_the_time_of_an_upgrade() -> None:
    shop, _ = calling(lambda _event, _step: None, "mail")
    owe(shop.app.system.assemblies["crm"].service.store, TaskRequest(TaskKind.CALL, "mial:order-7"))
    shop.advance(seconds=60)
    assert shop.parked() == []
    shop.advance(minutes=5)
    assert [(letter.cause, letter.order_id) for letter in shop.parked()] == [("UnknownCall", "order-7")]


def test_a_restock_that_was_added_under_its_old_key_is_not_added_again() -> None:
    shop = Shop()
    shop.set_stock("apple", 10)
    shop.run()
    gate = shop.app.system.container.gate()
    gate.add([("restock:order-7:apple", Sku("apple"), 2)], gate.epoch())
    store = shop.app.system.inventory.service.store
    for order_id in (OrderId("order-7"), OrderId("order-8")):
        owe(store, TaskRequest(TaskKind.GATE_DELTA, f"restock:{order_id}:apple", payload=f"{gate.epoch()} 2 apple"))
    shop.run()

    assert dict(gate.all_available()) == {"apple": 14}, "the first one had its units before"
    assert store.next_due() is None, "both rows are finished"
