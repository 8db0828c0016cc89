"""What `/readyz` and `/metrics` show, and to whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms
from oms.engine.health import PROCESS, Condition

SECRET = "postgresql://db.internal:5432 as oms_order from /srv/oms/data"
OPERATOR = {"Authorization": "Bearer of-an-operator"}


class Keys(oms.Authenticator):
    """Two callers by their key; `asked` counts the calls."""

    def __init__(self) -> None:
        self.asked, self.error, self.waits = 0, False, threading.Event()
        self.waits.set()

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal | None:
        self.asked += 1
        self.waits.wait(30)
        if self.error:
            raise RuntimeError("the database of keys is away")
        key = headers.get("authorization", "")
        if key == OPERATOR["Authorization"]:
            return oms.Principal(oms.Role.OPERATOR)
        return oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann")) if key == "Bearer of-ann" else None


@pytest.fixture
def keys() -> Keys:
    return Keys()


def failing(keys: oms.Authenticator | None = None, **given: Any) -> oms.App:
    app = oms.create(profile="memory", environ={}, log_level="error", authenticator=keys, **given)
    app.start()
    app.health_record.failed(Condition.STORE_UNAVAILABLE, "order", "store", SECRET, opens_after=1)
    app.health_record.failed(Condition.CALLS_FAILING, "payment", "charge", SECRET, opens_after=1)
    return app


@pytest.fixture
def client(keys: Keys) -> Iterator[TestClient]:
    app = failing(keys)
    with TestClient(oms.asgi(app), "http://localhost") as made:
        yield made
    app.stop()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer of-ann"}, {"Authorization": "Bearer wrong"}])
def test_a_stranger_gets_codes_alone(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.get("/readyz", headers=headers)
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "problems": ["store_unavailable"], "degraded": ["calls_failing"]}


def test_an_operator_gets_the_details(client: TestClient) -> None:
    details = client.get("/readyz", headers=OPERATOR).json()["details"]
    assert [(one["code"], one["service"], one["subject"], one["failures"], one["detail"]) for one in details] == [
        ("store_unavailable", "order", "store", 1, SECRET),
        ("calls_failing", "payment", "charge", 1, SECRET),
    ]
    assert all(one["since"].endswith("+00:00") for one in details)


def test_the_authenticator_is_not_asked_for_a_probe_without_credentials(client: TestClient, keys: Keys) -> None:
    client.get("/readyz")
    assert keys.asked == 0


def test_readyz_answers_also_where_the_authenticator_fails(client: TestClient, keys: Keys) -> None:
    keys.error = True
    answer = client.get("/readyz", headers=OPERATOR)
    assert (answer.status_code, "details" in answer.json()) == (503, False)


def test_a_server_that_trusts_everyone_shows_details_under_its_own_name_alone() -> None:
    app = failing()
    with TestClient(oms.asgi(app), "http://localhost") as client:
        assert len(client.get("/readyz").json()["details"]) == 2
        rebound = client.get("/readyz", headers={"Host": "evil.example"})
        assert (rebound.status_code, "details" in rebound.json()) == (503, False)
    app.stop()


def test_keys_are_not_guessed_at_readyz_faster_than_elsewhere(keys: Keys) -> None:
    app = failing(keys, rate_limit=1)
    with TestClient(oms.asgi(app), "http://localhost") as client:
        for _ in range(50):
            client.get("/readyz", headers={"Authorization": "Bearer wrong"})
        answer = client.get("/readyz", headers=OPERATOR)
        assert answer.status_code == 503, "a probe is always answered"
        assert client.get("/orders").status_code == 429
    app.stop()


def test_metrics_are_for_everybody_unless_the_settings_say_otherwise(keys: Keys) -> None:
    with oms.create(profile="memory", environ={}, authenticator=keys) as app:
        assert TestClient(oms.asgi(app), "http://localhost").get("/metrics").status_code == 200
    with oms.create(profile="memory", environ={}, authenticator=keys, metrics_access="operator") as app:
        client = TestClient(oms.asgi(app), "http://localhost")
        assert client.get("/metrics").json()["code"] == "not_authenticated"
        assert client.get("/metrics", headers={"Authorization": "Bearer of-ann"}).json()["code"] == "not_allowed"
        answer = client.get("/metrics", headers=OPERATOR)
        assert answer.status_code == 200
        responses = client.get("/openapi.json").json()["paths"]["/metrics"]["get"]["responses"]
        assert {"401", "403"} <= responses.keys()


def test_every_condition_has_a_gauge_from_the_start() -> None:
    with oms.create(profile="memory", environ={}) as app:
        text = TestClient(oms.asgi(app), "http://localhost").get("/metrics").text
    for condition in Condition:
        for service in (PROCESS, "order", "inventory", "payment", "notification"):
            assert f'oms_health_problems{{condition="{condition.value}",service="{service}"}} 0.0' in text
