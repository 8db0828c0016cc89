"""A system written by the version before shipments and refunds goes on after an upgrade, and ships what it confirmed.

The SQL files are dumps of that version's databases: two confirmed orders, one that was cancelled after its
confirmation, one that was rejected, and one that had just been placed, whose deadline was moved to the year 2100.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs
import pytest

import oms
from oms.adapters.sql import factory
from oms.adapters.sql.postgres.database import postgres_database, setup_database
from oms.adapters.sql.provisioning.migrate import migrate, version
from oms.adapters.system.clock import SystemIds
from oms.domain.order_table import OrderPayment
from oms.testing import Shop
from tests.support.own_postgres import OwnPostgres

HERE = Path(__file__).parent
SERVICES = ("order", "inventory", "payment", "notification")
SETTINGS = oms.Settings(profile="memory", currency="EUR", default_stock=10, payment_success_rate=1.0)
Settle = Callable[[Callable[[], bool]], object]
"""Runs a system until a condition holds."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of an embedded system, as the previous version left it."""
    for dump in sorted((HERE / "embedded").glob("*.sql")):
        with closing(sqlite3.connect(tmp_path / f"{dump.stem}.db")) as connection:
            connection.executescript(dump.read_text())
    return tmp_path


def test_an_embedded_system_goes_on(directory: Path) -> None:
    settings = attrs.evolve(SETTINGS, profile="embedded", data=directory)
    app = oms.create(settings)
    assert orders_of(app)["dan"].state is oms.OrderState.CREATED, "read before any service runs"
    with app:
        ship_and_refund(app, partial(settle, app))
    with oms.create(settings) as app:
        assert_shipped(app)
    assert oms.verify(settings).violations == ()


def settle(app: oms.App, done: Callable[[], bool]) -> None:
    """Run the services as time passes: the relay looks for rows of an earlier process only now and then."""
    until = time.monotonic() + 30
    while app.run() or not done():
        assert time.monotonic() < until, orders_of(app)
        time.sleep(0.02)


class Gateway(oms.PaymentGateway):
    """Captures and refunds everything."""

    def charge(self, charge: oms.Charge) -> oms.Captured:
        return oms.Captured(charge.key)

    def lookup(self, lookup: oms.Lookup) -> oms.Captured:
        return oms.Captured(lookup.key)

    def void(self, void: oms.Void) -> oms.Voided:
        return oms.Voided()

    def refund(self, refund: oms.Refund) -> oms.Refunded:
        return oms.Refunded()


@pytest.mark.servers
def test_databases_on_postgresql_go_on() -> None:
    with OwnPostgres() as server:
        login = server.new_database("shop")
        with login.connect() as connection:
            connection.execute((HERE / "postgres.sql").read_bytes())
        stores = {}
        for name in SERVICES:
            database = setup_database(login, f"oms_{name}")
            before = version(database)
            migrate(database, name)
            assert version(database) != before
            database.close()
            stores[name] = factory.store_in(postgres_database(login, f"oms_{name}"), name, SystemIds())
        shop = Shop(settings=SETTINGS, stores=stores, gateway=Gateway(), ids=SystemIds())
        ship_and_refund(shop.app, lambda done: shop.run() or done())
        assert_shipped(shop.app)
        assert shop.parked() == []
        shop.close()
        for store in stores.values():
            store.close()


def ship_and_refund(app: oms.App, settle: Settle) -> None:
    """One order in two parcels with a cancelled line, another one with a return."""
    settle(lambda: orders_of(app)["dan"].state.settled)
    orders = orders_of(app)
    states = {user: order.state.value for user, order in orders.items()}
    confirmed = dict.fromkeys(("ann", "bob", "dan"), "CONFIRMED")
    assert states == {**confirmed, "cem": "CANCELLED", "eve": "REJECTED"}
    assert {orders[user].payment for user in confirmed} == {OrderPayment.CAPTURED}
    ann, bob = orders["ann"].id, orders["bob"].id
    app.orders.ship(oms.ShipOrder.of(ann, {"lamp": 2}, carrier="DHL"))
    app.orders.refund(oms.RefundOrder.of(ann, "CANCEL", "out of stock", items={"lamp": 1}, amount="10.00"))
    app.orders.ship(oms.ShipOrder.of(ann))
    app.orders.ship(oms.ShipOrder.of(bob))
    app.orders.refund(oms.RefundOrder.of(bob, "RETURN", "broken", amount="10.00", restock=True))
    settle(lambda: all(paid(orders_of(app)[user]) for user in ("ann", "bob")))


def paid(order: oms.Order) -> bool:
    return [refund.state.value for refund in order.fulfilment.refunds] == ["PAID"]


def assert_shipped(app: oms.App) -> None:
    """Check orders and stock: of ten lamps the three orders keep three, of ten desks one."""
    orders = orders_of(app)
    for user, shipments in (("ann", 2), ("bob", 1)):
        order = orders[user]
        assert (order.state, len(order.fulfilment.shipments)) == (oms.OrderState.COMPLETED, shipments)
        assert paid(order)
    assert {sku: app.stock.get(sku).on_hand for sku in ("lamp", "desk")} == {"lamp": 7, "desk": 9}


def orders_of(app: oms.App) -> Mapping[str, oms.Order]:
    """Return the order of each customer."""
    return {order.agreed.user_id: order for order in app.orders.page().content}
