"""P11: every route of the table called by the owner, another customer, an anonymous caller and an operator."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import oms
from oms.entrypoints.http.routes import ROUTES, Allowed, Route

ORDER = {"userId": "ann", "amount": 10, "items": {"apple": 1}}
DECISION = {"of": "no-such-refund", "why": "open again"}
BODIES = {
    "placeOrder": ORDER,
    "refundOrder": {"kind": "GOODWILL", "reason": "late", "amount": 1},
    "retryPayment": DECISION,
    "resolvePayment": DECISION,
    "setStock": {"onHand": 7},
    "addStock": {"delta": 1},
}
OWN = {"getOrder", "getTimeline", "cancelOrder", "listShipments", "listRefunds"}
"""Routes about one order: another's is not found."""

OTHERS = ("owner", "stranger", "nobody", "operator")


def settled(client: TestClient, order_id: str) -> dict:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        order = client.get(f"/orders/{order_id}", headers={"X-Caller": "operator"}).json()
        if order["status"] in ("CONFIRMED", "CANCELLED", "REJECTED"):
            return order
        time.sleep(0.01)
    raise AssertionError("not settled")


def expected(route: Route, caller: str) -> set[int]:
    if route.allowed is Allowed.ANYBODY:
        return {200}
    if caller == "nobody":
        return {401}
    if route.allowed is Allowed.OPERATORS:
        if caller == "operator" and BODIES.get(route.name) is DECISION:
            return {409}
        return {403} if caller in ("owner", "stranger") else {route.ok, 404}
    if caller == "stranger":
        return {404} if route.name in OWN else {403} if route.name == "placeOrder" else {200}
    if route.name == "cancelOrder":
        return {409} if caller == "owner" else {202}
    return {route.ok}


@pytest.mark.parametrize("caller", OTHERS)
@pytest.mark.parametrize("route", ROUTES, ids=[f"{route.method} {route.path}" for route in ROUTES])
def test_matrix(client: TestClient, app: oms.App, route: Route, caller: str) -> None:
    order = client.post("/orders", json=ORDER, headers={"X-Caller": "owner"}).json()
    before = settled(client, order["id"])
    path = route.path.replace("{sku}", "apple")
    path = path.replace("{id}", order["id"] if "/orders" in path else "no-such-letter")
    headers = {} if caller == "nobody" else {"X-Caller": caller}

    answer = client.request(route.method, path, json=BODIES.get(route.name), headers=headers)

    assert answer.status_code in expected(route, caller), answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]
    if caller in ("stranger", "nobody"):
        assert app.orders.get(order["id"]).state.value == before["status"] == "CONFIRMED"
        assert app.stock.get("apple").on_hand == 99
        assert app.orders.page().total == 1
        assert "ann" not in answer.text.replace("channel", "")


def test_a_strangers_list_is_empty_whatever_is_asked(client: TestClient) -> None:
    client.post("/orders", json=ORDER, headers={"X-Caller": "owner"})
    for query in ("", "?userId=ann", "?userId=bob"):
        page = client.get(f"/orders{query}", headers={"X-Caller": "stranger"}).json()
        assert page["totalElements"] == 0
    assert client.get("/orders?userId=ann", headers={"X-Caller": "operator"}).json()["totalElements"] == 1


def test_equal_keys_of_two_callers_never_meet(client: TestClient) -> None:
    answers = [
        client.post(
            "/orders", json={**ORDER, "userId": user}, headers={"X-Caller": caller, "Idempotency-Key": "same"}
        ).json()
        for caller, user in (("owner", "ann"), ("stranger", "bob"), ("owner", "ann"))
    ]
    assert answers[0] == answers[2]
    assert answers[0]["id"] != answers[1]["id"]
    assert answers[1]["userId"] == "bob"


OF_A_CONNECTION = """
import oms

class OfAConnection(oms.Authenticator):
    closed = False

    def authenticate(self, headers):
        if self.closed:
            raise RuntimeError("closed")
        return oms.Principal(oms.Role.OPERATOR)

    def close(self):
        self.closed = True
"""


def test_a_restarted_app_authenticates_by_the_authenticator_that_it_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its predecessor was closed with the app."""
    (tmp_path / "shop_callers.py").write_text(OF_A_CONNECTION)
    monkeypatch.syspath_prepend(str(tmp_path))
    app = oms.create(profile="memory", environ={}, authenticator="shop_callers:OfAConnection", log_level="error")
    with app, TestClient(oms.asgi(app), "http://localhost") as client:
        assert client.get("/orders").status_code == 200
        app.stop()
        app.start()
        assert client.get("/orders").status_code == 200
