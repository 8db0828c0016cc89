"""An authenticator, pricing or policy that hangs costs its own requests an answer, and no others."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms
from oms.entrypoints.http.extension_calls import MOST_HUNG, THREADS

ORDER = {"userId": "ann", "amount": 1, "items": {"apple": 1}}


class Hanging(oms.Pricing, oms.Policy, oms.Authenticator):
    """Hangs on request, until `release` is set."""

    def __init__(self, part: str) -> None:
        self.part, self.release = part, threading.Event()

    def _maybe(self, part: str) -> None:
        if part == self.part:
            self.release.wait(20)

    def price(self, terms: oms.Terms) -> oms.Money:
        self._maybe("pricing")
        return terms.total

    def check(self, _terms: oms.Terms, _caller: oms.Principal) -> None:
        self._maybe("policy")

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal:
        if "x-hang" in headers:
            self._maybe("authenticator")
        return oms.Principal(oms.Role.TRUSTED)


@pytest.fixture(params=["pricing", "policy", "authenticator"])
def hanging(request: pytest.FixtureRequest) -> Iterator[Hanging]:
    made = Hanging(request.param)
    yield made
    made.release.set()


@pytest.fixture
def client(hanging: Hanging) -> Iterator[TestClient]:
    settings: dict[str, Any] = {"profile": "memory", "environ": {}, "log_level": "error", "call_timeout_s": 0.3}
    plugs = {"pricing": hanging, "policy": hanging, "authenticator": hanging}
    with (
        oms.create(**settings, **plugs) as app,
        TestClient(oms.asgi(app), raise_server_exceptions=False) as made,
    ):
        yield made


def place(client: TestClient, _number: int = 0) -> int:
    return client.post("/orders", json=ORDER, headers={"x-hang": "1"}).status_code


def test_what_hangs_is_answered_503_and_other_requests_are_served(client: TestClient, hanging: Hanging) -> None:
    with ThreadPoolExecutor(32) as pool:
        hung = [pool.submit(place, client) for _ in range(MOST_HUNG - 4)]
        assert client.get("/orders").status_code == 200, "reads have threads of their own"
        assert client.get("/readyz").status_code == 200
        assert {one.result() for one in hung} == {503}
        assert {one.result() for one in [pool.submit(place, client) for _ in range(8)]} == {503}

    assert place(client) == 503, "while so many hang, no further one is called"
    hanging.release.set()
    for _ in range(100):
        if (status := place(client)) != 503:
            break
    assert status == 201


def test_the_number_of_threads_that_hang_is_bounded(client: TestClient) -> None:
    before = threading.active_count()
    for _ in range(3):
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(lambda number: place(client, number), range(16))) == {503}
    assert threading.active_count() - before <= THREADS + MOST_HUNG + 4
