"""A backup of a running system is of one moment; a restored one goes on where it was."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.adapters.sql.factory import read_only
from oms.adapters.system.clock import SystemClock
from oms.bootstrap.backups import back_up, restore
from oms.entrypoints.cli import main

LEASES = {"outbox_lease_s": 1.0, "task_lease_s": 2.0, "payment_timeout_s": 1.0, "webhook_timeout_s": 1.0}
"""A copy contains the leases of the process that ran meanwhile; they must expire before another process takes over."""


def create(directory: Path, **given: Any) -> oms.App:
    given = {**LEASES, **given}
    return oms.create(profile="embedded", environ={}, data=directory, log_level="error", **given)


def settings(directory: Path) -> oms.Settings:
    return create(directory).settings


def place(app: oms.App, count: int) -> None:
    for number in range(count):
        app.orders.place(app.draft(f"user-{number}", 5, {f"sku-{number % 5}": 1}))


@pytest.fixture
def idle(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    app = create(data)
    place(app, 3)
    app.run()
    app.stop()
    return data


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[oms.App]:
    """A system on its threads, with orders being placed all the time."""
    app = create(tmp_path / "data", default_stock=10**6)
    stopped = threading.Event()

    def load() -> None:
        with suppress(oms.Retryable):  # the system was stopped
            while not stopped.is_set():
                place(app, 10)

    with app:
        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        yield app
        stopped.set()
        thread.join(30)


def orders_in(data: Path) -> dict[str, str]:
    store = read_only("order", data / "order.db", SystemClock())
    found = {order.id: order.state.value for order in store.all_orders()}
    store.close()
    return found


def settled(data: Path) -> dict[str, str]:
    """Start a system, let it work until nothing moves, and hold it against every promise."""
    app = create(data)
    app.start()
    until = threading.Event()
    while set(orders_in(data).values()) - {"CONFIRMED", "CANCELLED", "REJECTED"}:
        until.wait(0.05)
    app.stop()
    app = create(data)
    app.run()
    app.stop()
    report = oms.verify(app.settings)
    assert report.whole, report.violations
    assert report.quiet
    return orders_in(data)


def line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("oms: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.timeout(120)
def test_each_backup_of_a_busy_system_settles(busy: oms.App, tmp_path: Path) -> None:
    """No file is ahead of another: nothing is refused, every order settles, and every promise holds."""
    known: list[dict[str, str]] = []
    for number in range(3):
        seen = len(orders_in(busy.settings.data))
        while len(orders_in(busy.settings.data)) < seen + 30:
            threading.Event().wait(0.01)
        back_up(busy.settings, tmp_path / f"backup-{number}")
        known.append(orders_in(tmp_path / f"backup-{number}"))
    busy.stop()
    assert known[0].keys() < known[1].keys() < known[2].keys()
    assert any(set(one.values()) - {"CONFIRMED", "CANCELLED"} for one in known), "orders are under way"
    for number, one in enumerate(known):
        restore(settings(tmp_path / f"again-{number}"), tmp_path / f"backup-{number}")
        assert settled(tmp_path / f"again-{number}").keys() == one.keys()


def test_files_of_a_backup_are_private(idle: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        back_up(settings(idle), tmp_path / "backup")
        restore(settings(tmp_path / "again"), tmp_path / "backup")
    finally:
        os.umask(before)
    for directory in (tmp_path / "backup", tmp_path / "again"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_an_idle_system_is_the_same_afterwards(idle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["backup", str(tmp_path / "backup"), "--data", str(idle)],
        ["verify", "--data", str(tmp_path / "backup")],
        ["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "again")],
        ["verify", "--data", str(tmp_path / "again")],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0, capsys.readouterr()
    assert orders_in(tmp_path / "again") == orders_in(idle)
    assert settled(tmp_path / "again").keys() == orders_in(idle).keys()


def test_a_backup_waits_for_a_transaction(idle: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(idle / "payment.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(1.5, lambda: other.execute("COMMIT"))
        timer.start()
        back_up(settings(idle), tmp_path / "backup")
        assert not timer.is_alive()


# -- refused


def test_a_target_with_files_is_refused(idle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back_up(settings(idle), tmp_path / "backup")
    assert "isn't empty" in line(capsys, "backup", str(tmp_path / "backup"), "--data", str(idle))
    assert "is there" in line(capsys, "restore", str(tmp_path / "backup"), "--data", str(idle))


def test_a_running_system_is_not_restored_over(busy: oms.App, tmp_path: Path) -> None:
    back_up(busy.settings, tmp_path / "backup")
    with pytest.raises(oms.OmsError, match="another oms process"):
        restore(busy.settings, tmp_path / "backup")


def test_where_there_is_no_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no system" in line(capsys, "backup", str(tmp_path / "b"), "--data", str(tmp_path / "none"))
    assert "no complete backup" in line(capsys, "restore", str(tmp_path), "--data", str(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_only_embedded_systems_are_copied(tmp_path: Path) -> None:
    other = attrs.evolve(settings(tmp_path / "data"), profile="distributed")
    for act in (back_up, restore):
        with pytest.raises(oms.SettingsError, match="OMS_PROFILE"):
            act(other, tmp_path)


@pytest.mark.parametrize("name", ["broker", "order", "gateway"])
def test_a_lost_file_makes_no_backup(idle: Path, tmp_path: Path, name: str) -> None:
    (idle / f"{name}.db").write_bytes(b"")
    with pytest.raises(oms.OmsError, match=rf"{name}\.db is missing"):
        back_up(settings(idle), tmp_path / "backup")


def test_a_damaged_file_makes_no_backup(idle: Path, tmp_path: Path) -> None:
    path = idle / "order.db"
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(oms.OmsError, match=r"damaged|malformed"):
        back_up(settings(idle), tmp_path / "backup")
    assert list((tmp_path / "backup").iterdir()) == []


def cut(backup: Path) -> None:
    (backup / "backup.json").unlink()


def changed(backup: Path) -> None:
    with (backup / "payment.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"x")


def lost(backup: Path) -> None:
    (backup / "inventory.db").unlink()


def garbled(backup: Path) -> None:
    (backup / "backup.json").write_text("[]")


def newer(backup: Path) -> None:
    document = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps(document | {"format": 99}))


def outside(backup: Path) -> None:
    document = json.loads((backup / "backup.json").read_text())
    document["files"]["../order.db"] = document["files"].pop("order.db")
    (backup / "backup.json").write_text(json.dumps(document))


SAID = {
    cut: "no complete backup",
    changed: "isn't as the backup wrote it",
    lost: "inventory.db is missing",
    garbled: "can't be read",
    newer: "another version of oms",
    outside: "is missing from the backup",
}


@pytest.mark.parametrize("damage", SAID)
def test_a_backup_that_changed_is_refused(idle: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    back_up(settings(idle), tmp_path / "backup")
    damage(tmp_path / "backup")
    with pytest.raises(oms.OmsError, match=SAID[damage]):
        restore(settings(tmp_path / "again"), tmp_path / "backup")
    assert not (tmp_path / "again").exists()
