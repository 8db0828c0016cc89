"""`POST /orders` with lines and charges: what is accepted, what is refused and how, and what is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import oms
from oms.entrypoints.http.body import MAX_BODY_BYTES

JSON = {"Content-Type": "application/json"}
LAMP = {"productId": "lamp", "quantity": 2, "amount": 30, "name": "Desk lamp"}
BULB = {"productId": "bulb", "quantity": 1, "amount": 5.5}
SHIPPING = {"kind": "shipping", "amount": 4.9}
GOOD: dict[str, Any] = {"userId": "ann", "amount": 40.4, "lines": [LAMP, BULB], "charges": [SHIPPING]}


def changed(line: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """`GOOD` with one changed line next to `BULB`."""
    return GOOD | {"lines": [line | fields, BULB]}


def of_lamp(**fields: Any) -> dict[str, Any]:
    return changed(LAMP, **fields)


def test_an_order_with_lines_is_placed_and_shown(open_client: TestClient) -> None:
    placed = open_client.post("/orders", json=GOOD)
    assert placed.status_code == 201
    shown = open_client.get(f"/orders/{placed.json()['id']}").json()
    for answer in (placed.json(), shown, open_client.get("/orders").json()["content"][0]):
        assert (answer["lines"], answer["charges"]) == ([shown_line(**line) for line in GOOD["lines"]], GOOD["charges"])
        assert (answer["items"], answer["totalAmount"]) == ({"lamp": 2, "bulb": 1}, 40.4)


def shown_line(quantity: int, **fields: object) -> dict[str, object]:
    """The line of a response, before anything was shipped or refunded."""
    return {"ordered": quantity, "cancelled": 0, "shipped": 0, "returned": 0, **fields}


def test_an_order_of_items_shows_a_line_for_each_product_and_no_charges(open_client: TestClient) -> None:
    for charges in ({}, {"charges": []}, {"charges": None}):
        answer = open_client.post("/orders", json={"userId": "u", "amount": 1, "items": {"a": 1, "b": 2}} | charges)
        assert (answer.status_code, "charges" in answer.json()) == (201, False)
        assert answer.json()["lines"] == [shown_line(1, productId="a"), shown_line(2, productId="b")]


def test_lines_may_have_no_amounts(open_client: TestClient) -> None:
    lines = [{"productId": "a", "quantity": 2.0, "amount": None, "name": None}, {"productId": "b", "quantity": 1}]
    answer = open_client.post("/orders", json={"userId": "u", "amount": 7, "lines": lines})
    assert answer.json()["lines"] == [shown_line(2, productId="a"), shown_line(1, productId="b")]
    assert "charges" not in answer.json()


def test_amounts_are_read_exactly(open_client: TestClient) -> None:
    """As floats, these amounts add up to 0.30000000000000004."""
    body = b'{"userId":"u","amount":0.3,"lines":[{"productId":"a","quantity":1,"amount":0.1}],"charges":[{"kind":"c","amount":0.2}]}'
    assert open_client.post("/orders", content=body, headers=JSON).status_code == 201


REFUSED = [
    (GOOD | {"amount": 40.39}, "amounts_dont_add_up"),
    (GOOD | {"charges": []}, "amounts_dont_add_up"),
    (GOOD | {"items": {"lamp": 2, "bulb": 1}}, "items_or_lines"),
    ({"userId": "u", "amount": 1}, "invalid_body"),
    ({"userId": "u", "amount": 1, "charges": []}, "invalid_body"),
    (GOOD | {"lines": []}, "no_items"),
    (GOOD | {"lines": None}, "invalid_body"),
    (GOOD | {"lines": {"lamp": 2}}, "invalid_body"),
    (GOOD | {"lines": [1]}, "invalid_body"),
    (GOOD | {"lines": [LAMP, LAMP]}, "repeated_product"),
    (GOOD | {"lines": [LAMP, LAMP | {"name": "another"}]}, "repeated_product"),
    (GOOD | {"lines": [{"productId": f"p{n}", "quantity": 1} for n in range(101)], "charges": []}, "too_many_items"),
    (GOOD | {"charges": [SHIPPING] * 21}, "too_many_charges"),
    (of_lamp(amount=None), "amounts_on_some_lines"),
    (of_lamp(amount=-1), "invalid_amount"),
    (of_lamp(amount=30.001), "invalid_amount"),
    (of_lamp(amount="30"), "invalid_body"),
    (of_lamp(amount=10**15), "invalid_amount"),
    (of_lamp(quantity=0), "invalid_quantity"),
    (of_lamp(quantity=10_001), "invalid_quantity"),
    (of_lamp(quantity=1.5), "invalid_quantity"),
    (of_lamp(quantity="2"), "invalid_quantity"),
    (of_lamp(quantity=None), "invalid_quantity"),
    (of_lamp(productId="a b"), "invalid_id"),
    (of_lamp(name=""), "invalid_text"),
    (of_lamp(name="x" * 201), "invalid_text"),
    (of_lamp(name="a\0b"), "invalid_text"),
    (of_lamp(name=5), "invalid_body"),
    (of_lamp(price=5), "invalid_body"),
    (GOOD | {"lines": [{"productId": "lamp"}]}, "invalid_body"),
    (GOOD | {"charges": [SHIPPING | {"kind": "a b"}]}, "invalid_id"),
    (GOOD | {"charges": [SHIPPING | {"amount": -4.9}]}, "invalid_amount"),
    (GOOD | {"charges": [SHIPPING | {"amount": None}]}, "invalid_body"),
    (GOOD | {"charges": [{"kind": "shipping"}]}, "invalid_body"),
    (GOOD | {"charges": [SHIPPING | {"note": "x"}]}, "invalid_body"),
    (GOOD | {"charges": {"shipping": 4.9}}, "invalid_body"),
    ({"userId": "u", "amount": 1, "items": {"a": 1}, "charges": [SHIPPING]}, "charges_without_amounts"),
    ({"userId": "u", "amount": 1, "lines": [{"productId": "a", "quantity": 1}], "charges": [SHIPPING]},
     "charges_without_amounts"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code"), REFUSED)
def test_refused_without_effect(open_client: TestClient, body: dict[str, Any], code: str) -> None:
    answer = open_client.post("/orders", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert open_client.get("/orders").json()["totalElements"] == 0
    codes = open_client.get("/openapi.json").json()["paths"]["/orders"]["post"]["responses"]["422"]["content"]
    assert code in codes["application/problem+json"]["examples"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"userId":"u","amount":1,"lines":[{"productId":"a","productId":"b","quantity":1}]}', "repeated_name"),
        (b'{"userId":"u","amount":1,"lines":[{"productId":"a","quantity":1}],"lines":[]}', "repeated_name"),
        (b'{"userId":"u","amount":1,"lines":[{"productId":"a","quantity":1,"name":"\\ud800"}]}', "malformed_json"),
        (b'{"userId":"u","amount":1,"lines":[{"productId":"a","quantity":1,"amount":1e999999999}]}', "invalid_amount"),
        (b'{"userId":"u","amount":1,"lines":[{"productId":"a","quantity":1,"amount":1%b}]}' % (b"0" * (MAX_BODY_BYTES - 100)), "invalid_amount"),
        (b'{"userId":"u","amount":1,"lines":[{"productId":"a","quantity":1e999999999}]}', "invalid_quantity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_raw_bodies(open_client: TestClient, body: bytes, code: str) -> None:
    assert open_client.post("/orders", content=body, headers=JSON).json()["code"] == code


def test_control_characters_of_a_name_are_kept_as_data(open_client: TestClient) -> None:
    name = "\x1b[31mred\u202e\r\n"
    answer = open_client.post("/orders", json=of_lamp(name=name))
    assert answer.json()["lines"][0]["name"] == name


class Twice(oms.Pricing):
    """Charges twice the caller's total."""

    def price(self, terms: oms.Terms) -> oms.Money:
        return oms.Money(2 * terms.total.minor, terms.total.currency)


def test_amounts_are_compared_after_the_shops_pricing() -> None:
    app = oms.create(profile="memory", environ={}, pricing=Twice(), log_level="error")
    with app, TestClient(oms.asgi(app), "http://localhost") as client:
        for key in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
            answer = client.post("/orders", json=GOOD, headers=key)
            assert (answer.status_code, answer.json()["code"]) == (422, "amounts_dont_add_up")
        assert client.post("/orders", json=GOOD | {"amount": 20.2}).json()["totalAmount"] == 40.4


def test_the_spring_system_knows_no_lines() -> None:
    app = oms.create(profile="memory", environ={}, http_compat="spring", log_level="error")
    with app, TestClient(oms.asgi(app), "http://localhost") as client:
        answer = client.post("/orders", json=GOOD | {"items": {"lamp": 1}})
        assert (answer.status_code, answer.json()["items"]) == (200, {"lamp": 1})
        lines = [oms.OrderLine.of("lamp", 1)]
        placed = app.orders.place(app.draft("ann", 5, lines=lines))
        assert not client.get(f"/orders/{placed.id}").json().keys() & {"lines", "charges"}
        document = client.get("/openapi.json").json()["components"]["schemas"]["OrderView"]["properties"]
        assert not document.keys() & {"lines", "charges"}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
LINE = st.fixed_dictionaries(
    {"productId": ANY | st.sampled_from("ab"), "quantity": ANY | st.just(1)}, optional={"amount": ANY, "name": ANY}
)
CHARGE = st.fixed_dictionaries({"kind": ANY | st.just("tax"), "amount": ANY | st.just(0)})
NEARLY = st.fixed_dictionaries(
    {"userId": st.just("u"), "amount": st.just(0)},
    optional={"items": ANY, "lines": ANY | st.lists(LINE, max_size=3), "charges": ANY | st.lists(CHARGE, max_size=3)},
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=NEARLY)
def test_no_body_ends_in_a_5xx(open_client: TestClient, body: object) -> None:
    answer = open_client.post("/orders", content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code in (201, 400, 422)
