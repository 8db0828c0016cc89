"""The whole system with its gate on a real Redis, and many workers at one gate."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oms.adapters.memory import ManualClock
from oms.adapters.redis import RedisGate
from oms.adapters.redis.connection import connect
from oms.domain.values import Items, OrderId, Sku
from oms.ports.gate import GateAnswer
from oms.testing import Shop
from tests.support.redis_servers import Server, running

pytestmark = pytest.mark.servers

A, B = Sku("a"), Sku("b")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def shop(server: Server) -> Iterator[Shop]:
    clock = ManualClock()
    gate = RedisGate(connect(server.settings().redis), clock)
    shop = Shop(clock=clock, gate=gate)
    yield shop
    shop.check()
    shop.app.stop()
    gate.close()


def test_orders_settle_and_the_gate_ends_equal_to_the_ledger(shop: Shop) -> None:
    shop.app.stock.set("pear", 5)
    shop.gateway.decline_next()
    placed = [shop.place({"pear": 2, "apple": 1}) for _ in range(4)]
    shop.run()
    states = sorted(shop.status(order) for order in placed)
    assert states == ["CANCELLED", "CONFIRMED", "REJECTED", "REJECTED"]
    shop.app.stock.add("pear", 3)
    shop.advance(minutes=20)
    assert shop.stock("pear").available == 6


def test_a_flush_between_two_orders_is_mended_without_anybodys_help(shop: Shop, server: Server) -> None:
    shop.app.stock.set("pear", 3)
    first = shop.place({"pear": 2})
    shop.run()
    server.admin.flushall()
    second, third = shop.place({"pear": 1}), shop.place({"pear": 1})
    shop.advance(minutes=1)
    assert shop.status(first) == "CONFIRMED"
    assert sorted(shop.status(order) for order in (second, third)) == ["CONFIRMED", "REJECTED"]


def test_a_server_that_is_away_for_a_while_costs_only_time(shop: Shop, server: Server) -> None:
    shop.app.stock.set("pear", 1)
    shop.run()
    server.kill()
    placed = shop.place({"pear": 1})
    shop.advance(seconds=30)
    assert shop.status(placed) == "CREATED", "it waits; nothing is guessed"
    server.start()
    shop.advance(minutes=2)
    assert shop.status(placed) == "CONFIRMED"


def test_many_workers_hold_what_is_there_and_agree_on_every_order(server: Server) -> None:
    gates = [server.gate() for _ in range(4)]
    gates[0].rebuild({A: 60, B: 10**6}, {}, 1)
    orders: dict[OrderId, Items] = {OrderId(f"o{number:03}"): {A: 1, B: 2} for number in range(100)}

    def work(gate: RedisGate) -> dict[OrderId, GateAnswer]:
        return {order: taken.answer for order, taken in gate.take(orders).items()}

    with ThreadPoolExecutor(len(gates)) as pool:
        answers = list(pool.map(work, gates))
    assert all(answer == answers[0] for answer in answers)
    assert sum(answer is GateAnswer.HELD for answer in answers[0].values()) == 60
    assert dict(gates[0].all_available()) == {A: 0, B: 10**6 - 120}


def test_one_gate_serves_many_threads(server: Server) -> None:
    gate = server.gate()
    gate.rebuild({A: 500}, {}, 1)

    def work(worker: int) -> None:
        for number in range(50):
            assert gate.take({OrderId(f"o{worker}-{number}"): {A: 1}})[OrderId(f"o{worker}-{number}")].epoch == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert dict(gate.all_available()) == {A: 100}
