from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from starlette.testclient import TestClient

import oms

CALLERS = {
    "owner": oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann")),
    "stranger": oms.Principal(oms.Role.CUSTOMER, oms.UserId("bob")),
    "operator": oms.Principal(oms.Role.OPERATOR),
}


class Known(oms.Authenticator):
    """Whoever says so in a header."""

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal | None:
        return CALLERS.get(headers.get("x-caller", ""))


@pytest.fixture
def app() -> Iterator[oms.App]:
    with oms.create(profile="memory", environ={}, authenticator=Known(), default_stock=100, log_level="error") as made:
        yield made


@pytest.fixture
def client(app: oms.App) -> Iterator[TestClient]:
    with TestClient(oms.asgi(app), "http://localhost", raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def open_client() -> Iterator[TestClient]:
    with (
        oms.create(profile="memory", environ={}, default_stock=100, log_level="error") as app,
        TestClient(oms.asgi(app), "http://localhost", raise_server_exceptions=False) as made,
    ):
        yield made
