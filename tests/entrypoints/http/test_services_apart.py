"""A process that runs one service answers 404 for every route, method and command of the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

import oms
from oms.entrypoints.http.routes import ROUTES, Route

SERVICES = ("order", "inventory", "payment", "notification")
BODIES = {
    "placeOrder": {"userId": "ann", "amount": 10, "items": {"apple": 1}},
    "refundOrder": {"kind": "GOODWILL", "reason": "late", "amount": 1},
    "retryPayment": {"of": "whole", "why": "open again"},
    "resolvePayment": {"of": "whole", "why": "bank transfer"},
    "setStock": {"onHand": 7},
    "addStock": {"delta": 1},
}


@pytest.mark.parametrize("explicit", [False, True], ids=["own routes", "routes of both services"])
@pytest.mark.parametrize("service", SERVICES)
def test_routes_of_services_that_run_elsewhere_are_not_found(service: str, explicit: bool) -> None:
    app = oms.create(profile="memory", environ={}, services=[service], log_level="error")
    routes = ("order", "inventory") if explicit else None
    with app, TestClient(oms.asgi(app, routes), "http://localhost", raise_server_exceptions=False) as client:
        for route in ROUTES:
            path = route.path.replace("{sku}", "apple").replace("{id}", "unknown")
            answer = client.request(route.method, path, json=BODIES.get(route.name))
            if route.service in (service, "any"):
                assert answer.status_code in (route.ok, 404), (route.name, answer.text)
                assert answer.status_code == route.ok or answer.json()["code"].endswith("_not_found"), answer.text
            else:
                expected = "service_not_here" if explicit else "no_such_route"
                assert_problem(route, answer, expected)


def assert_problem(route: Route, answer: object, code: str) -> None:
    found = answer.json()
    assert (answer.status_code, found["code"]) == (404, code), (route.name, found)
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["type"] == f"urn:oms:problem:{code}"


@pytest.mark.parametrize("service", SERVICES)
def test_the_library_raises_not_found_for_services_that_run_elsewhere(service: str) -> None:
    app = oms.create(profile="memory", environ={}, services=[service], log_level="error")
    uses: dict[str, Callable[[], object]] = {
        "order": lambda: app.orders,
        "inventory": lambda: app.stock,
        "evidence": lambda: app.evidence,
    }
    for needed, use in uses.items():
        if needed == service:
            use()
            continue
        with pytest.raises(oms.NotFound) as refused:
            use()
        assert refused.value.code == "service_not_here"
        assert "doesn't run in this process" in str(refused.value)


def test_the_documentation_lists_the_routes_that_are_served() -> None:
    app = oms.create(profile="memory", environ={}, services=["order"], log_level="error")
    with app, TestClient(oms.asgi(app), "http://localhost") as client:
        assert "/orders" in client.get("/openapi.json").json()["paths"]
        assert "/stock" not in client.get("/openapi.json").json()["paths"]
