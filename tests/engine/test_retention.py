"""OMS_RETENTION_DAYS: what has ended goes after its time, what hasn't stays, and the promises still hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import oms
from oms.testing import Shop

DAYS = 3


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=oms.Settings(profile=request.param, data=tmp_path, retention_days=DAYS))


def inbox(shop: Shop) -> int:
    stores: list[Any] = [assembly.service.store for assembly in shop.app.system.assemblies.values()]
    return sum(len(list(store.all_inbox())) for store in stores)


def logged(shop: Shop) -> set[str]:
    return {record.key.decode() for record in shop.log.all_records() if record.key}


def test_ended_work_goes_after_its_days_and_new_work_stays(shop: Shop) -> None:
    old = [shop.place(key=f"old-{number}") for number in range(3)]
    shop.run()
    before = inbox(shop)
    shop.advance(days=DAYS - 1)
    assert (inbox(shop), logged(shop)) == (before, {order.id for order in old}), "not before its time"

    new = shop.place()
    shop.run()
    shop.advance(days=1.5)

    assert inbox(shop) == before // 3
    if shop.app.settings.profile == "embedded":  # the log in memory ends with its process
        assert logged(shop) == {new.id}
    assert [shop.status(order) for order in (*old, new)] == ["CONFIRMED"] * 4, "orders are kept"
    shop.check()
    again = shop.place({"pear": 1})
    shop.run()
    assert shop.status(again) == "CONFIRMED"
    shop.check()
    shop.app.stop()


def test_a_group_that_doesnt_read_keeps_its_messages(shop: Shop) -> None:
    shop.log.subscribe("slow", ["order.confirmed"])
    order = shop.place()
    shop.run()
    shop.advance(days=DAYS * 2)
    kept = [record.topic for record in shop.log.all_records() if record.key == order.id.encode()]
    assert "order.confirmed" in kept
    assert shop.app.settings.profile == "memory" or kept == ["order.confirmed"]
    shop.app.stop()


def test_a_restarted_system_goes_on_after_its_log_was_purged(tmp_path: Path) -> None:
    settings = oms.Settings(profile="embedded", data=tmp_path, retention_days=DAYS)
    first = Shop(settings=settings)
    old = first.place()
    first.run()
    first.advance(days=DAYS * 2)
    assert logged(first) == set()
    first.app.stop()

    second = Shop(settings=settings, clock=first.clock, ids=first.ids)
    new = second.place()
    second.run()
    assert (second.status(old), second.status(new)) == ("CONFIRMED", "CONFIRMED")
    assert second.report().quiet
    second.app.stop()


def test_what_a_running_system_has_purged_breaks_no_promise(tmp_path: Path) -> None:
    settings = oms.Settings(profile="embedded", data=tmp_path, retention_days=DAYS)
    shop = Shop(settings=settings)
    shop.place()
    shop.run()
    shop.advance(days=DAYS * 2)
    report = shop.report()
    assert (report.quiet, report.whole, report.messages) == (True, True, 0)
    assert {"P7", "P9"} <= set(report.checked)
    shop.app.stop()
