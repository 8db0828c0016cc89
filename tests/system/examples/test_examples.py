"""Every example is run, and type-checked as a user would."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.testing.contracts.gateway import GatewayContract
from tests.support.files import EXAMPLES


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_embed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = importlib.import_module("embed").main(str(tmp_path))

    assert order.state.value == "CONFIRMED"
    assert "38 cups are left" in capsys.readouterr().out


def test_joined_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example, oms = importlib.import_module("joined_order"), importlib.import_module("oms")
    app = oms.create(environ={}, profile="embedded", data=tmp_path)
    example.main(app, example.sqlite_engine(tmp_path / "order.db"))

    output = capsys.readouterr().out
    assert "the invoice failed (IntegrityError)" in output
    assert "of 1 order(s)" in output


def test_own_gateway() -> None:
    assert importlib.import_module("own_gateway").main() == {"ann": "CANCELLED", "bob": "CANCELLED"}


def test_own_gateway_moves_the_money_back() -> None:
    gateway = importlib.import_module("own_gateway").WalletGateway({"ann": 100_00})
    shop_type = importlib.import_module("oms.testing").Shop
    shop = shop_type(gateway=gateway)
    order = shop.place(amount=30, user="ann")
    shop.run()
    assert gateway.balances == {"ann": 70_00}
    shop.cancel(order, by_operator=True)
    shop.run()
    assert gateway.balances == {"ann": 100_00}


def test_own_service() -> None:
    on_the_road, states = importlib.import_module("own_service").main()

    assert on_the_road == ["parcel-1 to 1 Quay"]
    assert states == {"kept": "CONFIRMED", "sent back": "CANCELLED"}


def test_own_service_books_each_parcel_once_however_often_messages_come() -> None:
    shipping = importlib.import_module("shipping")
    shop_type = importlib.import_module("oms.testing").Shop
    carrier, shop = shipping.PaperCarrier(), shop_type()
    shipping.subscribe(shop.app, carrier)
    shop.place({"lamp": 1})
    shop.run()
    for record in [record for record in shop.log.all_records() if record.topic != "shipping.booked"]:
        shop.publish(record.topic, record.value, record.key, record.headers)
    shop.run()

    assert carrier.calls == 1
    assert len(shop.published("shipping.booked")) == 1


def test_own_service_cancelled_before_it_was_confirmed() -> None:
    shipping = importlib.import_module("shipping")
    shop_type = importlib.import_module("oms.testing").Shop
    carrier, shop = shipping.PaperCarrier(), shop_type()
    shipping.subscribe(shop.app, carrier)
    body = b'{"orderId":"o","userId":"u","totalAmount":1,"reason":"OPERATOR"}'
    shop.publish("order.cancelled", body)
    shop.run()
    shop.publish("order.confirmed", b'{"orderId":"o","userId":"u","totalAmount":1,"items":{"lamp":1}}')
    shop.run()

    assert carrier.on_the_road == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("test_shipping.py", 4), ("test_card_gateway.py", 39)])
def test_the_tests_of_the_examples(name: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{count} passed" in done.stdout


class TestWallets(GatewayContract):
    """The gateway of own_gateway.py keeps the contract of gateways."""

    can_lose_answers = can_lose_refund_answers = can_refuse_refunds = can_reopen = shows_a_book = False

    @pytest.fixture
    def gateway(self) -> Any:
        return importlib.import_module("own_gateway").WalletGateway({"customer-1": 10**9})

    def decline(self, gateway: Any, charge: oms.Charge) -> oms.Charge:
        return attrs.evolve(charge, user_id=oms.UserId("nobody"))


def test_fastapi_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    sys.modules.pop("fastapi_app", None)
    with TestClient(importlib.import_module("fastapi_app").api, "http://localhost") as client:
        gift = client.post("/gifts/ann").json()
        until = time.monotonic() + 20
        while (found := client.get(f"/shop/orders/{gift['order']}").json())["status"] != "CONFIRMED":
            assert time.monotonic() < until, found
            time.sleep(0.02)
        assert found["userId"] == "ann"
        assert found["metadata"] == {"campaign": "spring"}


@pytest.mark.slow
def test_the_examples_are_clean_under_mypy_strict() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental", "."],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_simulator_finds_the_mistake_of_the_first_try_and_makes_it_small() -> None:
    own, search, sim = (importlib.import_module(f"oms.testing.sim.{name}") for name in ("own", "search", "campaign"))
    scenarios = importlib.import_module("own_service")
    player = search.player_of(own.scenario_of(scenarios.hasty))
    done = sim.campaign(search.swarm(range(1000), None, player))
    report = sim.report_of(done.first, player, budget=100)

    assert "shipped twice" in str(report.outcome.violations[0])
    assert len(report.outcome.deviations) == 1
    assert (
        sim.campaign(search.swarm(range(60), None, search.player_of(own.scenario_of(scenarios.simulated)))).first
        is None
    )


@pytest.mark.slow
def test_the_simulator_finds_nothing_in_the_step_as_it_is() -> None:
    own, search, sim = (importlib.import_module(f"oms.testing.sim.{name}") for name in ("own", "search", "campaign"))
    player = search.player_of(own.scenario_of(importlib.import_module("own_service").simulated))

    assert sim.campaign(search.swarm(range(2000), None, player)).first is None
