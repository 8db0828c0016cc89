"""`/docs` as a browser gets it: the whole API, nothing that runs, nothing from elsewhere."""

from __future__ import annotations

import html
import json
import re
import shlex
from itertools import pairwise

import pytest
from starlette.testclient import TestClient

import oms
from oms.entrypoints.http.problems import CODES
from oms.entrypoints.http.routes import ROUTES


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = oms.create(profile="memory", environ={}, currency="JPY", log_level="error")
    return TestClient(oms.asgi(app), "http://localhost")


@pytest.fixture(scope="module")
def page(client: TestClient) -> str:
    return client.get("/docs").text


def test_every_route_and_every_code_can_be_linked_to(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(ids) >= {route.name for route in ROUTES} | set(CODES)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_a_link_to_a_route_opens_it(page: str) -> None:
    """A browser opens the <details> that a link's target is inside of, not one that is the target itself."""
    assert not re.search(r"<details[^>]* id=", page)
    for route in ROUTES:
        assert re.search(rf'<details class="route"><summary>(?:(?!</?details).)*id="{route.name}"', page, re.DOTALL)


def test_nothing_runs_and_nothing_is_fetched(client: TestClient, page: str) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not re.search(r"<(script|img|link|iframe|form|object)\b|\bon\w+=|url\(|@import|style=", page)


def test_the_calls_to_copy_do_what_they_say(page: str) -> None:
    app = oms.create(profile="memory", environ={}, currency="JPY", log_level="error")
    with app, TestClient(oms.asgi(app), "http://localhost") as client:
        called = set()
        for line in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL):
            _, *words = shlex.split(html.unescape(line).replace("$OMS", ""))
            path = next(word for word in words if word.startswith("/"))
            given = dict(pairwise(words))
            headers = dict(word.split(": ", 1) for before, word in pairwise(words) if before == "-H")
            answer = client.request(given.get("-X", "GET"), path, content=given.get("-d"), headers=headers)
            called.add((given.get("-X", "GET"), path))
            assert answer.status_code < 300 or answer.json()["code"] in (
                "order_not_found", "product_not_found", "dead_letter_not_found",
            ), line  # fmt: skip
        assert len(called) == len(ROUTES)


def test_amounts_are_those_of_the_currency(client: TestClient, page: str) -> None:
    amount = client.get("/openapi.json").json()["components"]["schemas"]["PlaceOrder"]["properties"]["amount"]
    assert (amount["minimum"], amount["maximum"], amount["multipleOf"]) == (0, 10**15, 1)
    assert "Amounts are JSON numbers in JPY" in page
    example = json.loads(re.search(r"<h3>Example</h3><pre>(\{.*?\})</pre>", html.unescape(page), re.DOTALL)[1])  # type: ignore[index]
    assert set(example) == {"userId", "amount", "items", "metadata"}


def test_the_page_describes_each_part_of_an_order(page: str) -> None:
    route = re.search(r'id="getOrder".*?</details>', page, re.DOTALL)
    assert route is not None
    for name in ("LineView", "ChargeView", "PaymentView", "RefusalView", "ShipmentView", "RefundView"):
        assert f"<h4>{name}</h4>" in route[0]
