"""A copy of a running system, file by file at different moments: found at the start, and made to agree by the repair."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest

import oms
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.sql.factory import read_only
from oms.adapters.system.clock import SystemClock
from oms.bootstrap.repair import repair

LEASES = {"outbox_lease_s": 1.0, "task_lease_s": 2.0, "payment_timeout_s": 1.0, "webhook_timeout_s": 1.0}
FILES = ("broker", "order", "inventory", "payment", "notification", "gateway")
SETTLED = {"CONFIRMED", "CANCELLED", "REJECTED"}


def create(directory: Path, **given: Any) -> oms.App:
    given = {**LEASES, **given}
    return oms.create(profile="embedded", environ={}, data=directory, log_level="error", **given)


def orders_in(data: Path) -> dict[str, str]:
    store = read_only("order", data / "order.db", SystemClock())
    found = {order.id: order.state.value for order in store.all_orders() if order.state.value != "ABSENT"}
    store.close()
    return found


def copied(source: Path, target: Path) -> None:
    """One file as it is at this moment, whatever becomes of the others."""
    with closing(connect(source)) as reader, closing(connect(target)) as writer:
        reader.backup(writer)


class Traffic:
    """A running system, whose customers order and cancel until `stop`."""

    def __init__(self, directory: Path, seed: int, stock: int) -> None:
        self.app = create(directory, default_stock=stock)
        self._random, self._stopped = random.Random(seed), threading.Event()
        self._threads = [threading.Thread(target=self._order, args=(seed + n,), daemon=True) for n in range(4)]

    def __enter__(self) -> Traffic:
        self.app.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
        self.app.stop()

    def _order(self, seed: int) -> None:
        rng = random.Random(seed)
        with suppress(oms.Retryable):
            while not self._stopped.is_set():
                items = {f"sku-{rng.randrange(4)}": rng.randrange(1, 3)}
                order = self.app.orders.place(self.app.draft(f"user-{rng.randrange(9)}", rng.randrange(1, 50), items))
                if rng.random() < 0.3:
                    time.sleep(rng.random() * 0.02)
                    with suppress(oms.Conflict):
                        self.app.orders.cancel(oms.CancelOrder(order.id, by_operator=rng.random() < 0.5))


def settled(data: Path) -> oms.Report:
    app = create(data)
    app.start()
    until = time.monotonic() + 60
    while set(orders_in(data).values()) - SETTLED:
        assert time.monotonic() < until, orders_in(data)
        time.sleep(0.05)
    while True:
        report = oms.verify(app.settings)
        if report.quiet or time.monotonic() > until:
            break
        time.sleep(0.1)
    app.stop()
    return report


def refusal(data: Path) -> str | None:
    app = create(data)
    try:
        app.run()
    except oms.OmsError as error:
        return str(error)
    finally:
        app.stop()
    return None


def worked(data: Path, seed: int) -> None:
    """One life of a system, which ends well."""
    with Traffic(data, seed, 10**6):
        before = len(orders_in(data)) if (data / "order.db").exists() else 0
        while not (data / "order.db").exists() or len(orders_in(data)) < before + 10:
            time.sleep(0.02)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["broker", "order"])
def test_an_older_file_is_repaired(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    worked(data, 1)
    shutil.copy(data / f"{name}.db", tmp_path / "older.db")
    worked(data, 2)
    shutil.copy(tmp_path / "older.db", data / f"{name}.db")
    message = refusal(data)
    assert message is not None
    assert "oms repair" in message
    repair(create(data))
    report = settled(data)
    assert report.whole, report.violations
    assert report.quiet


@pytest.mark.timeout(120)
def test_money_that_no_payment_knows_of_goes_back(tmp_path: Path) -> None:
    """The order is cancelled, the gateway has captured, and the log and the payment service know neither."""
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    with create(tmp_path / "data", payment_success_rate=1.0, default_stock=10) as app:
        data = app.settings.data

        def copy_now(*names: str) -> None:
            for name in names:
                copied(data / f"{name}.db", copy / f"{name}.db")

        def wait_for(state: str) -> None:
            until = time.monotonic() + 30
            while orders_in(data) != {order.id: state}:
                assert time.monotonic() < until, orders_in(data)
                time.sleep(0.02)

        copy_now("broker", "inventory", "payment", "notification")
        order = app.orders.place(app.draft("ann", 5, {"apple": 1}))
        wait_for("CONFIRMED")
        copy_now("gateway")
        app.orders.cancel(oms.CancelOrder(order.id, by_operator=True))
        wait_for("CANCELLED")
        copy_now("order")
    assert refusal(copy) is not None
    repair(create(copy, default_stock=10))
    report = settled(copy)
    assert report.whole, report.violations
    assert report.quiet


def test_a_copy_of_one_moment_starts(tmp_path: Path) -> None:
    """As a snapshot of the file system makes one: the files are elsewhere, and agree."""
    app = create(tmp_path / "data")
    app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for name in FILES:
        copied(tmp_path / "data" / f"{name}.db", copy / f"{name}.db")
    app.stop()
    for expected in (1, 0):
        telemetry = RecordingTelemetry()
        app = create(copy, telemetry=telemetry)
        app.run()
        app.stop()
        assert sum(line.event == "copy of a running system checked" for line in telemetry.notes) == expected


def test_a_damaged_copy_is_refused_and_not_repaired(tmp_path: Path) -> None:
    app = create(tmp_path / "data")
    for _ in range(20):
        app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    (tmp_path / "copy").mkdir(mode=0o700)
    for name in FILES:
        copied(tmp_path / "data" / f"{name}.db", tmp_path / "copy" / f"{name}.db")
    app.stop()
    path = tmp_path / "copy" / "order.db"
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    for act in (lambda: create(tmp_path / "copy").run(), lambda: repair(create(tmp_path / "copy"))):
        with pytest.raises(oms.OmsError, match=r"order\.db"):
            act()


def test_a_system_in_order_stays_as_it_is(tmp_path: Path) -> None:
    app = create(tmp_path / "data")
    app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    app.stop()
    before = orders_in(tmp_path / "data")
    assert [line.split()[1] for line in repair(create(tmp_path / "data"))] == ["messages"], "looked at again"
    assert orders_in(tmp_path / "data") == before


def test_there_is_nothing_to_repair(tmp_path: Path) -> None:
    with pytest.raises(oms.SettingsError, match="there is no system"):
        repair(create(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stock", [10**6, 60])
def test_a_torn_copy_is_refused_repaired_and_whole(tmp_path: Path, stock: int) -> None:
    seed = int(os.environ.get("OMS_TEST_SEED", random.randrange(10**6)))
    print(f"OMS_TEST_SEED={seed}")
    rng = random.Random(seed)
    copies: list[Path] = []
    with Traffic(tmp_path / "data", seed, stock) as traffic:
        source = traffic.app.settings.data
        while len(orders_in(source)) < 20:
            time.sleep(0.02)
        for number in range(4):
            copy = tmp_path / f"copy-{number}"
            copy.mkdir(mode=0o700)
            for name in rng.sample(FILES, len(FILES)):
                copied(source / f"{name}.db", copy / f"{name}.db")
                time.sleep(rng.random() * 0.1)
            copies.append(copy)
    refused = 0
    for copy in copies:
        message = refusal(copy)
        if message is not None:
            refused += 1
            assert "oms repair" in message
            assert refusal(copy) == message, "a second start is refused like the first one"
            repair(create(copy))
        report = settled(copy)
        assert report.whole, report.violations
        assert report.quiet
    assert refused, "no copy was of different moments"
