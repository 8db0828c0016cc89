"""A file of an embedded system that is older than the others: its shipments and refunds come back from the others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.bootstrap.operators import reconcile
from oms.bootstrap.repair import repair
from oms.operations import promises
from tests.support.fulfilled_orders import LINES, RefusingGateway

LEASES = {"outbox_lease_s": 1.0, "task_lease_s": 2.0, "payment_timeout_s": 1.0, "webhook_timeout_s": 1.0}
FILES = ("broker", "order", "inventory", "payment", "notification")


class System:
    """A system in a directory, which a test runs, stops and runs again, with one gateway for all its lives."""

    def __init__(self, data: Path) -> None:
        self.data, self.gateway = data, RefusingGateway()
        self.app = self._create()
        self.gateway.clock = self.app.container.clock()

    def _create(self) -> oms.App:
        more: dict[str, Any] = dict(LEASES, default_stock=100)
        return oms.create(
            profile="embedded", environ={}, data=self.data, log_level="error", gateway=self.gateway, **more
        )

    def stop(self) -> None:
        self.app.stop()

    def again(self) -> None:
        self.app = self._create()

    def run(self) -> promises.Report:
        """Run until the system is at rest; threads call the gateway meanwhile. Return the report."""
        until = time.monotonic() + 30
        while True:
            self.app.run()
            report = self.report()
            if report.quiet or time.monotonic() > until:
                return report
            time.sleep(0.01)

    def place(self) -> str:
        order = self.app.orders.place(self.app.draft("ann", "59.97", lines=LINES))
        self.run()
        return order.id

    def refund(self, order_id: str, kind: str, **more: Any) -> oms.OrderRefund:
        made = self.app.orders.refund(oms.RefundOrder.of(order_id, kind, "a test", **more))
        self.run()
        return made

    def ship(self, order_id: str, units: int) -> None:
        self.app.orders.ship(oms.ShipOrder.of(order_id, {"lamp": units}, "DHL", f"T-{units}"))
        self.run()

    def report(self) -> promises.Report:
        return promises.check(
            self.app.evidence,
            self.app.container.codec(),
            now=self.app.container.clock().now(),
            deadline_s=900,
            settle_s=60,
        )


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    yield made
    made.stop()


def story(system: System) -> dict[str, str]:
    """Ship and refund orders, some with refusals and decisions; return the orders by name."""
    parcels, refused, waits, whole, fresh = (system.place() for _ in range(5))
    system.ship(parcels, 1)
    system.refund(parcels, "CANCEL", items={"lamp": 1})
    system.ship(parcels, 1)
    system.refund(parcels, "RETURN", items={"lamp": 1}, restock=True, amount="1.00")
    system.gateway.refuses = True
    made = [system.refund(one, "GOODWILL", amount="5.00") for one in (refused, refused, waits)]
    system.app.orders.cancel(oms.CancelOrder(whole, by_operator=True))
    system.run()
    system.app.orders.retry_payment(refused, made[0].id, "again")
    system.run()
    system.gateway.refuses = False
    system.app.orders.retry_payment(refused, made[0].id, "and again")
    system.app.orders.resolve_payment(refused, made[1].id, "by cheque")
    system.app.orders.retry_payment(whole, "whole", "again")
    system.run()
    return {"parcels": parcels, "refused": refused, "waits": waits, "whole": whole, "fresh": fresh}


def told(system: System, order_id: str) -> Any:
    """What a customer sees of an order, without its dates."""
    order = system.app.orders.get(order_id)
    done = order.fulfilment
    shipments = [(one.id, dict(one.items), one.carrier, one.tracking_number) for one in done.shipments]
    refunds = [(one.id, one.kind, dict(one.items), one.amount, one.state, one.outside) for one in done.refunds]
    return order.state, order.payment, shipments, refunds, done.refusals


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("from_the_beginning", [True, False])
def test_an_older_file_learns_of_shipments_and_refunds(
    system: System, tmp_path: Path, name: str, from_the_beginning: bool
) -> None:
    system.place()
    orders = story(system) if from_the_beginning else {"first": system.place()}
    system.stop()
    shutil.copy(system.data / f"{name}.db", tmp_path / "older.db")
    system.again()
    if not from_the_beginning:
        orders |= story(system)
    else:
        system.ship(orders["fresh"], 2)
        system.refund(orders["parcels"], "GOODWILL", amount="2.00")
        system.app.orders.resolve_payment(
            orders["waits"], system.app.orders.get(orders["waits"]).fulfilment.refunds[0].id, "by cheque"
        )
    report = system.run()
    assert (report.violations, report.quiet, report.parked) == ((), True, 0)
    before = {name: told(system, order_id) for name, order_id in orders.items()}
    calls = len(system.gateway.calls)
    system.stop()
    shutil.copy(tmp_path / "older.db", system.data / f"{name}.db")

    system.again()
    with pytest.raises(oms.OmsError, match="oms repair"):
        system.app.run()
    system.stop()
    system.again()
    repair(system.app)
    system.again()
    report = system.run()
    assert (report.violations, report.quiet, report.parked) == ((), True, 0)
    assert {name: told(system, order_id) for name, order_id in orders.items()} == before
    assert len(system.gateway.calls) == calls, "the gateway may have forgotten the keys"
    assert {one.kind for one in reconcile(system.app.settings)} <= {"refund-refused"}


@pytest.mark.timeout(120)
def test_a_refund_that_only_the_payment_service_knows_is_an_operators(system: System, tmp_path: Path) -> None:
    """No file tells its kind and its reason, and the money has moved."""
    order_id = system.place()
    system.stop()
    for name in ("broker", "order"):
        shutil.copy(system.data / f"{name}.db", tmp_path / f"{name}.db")
    system.again()
    made = system.refund(order_id, "GOODWILL", amount="5.00")
    system.stop()
    for name in ("broker", "order"):
        shutil.copy(tmp_path / f"{name}.db", system.data / f"{name}.db")
    system.again()
    lines = repair(system.app)
    wanted = f"the refund {made.id} of 5.00 USD isn't known to the order {order_id}"
    assert any("an operator has to decide" in line and wanted in line for line in lines), lines


@pytest.mark.timeout(120)
def test_shipped_units_that_went_to_another_order_are_an_operators(system: System, tmp_path: Path) -> None:
    system.app.stock.set("lamp", 3)
    system.run()
    system.stop()
    shutil.copy(system.data / "inventory.db", tmp_path / "older.db")
    system.again()
    first = system.place()
    system.ship(first, 3)
    system.stop()
    shutil.copy(tmp_path / "older.db", system.data / "inventory.db")
    system.again()
    system.app.container.files().repairing = True
    system.app.stock.set("lamp", 0)
    system.stop()
    system.again()
    lines = repair(system.app)
    wanted = f"the stock of the order {first} went to other orders, and it was shipped or refunded"
    assert any("an operator has to decide" in line and wanted in line for line in lines), lines
