"""The defaults that decide about orders: stock of unknown products, the simulated gateway, and who sets the price."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

import oms
from oms.adapters.auth.keys_file import new_key
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.settings import changed, load_settings
from oms.testing import Shop

CHANGED = "default stock changed"


@pytest.fixture(params=["memory", "embedded"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"profile": request.param, "data": tmp_path, "environ": {}, "log_level": "error"}


def ended(app: oms.App, *skus: str) -> str:
    """Place an order in a running system and return the state in which it settles."""
    order = app.orders.place(app.draft("ann", "5.00", dict.fromkeys(skus, 1)))
    until = time.monotonic() + 30
    while not (found := app.orders.get(order.id).state).settled:
        assert time.monotonic() < until
        time.sleep(0.01)
    return found.value


def test_an_order_of_an_unknown_product_is_rejected(system: dict[str, Any]) -> None:
    with oms.create(**system) as app:
        app.stock.set("apple", 2)
        assert ended(app, "apple") == "CONFIRMED"
        assert ended(app, "apple", "typo") == "REJECTED"
        assert [stock.sku for stock in app.stock.page().content] == ["apple"], "the order introduced no product"


def test_the_simulated_gateway_captures_every_charge_by_default(system: dict[str, Any]) -> None:
    with oms.create(**system) as app:
        app.stock.set("apple", 1000)
        assert {ended(app, "apple") for _ in range(30)} == {"CONFIRMED"}


@pytest.mark.parametrize(
    ("environ", "units"),
    [
        ({}, None),
        ({"OMS_DEFAULT_STOCK": "7"}, 7),
        ({"OMS_HTTP_COMPAT": "spring"}, 100),
        ({"OMS_HTTP_COMPAT": "spring", "OMS_DEFAULT_STOCK": ""}, None),
        ({"OMS_HTTP_COMPAT": "spring", "OMS_DEFAULT_STOCK": "7"}, 7),
    ],
)
def test_the_default_is_empty_and_that_of_the_spring_system_100(environ: dict[str, str], units: int | None) -> None:
    assert load_settings(environ).default_stock == units


def test_spring_by_keyword_is_100_as_well() -> None:
    assert load_settings({}, http_compat="spring").default_stock == 100
    assert changed(oms.Settings(), http_compat="spring").default_stock == 100
    assert changed(oms.Settings(), http_compat="spring", default_stock=None).default_stock is None
    assert changed(oms.Settings(default_stock=3), http_compat="spring").default_stock == 3


def test_a_shop_has_100_units_of_each_product_unless_told_otherwise() -> None:
    for shop, state in ((Shop(), "CONFIRMED"), (Shop(default_stock=None), "REJECTED")):
        order = shop.place({"apple": 100})
        shop.run()
        assert shop.status(order) == state
        shop.close()


def started(directory: Path, **given: Any) -> list[str]:
    """Start and stop a system; return the warnings about its default stock."""
    telemetry = RecordingTelemetry()
    app = oms.create(profile="embedded", environ={}, data=directory, telemetry=telemetry, **given)
    app.run()
    app.stop()
    return [str(failure.fields["detail"]) for failure in telemetry.failures if failure.event == CHANGED]


def forget(directory: Path, *names: str) -> None:
    """Make the inventory's store one of a version that recorded less."""
    with create_engine(f"sqlite:///{directory}/inventory.db").begin() as connection:
        for name in names:
            connection.execute(text("DELETE FROM pinned WHERE name = :name"), {"name": name})


def test_a_new_store_records_it_and_warns_of_nothing(tmp_path: Path) -> None:
    assert [started(tmp_path) for _ in range(2)] == [[], []]
    forget(tmp_path, "currency")
    assert started(tmp_path) == [], "the recorded value decides"


@pytest.mark.parametrize("forgotten", [["default_stock"], ["default_stock", "currency"]])
def test_a_store_from_before_warns_once_and_names_the_change(tmp_path: Path, forgotten: list[str]) -> None:
    with oms.create(profile="embedded", environ={}, data=tmp_path, default_stock=100, log_level="error") as app:
        assert ended(app, "apple") == "CONFIRMED"
    forget(tmp_path, *forgotten)
    (warning,) = started(tmp_path)
    assert warning.startswith("OMS_DEFAULT_STOCK was 100 by default and is empty now")
    assert "set OMS_DEFAULT_STOCK=100" in warning
    assert started(tmp_path) == []


def test_a_store_from_before_with_the_setting_given_warns_of_nothing(tmp_path: Path) -> None:
    started(tmp_path)
    forget(tmp_path, "default_stock")
    assert started(tmp_path, default_stock=100) == []


def test_who_only_looks_at_a_new_store_records_nothing(tmp_path: Path) -> None:
    app = oms.create(profile="embedded", environ={}, data=tmp_path, log_level="error")
    assert app.system.inventory.service.store.default_stock() is None  # type: ignore[attr-defined]
    app.stop()


PRICES = "prices are set by customers"


class OwnPricing(oms.Pricing):
    def price(self, terms: oms.Terms) -> oms.Money:
        return terms.total


class Anyone(oms.Authenticator):
    def authenticate(self, headers: Any) -> oms.Principal | None:
        return None


def keys(tmp_path: Path, *roles: oms.Role) -> Path:
    users = {oms.Role.CUSTOMER: "ann"}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([new_key("key", role, users.get(role))[1] for role in roles]))
    return file


@pytest.mark.parametrize(
    ("roles", "given", "warned"),
    [
        ([], {}, False),
        ([oms.Role.OPERATOR], {}, False),
        ([oms.Role.OPERATOR, oms.Role.CUSTOMER], {}, True),
        ([oms.Role.CUSTOMER], {"pricing": OwnPricing()}, False),
        ([oms.Role.CUSTOMER], {"services": ["payment"]}, False),
        ([], {"authenticator": Anyone()}, True),
    ],
)
def test_the_start_warns_where_customers_set_their_own_prices(
    system: dict[str, Any], tmp_path: Path, roles: list[oms.Role], given: dict[str, Any], warned: bool
) -> None:
    file = {"api_keys_file": keys(tmp_path, *roles)} if roles else {}
    telemetry = RecordingTelemetry()
    with oms.create(**system, **file, **given, telemetry=telemetry):
        pass
    found = [failure for failure in telemetry.failures if failure.event == PRICES]
    assert len(found) == warned
    assert all("OMS_PRICING" in str(failure.fields["detail"]) for failure in found)
