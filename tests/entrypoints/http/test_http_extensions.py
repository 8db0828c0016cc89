"""Whatever an extension does, a request gets a response with a body, and no caller is accepted by mistake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms

HALF = json.loads('"half \\ud83d"')
ORDER = {"userId": "ann", "amount": 1, "items": {"x": 1}}


class Own:
    def __init__(self, act: Callable[..., Any]) -> None:
        self.price = self.check = self.authenticate = lambda *given: act(*given)


def fail(error: BaseException) -> Callable[..., Any]:
    def raising(*_: Any) -> Any:
        raise error

    return raising


async def later(*_: Any) -> None: ...


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.fixture
def posted() -> Callable[..., list[Any]]:
    def post(**given: Any) -> list[Any]:
        """Two answers to the same request under one key."""
        with (
            oms.create(profile="memory", environ={}, log_level="error", **given) as app,
            TestClient(oms.asgi(app), "http://localhost", raise_server_exceptions=False) as client,
        ):
            return [client.post("/orders", json=ORDER, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    return post


@pytest.mark.parametrize(("code", "detail"), [("fraud", HALF), (HALF, "no"), ("a\0", "b\0"), (5, None)])
def test_a_hostile_refusal_is_a_403_with_a_body_again_under_its_key(posted: Any, code: Any, detail: Any) -> None:
    first, second = posted(policy=Own(fail(oms.Refused(code, detail))))
    assert first.status_code == second.status_code == 403
    assert first.json() == second.json()
    assert first.json()["type"] == f"urn:oms:problem:{first.json()['code']}"


@pytest.mark.parametrize("price", [lambda _: None, lambda _: 3.5, lambda _: oms.Money.of(1, oms.Currency.of("JPY"))])
def test_a_wrong_total_is_a_422(posted: Any, price: Any) -> None:
    first, second = posted(pricing=Own(price))
    assert first.status_code == second.status_code == 422
    assert first.json() == second.json()
    assert "pricing.price: expected" in first.json()["detail"]


@pytest.mark.parametrize("act", [later, fail(Mute()), fail(ValueError(HALF)), fail(SystemExit(1))])
@pytest.mark.parametrize("argument", ["pricing", "policy"])
def test_a_failing_extension_is_a_500_with_a_body(posted: Any, argument: str, act: Any) -> None:
    for answer in posted(**{argument: Own(act)}):
        assert answer.status_code == 500
        assert answer.json()["code"] == "internal_error"


@pytest.mark.parametrize(
    "act",
    [
        later,
        lambda _: "ann",
        lambda _: True,
        lambda _: oms.Role.OPERATOR,
        lambda _: oms.Principal(oms.Role.CUSTOMER),
        lambda _: oms.Principal(oms.Role.CUSTOMER, oms.UserId("a b")),
        lambda _: oms.Principal(oms.Role.CUSTOMER, oms.UserId(HALF)),
        lambda _: oms.Principal("operator"),  # type: ignore[arg-type]
        fail(Mute()),
        fail(ValueError(HALF)),
        fail(SystemExit(1)),
        fail(asyncio.CancelledError()),
    ],
)
def test_an_authenticator_that_fails_lets_nobody_in(posted: Any, act: Any) -> None:
    for answer in posted(authenticator=Own(act)):
        assert answer.status_code == 503
        assert answer.json()["code"] == "unavailable"


def test_an_authenticator_that_knows_nobody_is_a_401(posted: Any) -> None:
    assert [answer.status_code for answer in posted(authenticator=Own(lambda _: None))] == [401, 401]
