"""Refused requests are counted and logged, in a bounded number of lines; each caller has a rate limit of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import oms
from oms.adapters.auth.keys_file import new_key
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.entrypoints.http import access, server
from oms.entrypoints.http.rate_limit import RateLimit
from oms.entrypoints.http.refusals import LINES_PER_S

ORDER = {"userId": "ann", "amount": 10, "items": {"apple": 1}}
OWNER, STRANGER, OPERATOR = ({"X-Caller": name} for name in ("owner", "stranger", "operator"))


USERS = {"owner": "ann", "stranger": "bob"}


class Known(oms.Authenticator):
    """Takes the caller's word for it."""

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal | None:
        name = headers.get("x-caller", "")
        if name in USERS:
            return oms.Principal(oms.Role.CUSTOMER, oms.UserId(USERS[name]))
        if name.startswith("operator"):
            return oms.Principal(oms.Role.OPERATOR, credential=name)
        return None


class Odd(oms.Policy):
    """Refuses an order with a code of its own."""

    def check(self, terms: oms.Terms, caller: oms.Principal) -> None:
        if "odd" in terms.items:
            raise oms.Refused("odd_product", "not this one")


@contextmanager
def served(telemetry: RecordingTelemetry, **given: object) -> Iterator[TestClient]:
    given = {"authenticator": Known()} | given
    app = oms.create(profile="memory", environ={}, telemetry=telemetry, policy=Odd(), **given)
    with app, TestClient(oms.asgi(app), "http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the server reads; a test sets it."""
    now = [1000.0]
    for module in (access, server):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code", "counted", "user"),
    [
        ("GET", "/orders", None, {}, 401, "not_authenticated", "not_authenticated", None),
        ("GET", "/dead-letters", None, OWNER, 403, "not_allowed", "not_allowed", "ann"),
        ("POST", "/orders", ORDER, STRANGER, 403, "not_your_user", "not_your_user", "bob"),
        ("POST", "/orders", ORDER, OWNER | {"Origin": "http://evil"}, 403, "cross_origin", "cross_origin", None),
        ("POST", "/orders", ORDER | {"items": {"odd": 1}}, OWNER, 403, "odd_product", "refused_by_shop", "ann"),
    ],
)
def test_a_refused_request_is_counted_and_logged(
    method: str, path: str, body: object, headers: dict[str, str], status: int, code: str, counted: str, user: str
) -> None:
    telemetry = RecordingTelemetry()
    with served(telemetry) as client:
        answer = client.request(method, path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert telemetry.total("http_refused", code=counted) == 1
    (line,) = [failure.fields for failure in telemetry.failures if failure.event == "request refused"]
    assert (line["code"], line["client"], line.get("user")) == (code, "testclient", user)


def test_requests_that_are_not_refused_are_neither_counted_nor_logged() -> None:
    telemetry = RecordingTelemetry()
    with served(telemetry, rate_limit=100.0) as client:
        for path, headers in (
            ("/orders", OWNER),
            ("/orders/none", OWNER),
            ("/dead-letters", OPERATOR),
            ("/healthz", {}),
        ):
            client.get(path, headers=headers)
    assert telemetry.total("http_refused") == 0
    assert not [failure for failure in telemetry.failures if failure.event == "request refused"]


def test_a_client_cannot_fill_the_log(second: list[float]) -> None:
    telemetry = RecordingTelemetry()
    with served(telemetry) as client:
        for _ in range(LINES_PER_S * 3):
            client.get("/orders")
        second[0] += 1
        client.get("/orders")
    lines = [failure.fields for failure in telemetry.failures if failure.event == "request refused"]
    assert len(lines) == LINES_PER_S + 1
    assert lines[-1]["unlogged_before"] == LINES_PER_S * 2
    assert telemetry.total("http_refused", code="not_authenticated") == LINES_PER_S * 3 + 1


def test_each_caller_has_a_limit_of_its_own(second: list[float]) -> None:
    telemetry = RecordingTelemetry()
    with served(telemetry, rate_limit=2.0) as client:
        statuses = [client.get("/stock", headers=OWNER).status_code for _ in range(3)]
        refused = client.get("/stock", headers=OWNER)
        others = [client.get("/stock", headers=headers).status_code for headers in (STRANGER, OPERATOR, {})]
        second[0] += 0.5
        later = [client.get("/stock", headers=OWNER).status_code for _ in range(2)]
        health = [client.get("/healthz").status_code for _ in range(5)]
    assert statuses == [200, 200, 429]
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("too_many_requests", "1")
    assert others == [200, 200, 401]
    assert later == [200, 429]
    assert health == [200] * 5
    assert telemetry.total("http_refused", code="too_many_requests") == 3


def test_each_operators_key_has_a_limit_of_its_own(second: list[float], tmp_path: Path) -> None:
    keys = [new_key("key", oms.Role.OPERATOR) for _ in range(2)]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([entry for _, entry in keys]))
    telemetry = RecordingTelemetry()
    with served(telemetry, authenticator=None, api_keys_file=file, rate_limit=1.0) as client:
        for key, _ in keys:
            headers = {"Authorization": f"Bearer {key}"}
            assert [client.get("/stock", headers=headers).status_code for _ in range(2)] == [200, 429]
    refused = [failure.fields["credential"] for failure in telemetry.failures if failure.event == "request refused"]
    assert refused == [entry["sha256"][:16] for _, entry in keys]


def test_operators_of_an_own_authenticator_are_told_apart_by_their_credential(second: list[float]) -> None:
    with served(RecordingTelemetry(), rate_limit=1.0) as client:
        for name in ("operator", "operator-2"):
            assert [client.get("/stock", headers={"X-Caller": name}).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("authenticator", [None, Known()])
def test_callers_without_a_key_count_by_their_address(second: list[float], authenticator: Known | None) -> None:
    given = {} if authenticator is None else {"authenticator": authenticator}
    app = oms.create(profile="memory", environ={}, log_level="error", rate_limit=1.0, **given)
    expected = 200 if authenticator is None else 401
    with app:
        for host in ("192.0.2.1", "192.0.2.2"):
            client = TestClient(oms.asgi(app), "http://localhost", client=(host, 1))
            assert [client.get("/stock").status_code for _ in range(2)] == [expected, 429]


def test_without_the_setting_there_is_no_limit() -> None:
    with served(RecordingTelemetry()) as client:
        assert {client.get("/stock", headers=OWNER).status_code for _ in range(50)} == {200}


@given(
    st.floats(0.01, 1000),
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=60),
)
def test_no_caller_gets_more_than_a_token_bucket_gives(per_second: float, requests: list[tuple[str, float]]) -> None:
    """Compared with a bucket as it is usually described: tokens that are refilled with time."""
    limit, burst = RateLimit(per_second), max(1.0, per_second)
    tokens = dict.fromkeys("ab", burst)
    at, seen = 50.0, dict.fromkeys("ab", 50.0)
    for caller, pause_s in requests:
        at += pause_s
        tokens[caller] = min(burst, tokens[caller] + (at - seen[caller]) * per_second)
        seen[caller] = at
        if abs(tokens[caller] - 1) < 1e-6:  # rounding decides
            return
        wait_s = limit.wait_s(caller, at)
        if tokens[caller] > 1:
            assert wait_s == 0
            tokens[caller] -= 1
        else:
            assert wait_s == pytest.approx((1 - tokens[caller]) / per_second, rel=1e-6, abs=1e-6)


def test_a_flood_of_addresses_takes_bounded_memory() -> None:
    limit = RateLimit(1.0, most_callers=3)
    assert not any(limit.wait_s(f"address:{n}", 0.0) for n in range(100))
    assert len(limit._full_at) == 3
    assert limit.wait_s("address:99", 0.0) > 0
