"""Idempotency keys over HTTP, with a policy that takes part in each decision."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import oms
from oms.entrypoints.http import request_waits

ORDER = {"userId": "ann", "amount": 5, "items": {"apple": 1}}
KEY = {"Idempotency-Key": "k"}


class Guard:
    """A policy that returns when the test lets it."""

    def __init__(self) -> None:
        self.refuses, self.asked = False, 0
        self.open = threading.Event()
        self.open.set()

    def check(self, _terms: oms.Terms, _caller: oms.Principal) -> None:
        self.asked += 1
        assert self.open.wait(20)
        if self.refuses:
            raise oms.Refused("too_many", "enough for today")


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture(params=["memory", "embedded"])
def client(request: pytest.FixtureRequest, tmp_path: Path, guard: Guard) -> Iterator[TestClient]:
    with (
        oms.create(profile=request.param, data=tmp_path, environ={}, policy=guard, log_level="error") as app,
        TestClient(oms.asgi(app), "http://localhost", raise_server_exceptions=False) as made,
    ):
        yield made


def test_a_repeat_gets_the_first_answer(client: TestClient, guard: Guard) -> None:
    first = client.post("/orders", json=ORDER, headers=KEY)
    guard.refuses = True
    again = client.post("/orders", json=ORDER, headers=KEY)

    assert (again.status_code, again.json(), again.headers["location"]) == (
        201,
        first.json(),
        first.headers["location"],
    )
    assert client.post("/orders", json=ORDER).json()["code"] == "too_many"


def test_a_refusal_is_the_answer_too(client: TestClient, guard: Guard) -> None:
    guard.refuses = True
    first = client.post("/orders", json=ORDER, headers=KEY)
    guard.refuses = False
    again = client.post("/orders", json=ORDER, headers=KEY)

    assert (first.status_code, first.json()["code"]) == (403, "too_many")
    assert (again.status_code, again.json()) == (403, first.json())
    assert client.get("/orders").json()["totalElements"] == 0


def test_a_repeat_waits_for_the_first_one_also_while_the_shop_is_asked(client: TestClient, guard: Guard) -> None:
    guard.open.clear()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(client.post, "/orders", json=ORDER, headers=KEY) for _ in range(4)]
        time.sleep(0.2)
        guard.open.set()
    assert {answer.result().json()["id"] for answer in answers} == {answers[0].result().json()["id"]}
    assert guard.asked == 1


def test_a_repeat_doesnt_wait_for_ever(client: TestClient, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_waits, "IN_FLIGHT_S", 0.1)
    guard.open.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/orders", json=ORDER, headers=KEY)
        until = time.monotonic() + 10
        while not guard.asked and time.monotonic() < until:
            time.sleep(0.01)
        second = client.post("/orders", json=ORDER, headers=KEY)
        guard.open.set()
    assert (second.status_code, second.json()["code"]) == (409, "request_in_flight")
    assert second.headers["retry-after"] == "1"
    assert first.result().status_code == 201
