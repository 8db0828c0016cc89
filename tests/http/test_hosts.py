"""DNS rebinding: a server that trusts whoever reaches it is asked by local names alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import oms
from oms.adapters.auth.api_keys import new_key
from oms.entrypoints.http.hosts import is_local
from oms.entrypoints.http.routes import ROUTES
from oms.entrypoints.serve import Server

LOCAL = [
    "localhost",
    "localhost:8081",
    "LOCALHOST:1",
    "127.0.0.1:8081",
    "127.9.8.7",
    "[::1]:8081",
    "[::1]",
    "my-box:80",
]
FOREIGN = [
    "evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "2130706433",
    "0.0.0.0:8081", "10.0.0.7:8081", "[fe80::1]", "localhost:8081, evil.example", "localhost:8081@evil.example",
    "localhost evil", "evil.example#localhost", "", ":8081", "[", "[]", "localhost:", "localhost:99999999",
]  # fmt: skip


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine(host: str) -> None:
    assert is_local(host, "My-Box")


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name(host: str) -> None:
    assert not is_local(host, "my-box")


def client_of(base_url: str = "http://127.0.0.1:8081", **given: object) -> TestClient:
    """What `oms serve` serves, without its socket: the client's `Host` is that of its address."""
    app = oms.create(profile="memory", environ={}, log_level="error", **given)
    return TestClient(Server(app).config.app, base_url, raise_server_exceptions=False)  # type: ignore[arg-type]


def test_a_trusting_server_refuses_every_route_under_another_name() -> None:
    client = client_of("http://evil.example:8081")
    for route in ROUTES:
        path = route.path.replace("{id}", "x").replace("{sku}", "x")
        answer = client.request(route.method, path)
        assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host"), path
    assert client.get("/nothing").status_code == 421
    assert client.head("/healthz").status_code == 421
    assert client.get("/healthz", headers={"Host": "localhost"}).status_code == 200


def test_a_page_that_calls_itself_by_its_own_name_changes_nothing() -> None:
    """Its browser sends `same-origin`, because for the browser this is the page's own site."""
    client = client_of("http://evil.example:8081")
    order = {"userId": "u", "amount": 1, "items": {"a": 1}}
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example:8081"}
    assert client.post("/orders", json=order, headers=headers).status_code == 421
    assert client.get("/orders", headers={"Host": "localhost"}).json()["totalElements"] == 0


def test_two_host_headers_are_refused() -> None:
    client = client_of()
    answer = client.get("/healthz", headers=[("Host", "localhost"), ("Host", "evil.example")])
    assert answer.status_code == 421


def test_servers_with_keys_or_told_to_trust_everybody_answer_to_any_name(tmp_path: Path) -> None:
    key, entry = new_key("ops", oms.Role.OPERATOR)
    (tmp_path / "keys.json").write_text(json.dumps([entry]))
    keyed = client_of("http://shop.example", api_keys_file=tmp_path / "keys.json")
    assert keyed.get("/orders", headers={"X-API-Key": key}).status_code == 200
    assert keyed.get("/orders").status_code == 401
    assert client_of("http://shop.example", auth="none").get("/orders").status_code == 200


def test_a_mounted_api_answers_to_the_names_of_its_host() -> None:
    with oms.create(profile="memory", environ={}, log_level="error") as app:
        assert TestClient(oms.asgi(app), "http://shop.example").get("/orders").status_code == 200
