"""`aplace`, `acancel` and `aget`: the same commands for coroutines, whether the app runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import oms


@pytest.fixture(params=["memory", "embedded"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[oms.App]:
    made = oms.create(profile=request.param, environ={}, data=tmp_path / "data", log_level="error", default_stock=100)
    yield made
    made.stop()


@pytest.fixture(params=[True, False], ids=["started", "not started"])
def used(request: pytest.FixtureRequest, app: oms.App) -> oms.App:
    if request.param:
        app.start()
    return app


def draft(app: oms.App, user: str = "ann") -> oms.PlaceOrder:
    return app.draft(user, "19.90", {"apple": 1})


def test_each_order_of_many_coroutines_is_placed_once(used: oms.App) -> None:
    async def main() -> list[oms.Order]:
        return await asyncio.gather(*(used.orders.aplace(draft(used, f"user-{n}")) for n in range(30)))

    placed = asyncio.run(main())

    assert sorted(order.terms.user_id for order in placed) == sorted(f"user-{n}" for n in range(30))
    assert used.orders.page(size=100).total == 30


def test_a_placed_order_is_found_and_cancelled(used: oms.App) -> None:
    async def main() -> tuple[oms.Order, oms.Order]:
        order = await used.orders.aplace(draft(used), key="k-1")
        again = await used.orders.aplace(draft(used), key="k-1")
        assert again.id == order.id
        found = await used.orders.aget(order.id)
        return found, await used.orders.acancel(oms.CancelOrder(order.id, by_operator=True))

    found, cancelled = asyncio.run(main())

    assert found.id == cancelled.id
    assert cancelled.state.value in {"CANCELLING", "CANCELLED"}


def test_a_refusal_is_raised_in_the_coroutine(used: oms.App) -> None:
    async def main() -> None:
        with pytest.raises(oms.NotFound):
            await used.orders.aget("00000000-0000-7000-8000-000000000000")
        with pytest.raises(oms.NotFound):
            await used.orders.acancel(oms.CancelOrder(oms.OrderId("00000000-0000-7000-8000-000000000000")))
        other = oms.Principal(oms.Role.CUSTOMER, oms.UserId("bob"))
        with pytest.raises(oms.Refused):
            await used.orders.aplace(draft(used), caller=other)

    asyncio.run(main())


def test_the_event_loop_runs_on_while_pricing_blocks() -> None:
    ticks = 0

    class Slow:
        def price(self, terms: oms.Terms) -> oms.Money:
            asked.wait(10)
            return terms.total

    async def main() -> oms.Order:
        nonlocal ticks
        placing = asyncio.create_task(app.orders.aplace(draft(app)))
        while ticks < 5:
            await asyncio.sleep(0)
            ticks += 1
        assert not placing.done()
        asked.set()
        return await placing

    import threading

    asked = threading.Event()
    app = oms.create(profile="memory", environ={}, log_level="error", default_stock=100, pricing=Slow())
    assert asyncio.run(main()).terms.user_id == "ann"
    assert ticks == 5
