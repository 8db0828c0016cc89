"""DNS rebinding: a server that trusts every caller responds only to the configured host names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

import oms
from oms.adapters.auth.keys_file import new_key
from oms.entrypoints.http.host_guard import name_of
from oms.entrypoints.http.routes import ROUTES
from oms.entrypoints.serve import Server
from oms.ports.errors import SettingsError
from oms.settings import load_settings
from tests.entrypoints.http.raw_http import Client, serving

LOCAL = ["localhost", "localhost:8081", "LOCALHOST:1", "127.0.0.1:8081", "[::1]:8081", "[::1]", "[0:0:0:0:0:0:0:1]"]
FOREIGN = [
    "evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "2130706433",
    "0x7f.1", "0.0.0.0:8081", "10.0.0.7:8081", "[fe80::1]", "[fe80::1%25eth0]", "[::1%eth0]", "[::ffff:127.0.0.1]",
    "localhost:8081, evil.example", "localhost:8081@evil.example", "evil.example@localhost", "a:b@localhost",
    "localhost evil", "evil.example#localhost", "localhost/x", "localhost?x", "localhost.", "localhost..", "", ":8081",
    "[", "[]", "::1", "localhost:", "localhost:99999", "localhost:99999999", "localhost:-1", "localhost:8081:8081",
    "localhost:http", "localhost:\u0661", "*", "loc\u0430lhost", "xn--lcalhost-56a",
]  # fmt: skip
HEALTH = {"/healthz", "/readyz"}


def client_of(base_url: str = "http://127.0.0.1:8081", **given: object) -> TestClient:
    """The application that `oms serve` and `oms run` serve, without a socket."""
    app = oms.create(profile="memory", environ={}, log_level="error", **given)
    return TestClient(Server(app).config.app, base_url, raise_server_exceptions=False)  # type: ignore[arg-type]


def answered(client: TestClient, host: str, path: str = "/orders") -> int:
    return client.get(path, headers={"Host": host.encode("utf-8")}).status_code


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("auth", ["", "none"])
def test_local_names_are_allowed_by_default(host: str, auth: str) -> None:
    assert answered(client_of(auth=auth), host) == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("auth", ["", "none"])
def test_other_names_are_refused_by_default(host: str, auth: str) -> None:
    client = client_of(auth=auth)
    assert answered(client, host) == 421
    assert {answered(client, host, path) for path in HEALTH} <= {200, 503}


@given(st.text(max_size=30))
def test_any_header_is_a_name_or_none(host: str) -> None:
    name = name_of(host)
    assert name is None or (name and name == name.lower() and not set(name) & set("[]@/?#, "))


def test_names_of_the_setting() -> None:
    client = client_of(auth="none", http_hosts="edge, Shop.Example,[2001:DB8::0:1]", http_host="0.0.0.0")
    for host in ("edge", "edge:8081", "EDGE", "shop.example:443", "[2001:db8::1]:80"):
        assert answered(client, host) == 200, host
    for host in ("evil.example", "localhost", "a.edge", "edge.", "shop.example.evil"):
        assert answered(client, host) == 421, host
    assert answered(client_of(http_hosts="*"), "any.example") == 200
    assert answered(client_of(http_host="127.0.0.2"), "127.0.0.2:8081") == 200


@pytest.mark.parametrize("wrong", ["localhost:8081", "http://localhost", "a b", "::1", "*.example", "user@host"])
def test_settings_that_are_no_names(wrong: str) -> None:
    with pytest.raises(SettingsError, match="OMS_HTTP_HOSTS"):
        load_settings({"OMS_HTTP_HOSTS": wrong})


def test_every_route_but_health_is_refused_under_another_name() -> None:
    client = client_of("http://evil.example:8081")
    for route in ROUTES:
        path = route.path.replace("{id}", "x").replace("{sku}", "x")
        answer = client.request(route.method, path)
        if path in HEALTH:
            assert answer.status_code in (200, 503), path
        else:
            assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host"), path
    assert client.head("/metrics").status_code == 421


def test_a_page_that_calls_itself_by_its_own_name_changes_nothing() -> None:
    """Its browser sends `same-origin`, because for the browser this is the page's own site."""
    client = client_of("http://evil.example:8081")
    order = {"userId": "u", "amount": 1, "items": {"a": 1}}
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example:8081", "X-Forwarded-Host": "localhost"}
    assert client.post("/orders", json=order, headers=headers).status_code == 421
    assert client.get("/orders", headers={"Host": "localhost"}).json()["totalElements"] == 0


def test_two_host_headers_are_refused() -> None:
    client = client_of()
    for second in ("localhost", "evil.example"):
        answer = client.get("/orders", headers=[("Host", "localhost"), ("Host", second)])
        assert (answer.status_code, answer.json()["code"]) == (400, "repeated_header")


def test_the_address_that_a_request_arrived_at_is_allowed() -> None:
    """A probe or scraper calls a container by its address, which no setting could list."""
    with oms.create(profile="memory", environ={}, log_level="error", http_hosts="edge") as app, serving(app) as port:
        for host, status in (("127.0.0.1", 200), ("127.0.0.2", 421), ("evil.example", 421), ("localhost", 421)):
            with Client(port) as client:
                client.send(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert client.answer().status == status
        with Client(port) as client:
            client.send(b"GET /healthz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
            assert [client.answer().status for _ in range(2)] == [200, 421]


def test_a_name_that_the_server_took_from_the_request_is_no_address() -> None:
    """Some ASGI servers and test clients fill in `scope["server"]` from the `Host` header."""
    client = TestClient(oms.asgi(oms.create(profile="memory", environ={}, log_level="error")), "http://evil.example")
    assert client.get("/orders").status_code == 421


def test_servers_with_keys_answer_under_any_name(tmp_path: Path) -> None:
    key, entry = new_key("ops", oms.Role.OPERATOR)
    (tmp_path / "keys.json").write_text(json.dumps([entry]))
    keyed = client_of("http://shop.example", api_keys_file=tmp_path / "keys.json")
    assert keyed.get("/orders", headers={"X-API-Key": key}).status_code == 200
    assert keyed.get("/orders").status_code == 401


@pytest.mark.parametrize(("names", "status"), [({}, 421), ({"http_hosts": "shop.example"}, 200)])
def test_a_mounted_api_checks_names_as_well(names: dict[str, Any], status: int) -> None:
    with oms.create(profile="memory", environ={}, log_level="error", **names) as app:
        host = Starlette()
        host.mount("/shop", oms.asgi(app))
        client = TestClient(host, "http://shop.example")
        assert client.get("/shop/orders").status_code == status
        assert client.get("/shop/healthz").status_code == 200
