"""Shipments, refunds and decisions about refused refunds over HTTP: what operators send, and what every caller sees."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import oms
from tests.entrypoints.http.conftest import Known
from tests.support.answering_gateway import Gateway

BOTH = pytest.mark.parametrize("client", ["memory", "embedded"], indirect=True)
OPERATOR, OWNER, STRANGER = ({"X-Caller": name} for name in ("operator", "owner", "stranger"))
JSON = {"Content-Type": "application/json"}
LAMPS = {"userId": "ann", "amount": 20, "items": {"lamp": 2}}
PRICED = {
    "userId": "ann",
    "amount": 64.87,
    "lines": [{"productId": "lamp", "quantity": 3, "amount": 59.97, "name": "Desk lamp"}],
    "charges": [{"kind": "shipping", "amount": 4.90}],
}


def declined() -> oms.Declined:
    return oms.Declined("account closed")


def refunded(gateway: Gateway) -> list[str]:
    """The amounts that the gateway was called to give back."""
    return [str(request.amount) for request in gateway.got if isinstance(request, oms.Refund)]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path, gateway: Gateway) -> Iterator[TestClient]:
    profile = getattr(request, "param", "memory")
    options: Any = {"profile": profile, "environ": {}, "authenticator": Known(), "gateway": gateway}
    with (
        oms.create(**options, data=tmp_path, default_stock=100, log_level="error") as app,
        TestClient(oms.asgi(app), "http://localhost", headers=OPERATOR, raise_server_exceptions=False) as made,
    ):
        yield made


def until(client: TestClient, order_id: str, is_so: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + 10
    while not is_so(order := client.get(f"/orders/{order_id}").json()):
        assert time.monotonic() < end, order
        time.sleep(0.01)
    return order


def confirmed(client: TestClient, order: object = LAMPS) -> str:
    order_id: str = client.post("/orders", json=order).json()["id"]
    until(client, order_id, lambda order: order["status"] == "CONFIRMED")
    return order_id


def refund_in(state: str) -> Callable[[Any], bool]:
    return lambda order: [refund["state"] for refund in order.get("refunds", ())] == [state]


def line(order: Any) -> tuple[int, ...]:
    (one,) = order["lines"]
    return one["ordered"], one["cancelled"], one["shipped"], one["returned"]


@BOTH
def test_an_order_from_placing_to_return(client: TestClient, gateway: Gateway) -> None:
    order_id = confirmed(client, PRICED)
    path = f"/orders/{order_id}"
    order = client.get(path).json()
    assert (line(order), order["refundedAmount"], order["payment"]) == ((3, 0, 0, 0), 0, {"state": "CAPTURED"})

    parcel = client.post(f"{path}/shipments", json={"items": {"lamp": 1}, "carrier": "DHL", "trackingNumber": "t-1"})
    assert parcel.status_code == 201
    shipment = parcel.json()
    assert (shipment["items"], shipment["carrier"], shipment["trackingNumber"]) == ({"lamp": 1}, "DHL", "t-1")
    assert client.get(path).json()["status"] == "FULFILLING"

    cancelled = client.post(f"{path}/refunds", json={"kind": "CANCEL", "items": {"lamp": 1}, "reason": "broken"})
    assert cancelled.status_code == 201
    refund = cancelled.json()
    assert (refund["state"], refund["amount"], refund["currency"], refund["restock"]) == ("DUE", 19.99, "USD", True)
    assert client.post(f"{path}/shipments").json()["items"] == {"lamp": 1}
    until(client, order_id, refund_in("PAID"))

    returned = client.post(f"{path}/refunds", json={"kind": "RETURN", "items": {"lamp": 1}, "reason": "too bright"})
    assert (returned.json()["amount"], returned.json()["restock"]) == (19.99, False)
    order = until(client, order_id, lambda order: order["refunds"][-1]["state"] == "PAID")
    assert order["status"] == "COMPLETED"
    assert line(order) == (3, 1, 2, 1)
    assert (order["lines"][0]["amount"], order["lines"][0]["name"]) == (59.97, "Desk lamp")
    assert (order["totalAmount"], order["refundedAmount"]) == (64.87, 39.98)
    assert [one["items"] for one in order["shipments"]] == [{"lamp": 1}, {"lamp": 1}]
    assert refunded(gateway) == ["19.99 USD", "19.99 USD"]
    assert client.get(f"{path}/shipments").json() == order["shipments"]
    assert client.get(f"{path}/refunds").json() == order["refunds"]
    assert client.get("/orders").json()["content"] == [order]
    details = [entry["detail"] for entry in client.get(f"{path}/timeline").json() if "detail" in entry]
    assert f"shipment {shipment['id']}" in details
    assert f"refund {refund['id']}" in details


@BOTH
def test_a_refused_refund_is_retried_and_resolved(client: TestClient, gateway: Gateway) -> None:
    gateway.answers["refund"] = declined
    order_id = confirmed(client)
    path = f"/orders/{order_id}"
    refund_id = client.post(f"{path}/refunds", json={"kind": "GOODWILL", "reason": "late", "amount": 3}).json()["id"]
    order = until(client, order_id, refund_in("REFUSED"))
    assert order["refunds"][0]["refusal"] == {"of": refund_id, "attempt": 1, "reason": "account closed"}

    body, key = {"of": refund_id, "why": "open again"}, {"Idempotency-Key": "k"}
    retried = client.post(f"{path}/payment/retry", json=body, headers=key)
    assert retried.status_code == 202
    (refund,) = retried.json()["refunds"]
    assert refund["state"] == "DUE"
    assert {"instruction": "retry", "why": "open again"}.items() <= refund["refusal"].items()
    order = until(client, order_id, lambda order: order["refunds"][0].get("refusal", {}).get("attempt") == 2)
    assert order["refunds"][0]["state"] == "REFUSED"
    assert client.post(f"{path}/payment/retry", json=body, headers=key).json() == retried.json()

    assert client.post(f"{path}/payment/resolve", json={"of": refund_id, "why": "bank transfer"}).status_code == 202
    order = until(client, order_id, refund_in("PAID"))
    assert order["refunds"][0]["outside"] is True
    assert "refusal" not in order["refunds"][0]
    assert refunded(gateway) == ["3.00 USD", "3.00 USD"]
    timeline = client.get(f"{path}/timeline").json()
    assert [entry["detail"] for entry in timeline if "attempt" in entry.get("detail", "")] == [
        f"refund {refund_id}, attempt 1: account closed",
        f"retry {refund_id}, attempt 1, by operator: open again",
        f"refund {refund_id}, attempt 2: account closed",
        f"resolve {refund_id}, attempt 2, by operator: bank transfer",
    ]
    again = client.post(f"{path}/payment/resolve", json={"of": refund_id, "why": "bank transfer"})
    assert (again.status_code, again.json()["code"]) == (409, "nothing_refused")


@BOTH
def test_the_refund_of_a_cancelled_order_is_shown_and_retried(client: TestClient, gateway: Gateway) -> None:
    gateway.answers["refund"] = declined
    order_id = confirmed(client)
    cancelling = client.post(f"/orders/{order_id}/cancel", headers={"Idempotency-Key": "c"}).json()
    assert cancelling["payment"] == {"state": "CAPTURED"}
    order = until(client, order_id, lambda order: "refusal" in order["payment"])
    assert order["payment"]["refusal"] == {"of": "whole", "attempt": 1, "reason": "account closed"}
    assert order["refundedAmount"] == 0

    gateway.answers["refund"] = oms.Refunded
    retried = client.post(f"/orders/{order_id}/payment/retry", json={"of": "whole", "why": "open again"})
    assert retried.json()["payment"]["refusal"]["instruction"] == "retry"
    order = until(client, order_id, lambda order: order["status"] == "CANCELLED")
    assert (order["payment"], order["refundedAmount"]) == ({"state": "REFUNDED"}, 20)
    assert client.post(f"/orders/{order_id}/cancel", headers={"Idempotency-Key": "c"}).json() == cancelling


def test_customers_see_their_own_parts_and_change_none(client: TestClient, gateway: Gateway) -> None:
    gateway.answers["refund"] = declined
    order_id = confirmed(client)
    path = f"/orders/{order_id}"
    client.post(f"{path}/shipments", json={"items": {"lamp": 1}})
    refund = {"kind": "GOODWILL", "reason": "late", "amount": 1}
    refund_id = client.post(f"{path}/refunds", json=refund).json()["id"]
    until(client, order_id, refund_in("REFUSED"))
    before = client.get(path).json()

    own = client.get(path, headers=OWNER).json()
    assert (own["refunds"][0]["id"], own["refunds"][0]["state"]) == (refund_id, "REFUSED")
    assert own["shipments"] == client.get(f"{path}/shipments", headers=OWNER).json() == before["shipments"]
    assert own["refunds"] == client.get(f"{path}/refunds", headers=OWNER).json()
    shown = [client.get(url, headers=OWNER).text for url in (path, "/orders", f"{path}/refunds", f"{path}/timeline")]
    assert not [text for text in shown if "account closed" in text or "refusal" in text or "attempt" in text]
    for url in (path, f"{path}/shipments", f"{path}/refunds"):
        assert client.get(url, headers=STRANGER).json()["code"] == "order_not_found"
    decision = {"of": refund_id, "why": "please"}
    for url, body in (
        ("shipments", {}),
        ("refunds", refund),
        ("payment/retry", decision),
        ("payment/resolve", decision),
    ):
        for caller in (OWNER, STRANGER):
            answer = client.post(f"{path}/{url}", json=body, headers=caller)
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert client.get(path).json() == before


@BOTH
def test_repeats_with_a_key_have_one_effect_and_the_first_response(client: TestClient, gateway: Gateway) -> None:
    order_id = confirmed(client)
    path = f"/orders/{order_id}"
    refund: dict[str, object] = {"kind": "GOODWILL", "reason": "late"}
    calls: list[tuple[str, dict[str, object], object]] = [
        ("shipments", {"items": {"lamp": 1}}, {"items": {"lamp": 1.0}, "carrier": None}),
        ("refunds", refund | {"amount": 2}, {"amount": 2.00} | refund),
    ]
    for name, body, same in calls:
        key = {"Idempotency-Key": "k"}
        first = client.post(f"{path}/{name}", json=body, headers=key)
        assert first.status_code == 201
        if name == "refunds":
            until(client, order_id, refund_in("PAID"))
        again = client.post(f"{path}/{name}", json=same, headers=key)
        assert (again.status_code, again.json()) == (201, first.json())
        other = client.post(f"{path}/{name}", json=refund | {"amount": 3} if name == "refunds" else {}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    order = client.get(path).json()
    assert (len(order["shipments"]), len(order["refunds"]), len(refunded(gateway))) == (1, 1, 1)


def test_the_response_to_an_order_stays_the_first_one_after_it_was_shipped(client: TestClient) -> None:
    key = {"Idempotency-Key": "place"}
    first = client.post("/orders", json=LAMPS, headers=key)
    order_id = first.json()["id"]
    until(client, order_id, lambda order: order["status"] == "CONFIRMED")
    client.post(f"/orders/{order_id}/shipments")
    client.post(f"/orders/{order_id}/refunds", json={"kind": "GOODWILL", "reason": "late", "amount": 2})
    assert client.post("/orders", json=LAMPS, headers=key).json() == first.json()


REFUND = {"kind": "CANCEL", "reason": "r"}
LONG = "x" * 501
REFUSED: list[tuple[str, object, int, str]] = [
    ("shipments", {"items": {"lamp": 3}}, 409, "not_enough_units"),
    ("shipments", {"items": {"other": 1}}, 409, "not_enough_units"),
    ("shipments", {"items": {}}, 422, "no_items"),
    ("shipments", {"items": {"lamp": 0}}, 422, "invalid_quantity"),
    ("shipments", {"items": {"lamp": 1.5}}, 422, "invalid_quantity"),
    ("shipments", {"items": {"lamp": "1"}}, 422, "invalid_quantity"),
    ("shipments", {"items": {"lamp": 10**30}}, 422, "invalid_quantity"),
    ("shipments", {"items": {f"s{n}": 1 for n in range(101)}}, 422, "too_many_items"),
    ("shipments", {"items": [1]}, 422, "invalid_body"),
    ("shipments", {"item": {"lamp": 1}}, 422, "invalid_body"),
    ("shipments", {"carrier": ""}, 422, "invalid_text"),
    ("shipments", {"carrier": "x" * 101}, 422, "invalid_text"),
    ("shipments", {"trackingNumber": "\x00"}, 422, "invalid_text"),
    ("shipments", {"trackingNumber": 7}, 422, "invalid_body"),
    ("shipments", [], 422, "invalid_body"),
    ("refunds", {}, 422, "invalid_body"),
    ("refunds", {"kind": "CANCEL"}, 422, "invalid_body"),
    ("refunds", {**REFUND, "kind": "cancel"}, 422, "invalid_kind"),
    ("refunds", {**REFUND, "kind": 1}, 422, "invalid_body"),
    ("refunds", {**REFUND, "reason": ""}, 422, "invalid_text"),
    ("refunds", {**REFUND, "reason": LONG}, 422, "invalid_text"),
    ("refunds", {**REFUND, "items": {"lamp": 3}}, 409, "not_enough_units"),
    ("refunds", {**REFUND, "items": {"lamp": 1}}, 422, "amount_required"),
    ("refunds", {**REFUND, "amount": 19.99}, 422, "amount_must_be_rest"),
    ("refunds", {**REFUND, "items": {"lamp": 1}, "amount": 20.01}, 409, "refund_exceeds_total"),
    ("refunds", {**REFUND, "items": {"lamp": 1}, "amount": 1.001}, 422, "invalid_amount"),
    ("refunds", {**REFUND, "items": {"lamp": 1}, "amount": -1}, 422, "invalid_amount"),
    ("refunds", {**REFUND, "items": {"lamp": 1}, "amount": "1"}, 422, "invalid_body"),
    ("refunds", {**REFUND, "items": {"lamp": 1}, "amount": 10**40}, 422, "invalid_amount"),
    ("refunds", {**REFUND, "restock": "yes"}, 422, "invalid_body"),
    ("refunds", {**REFUND, "kind": "RETURN"}, 409, "not_enough_units"),
    ("refunds", {**REFUND, "kind": "GOODWILL"}, 422, "amount_required"),
    ("refunds", {**REFUND, "kind": "GOODWILL", "items": {"lamp": 1}}, 422, "goodwill_has_no_items"),
    ("refunds", {**REFUND, "kind": "GOODWILL", "amount": 1, "restock": True}, 422, "goodwill_has_no_items"),
    ("refunds", {**REFUND, "kind": "GOODWILL", "amount": 20.01}, 409, "refund_exceeds_total"),
    ("payment/retry", {"of": "whole", "why": "w"}, 409, "nothing_refused"),
    ("payment/retry", {"of": "x" * 37, "why": "w"}, 422, "invalid_id"),
    ("payment/retry", {"of": "a b", "why": "w"}, 422, "invalid_id"),
    ("payment/retry", {"of": 1, "why": "w"}, 422, "invalid_body"),
    ("payment/retry", {"of": "whole"}, 422, "invalid_body"),
    ("payment/resolve", {"of": "whole", "why": LONG}, 422, "invalid_text"),
    ("payment/resolve", {"of": "whole", "why": "w", "what": "retry"}, 422, "invalid_body"),
]


def test_refused_without_effect(client: TestClient) -> None:
    order_id = confirmed(client)
    before = client.get(f"/orders/{order_id}").json()
    for name, body, status, code in REFUSED:
        answer = client.post(f"/orders/{order_id}/{name}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (name, body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.get(f"/orders/{order_id}").json() == before


RAW: list[tuple[str, bytes, int, str]] = [
    ("shipments", b"{", 400, "malformed_json"),
    ("shipments", b'{"items":{"lamp":NaN}}', 400, "malformed_json"),
    ("shipments", b'{"items":{"lamp":1e999999999}}', 422, "invalid_quantity"),
    ("shipments", b'{"items":{"lamp":1,"lamp":1}}', 422, "repeated_name"),
    ("shipments", b'{"carrier":"\\ud83d"}', 400, "malformed_json"),
    ("shipments", b'{"carrier":"' + b"x" * 70_000 + b'"}', 413, "body_too_large"),
    ("refunds", b"", 400, "malformed_json"),
    ("refunds", b'{"kind":"GOODWILL","reason":"r","amount":NaN}', 400, "malformed_json"),
    ("refunds", b'{"kind":"GOODWILL","reason":"r","amount":1e999999999}', 422, "invalid_amount"),
    ("refunds", b'{"kind":"GOODWILL","reason":"r","amount":1e-999999999}', 422, "invalid_amount"),
    ("refunds", b'{"kind":"GOODWILL","reason":"r","amount":1,"amount":2}', 422, "repeated_name"),
    ("payment/retry", b'{"of":"whole","why":"a","why":"b"}', 422, "repeated_name"),
    ("payment/resolve", b"", 400, "malformed_json"),
]


def test_raw_bodies(client: TestClient) -> None:
    order_id = confirmed(client)
    for name, body, status, code in RAW:
        answer = client.post(f"/orders/{order_id}/{name}", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (name, body[:60], answer.text)
    wrong = client.post(f"/orders/{order_id}/refunds", content=b"kind=CANCEL", headers={"Content-Type": "text/plain"})
    assert wrong.status_code == 415
    assert "refunds" not in client.get(f"/orders/{order_id}").json()


@pytest.mark.parametrize("name", ["shipments", "refunds", "payment/retry", "payment/resolve"])
def test_orders_that_cant_take_it(client: TestClient, name: str) -> None:
    bodies = {"shipments": {}, "refunds": {"kind": "GOODWILL", "reason": "r", "amount": 1}}
    body = bodies.get(name, {"of": "r-1", "why": "w"})

    def refusal(order_id: str) -> tuple[int, str]:
        answer = client.post(f"/orders/{order_id}/{name}", json=body)
        return answer.status_code, answer.json()["code"]

    assert refusal("no-such-order") == (404, "order_not_found")
    assert refusal("a b") == (422, "invalid_id")
    cancelled = confirmed(client)
    client.post(f"/orders/{cancelled}/cancel")
    until(client, cancelled, lambda order: order["status"] == "CANCELLED")
    assert refusal(cancelled)[0] == (404 if name.startswith("payment") else 409)
    completed = confirmed(client)
    assert client.post(f"/orders/{completed}/shipments").status_code == 201
    expected = {"shipments": (409, "order_completed"), "refunds": (201, None)}
    if name in expected:
        answer = client.post(f"/orders/{completed}/{name}", json=body)
        assert (answer.status_code, answer.json().get("code")) == expected[name]
    else:
        assert refusal(completed) == (404, "refund_not_found")


def test_a_null_is_the_same_as_an_absent_field(client: TestClient) -> None:
    order_id = confirmed(client)
    refund = {"kind": "GOODWILL", "reason": "r", "items": None, "amount": 1, "restock": None}
    assert client.post(f"/orders/{order_id}/refunds", json=refund).status_code == 201
    parcel = {"items": None, "carrier": None, "trackingNumber": None}
    assert client.post(f"/orders/{order_id}/shipments", json=parcel).json()["items"] == {"lamp": 2}


@BOTH
def test_ten_refunds_at_once_never_exceed_the_total(client: TestClient) -> None:
    order_id = confirmed(client)
    found: list[int] = []

    def refund(number: int) -> None:
        body = {"kind": "GOODWILL", "reason": "late", "amount": 7}
        headers = {"Idempotency-Key": f"k-{number}"}
        found.append(client.post(f"/orders/{order_id}/refunds", json=body, headers=headers).status_code)

    threads = [threading.Thread(target=refund, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [201] * 2 + [409] * 8
    assert client.get(f"/orders/{order_id}").json()["refundedAmount"] == 14


def test_the_shapes_of_the_spring_system_have_no_new_fields(gateway: Gateway) -> None:
    with (
        oms.create(
            profile="memory", environ={}, http_compat="spring", gateway=gateway, default_stock=9, log_level="error"
        ) as app,
        TestClient(oms.asgi(app), "http://localhost") as client,
    ):
        order_id = confirmed(client)
        client.post(f"/orders/{order_id}/shipments", json={"items": {"lamp": 1}})
        client.post(f"/orders/{order_id}/refunds", json={"kind": "GOODWILL", "reason": "late", "amount": 1})
        order = client.get(f"/orders/{order_id}").json()
        assert set(order) == {"id", "items", "status", "totalAmount", "userId"}
        assert order["status"] == "FULFILLING"
        assert client.get("/orders").json()["content"] == [order]
        assert len(client.get(f"/orders/{order_id}/shipments").json()) == 1
        assert client.get(f"/orders/{order_id}/refunds").json()[0]["currency"] == "USD"
        described = client.get("/openapi.json").json()
        example = described["paths"]["/orders/{id}/refunds"]["post"]["responses"]["201"]["content"]["application/json"]
        assert example["example"]["currency"] == "USD"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ITEMS = ANY | st.dictionaries(st.sampled_from(["lamp", "b"]), ANY | st.integers(-1, 3), max_size=2)
BODIES = st.one_of(
    st.tuples(
        st.just("shipments"),
        st.fixed_dictionaries({}, optional={"items": ITEMS, "carrier": ANY, "trackingNumber": ANY}),
    ),
    st.tuples(
        st.just("refunds"),
        st.fixed_dictionaries(
            {"kind": ANY | st.sampled_from(["CANCEL", "RETURN", "GOODWILL"]), "reason": ANY | st.just("r")},
            optional={"items": ITEMS, "amount": ANY | st.just(0), "restock": ANY},
        ),
    ),
    st.tuples(
        st.sampled_from(["payment/retry", "payment/resolve"]),
        st.fixed_dictionaries({"of": ANY | st.just("whole"), "why": ANY | st.just("w")}) | ANY,
    ),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=BODIES)
def test_no_body_ends_in_a_5xx(client: TestClient, call: tuple[str, object]) -> None:
    order_id = client.post("/orders", json={**LAMPS, "items": {"lamp": 1}}).json()["id"]
    for order in (order_id, "no-such"):
        answer = client.post(f"/orders/{order}/{call[0]}", content=json.dumps(call[1]).encode(), headers=JSON)
        assert answer.status_code in (201, 202, 400, 404, 409, 422), answer.text
