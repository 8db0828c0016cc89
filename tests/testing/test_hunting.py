"""`oms.testing.hunt`: a test over one schedule becomes a test over many."""

from __future__ import annotations

from pathlib import Path

import pytest

from oms.testing import HuntedShop, hunt

pytest_plugins = ["pytester"]


@hunt(schedules=60)
def test_an_order_is_confirmed_whatever_happens_to_the_system(shop: HuntedShop) -> None:
    shop.set_stock("lamp", 1)
    order = shop.place({"lamp": 1})
    shop.run()

    assert shop.status(order) == "CONFIRMED"
    assert shop.stock("lamp").on_hand == 0
    assert [one.kind for one in shop.notifications(order)] == ["order.confirmed", "payment.success"]
    assert shop.parked() == []


@hunt(schedules=40)
def test_two_orders_on_the_last_unit(shop: HuntedShop) -> None:
    shop.set_stock("lamp", 1)
    orders = [shop.place({"lamp": 1}) for _ in range(2)]
    shop.run()
    assert sorted(map(shop.status, orders)) == ["CONFIRMED", "REJECTED"]

    kept = next(order for order in orders if shop.status(order) == "CONFIRMED")
    shop.cancel(kept, by_operator=True)
    shop.run()
    assert shop.status(kept) == "CANCELLED"
    assert shop.stock("lamp").available == 1


@hunt(schedules=60, faults={"crash", "answers", "repeat", "gateway", "refusals", "purge"})
def test_a_parcel_and_a_refund_whatever_happens_to_the_system(shop: HuntedShop) -> None:
    shop.gateway.hide_next()
    order = shop.given(stock={"lamp": 3}, order={"lamp": 3}, amount="29.90")
    shop.run()
    parcel = shop.ship(order, {"lamp": 2})
    refund = shop.refund(order, "CANCEL", {"lamp": 1}, amount="9.90")
    shop.run()
    back = shop.refund(order, "RETURN", {"lamp": 1}, amount="5.00", restock=True)
    shop.run()

    shop.expect(order).completed().shipped({"lamp": 2}).cancelled_units({"lamp": 1}).returned({"lamp": 1})
    shop.expect(order).refunded("14.90").notified_of(parcel, refund, back)
    shop.expect().stock("lamp", on_hand=2, held=0)


@hunt(schedules=20)
def test_other_fixtures_stay(tmp_path: Path, shop: HuntedShop) -> None:
    assert tmp_path.is_dir()
    shop.run()


def test_what_the_test_raises_is_its_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="never"):
        _hunted_failure()


def test_a_step_that_comes_too_late_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @hunt(schedules=1)
    def late(shop: HuntedShop) -> None:
        shop.place()
        shop.app.subscribe("order.confirmed", group="own", handler=lambda _event, _step: None)

    with pytest.raises(AssertionError, match="subscribe before the shop is used"):
        late()


def test_an_async_test_cannot_be_hunted() -> None:
    async def waits(shop: HuntedShop) -> None:
        shop.run()

    with pytest.raises(TypeError, match="can't be async"):
        hunt(waits)


@hunt(schedules=1)
def _hunted_failure(shop: HuntedShop) -> None:
    shop.run()
    raise AssertionError("never")


SHIPS_TWICE = """
    from oms.testing import hunt

    @hunt(schedules=400)
    def test_each_order_ships_once(shop):
        van = []

        def confirmed(event, step):
            van.append(event.order_id)
            step.save({"status": "sent"})

        shop.app.subscribe("order.confirmed", group="shipping", handler=confirmed)
        order = shop.place({"lamp": 1})
        shop.run()
        assert van.count(order.id) == 1, f"shipped {van.count(order.id)} times"
"""


@pytest.mark.slow
def test_a_failure_is_small_told_and_replayed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SHIPS_TWICE)
    found = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*ASSERTION the test: shipped 2 times*", "*1 deviations from calm*"])
    (tape,) = pytester.path.glob("oms-tapes/*.omstape")

    again = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", f"--oms-tape={tape}")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*ASSERTION the test: shipped 2 times*"])
