"""`kill -9` of `oms serve` at random moments with hundreds of orders in flight; nothing accepted is lost."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from oms.adapters.sql import factory
from oms.adapters.system.clock import SystemClock
from oms.domain.order_table import OrderState
from tests.support.fulfilment_checks import check_book, check_orders, check_stock
from tests.support.fulfilment_load import SCRIPT, FulfilmentLoad
from tests.support.serving import Load, NewServing, Serving, wait_for

KILLS, FULFILMENT_KILLS = 20, 10
IN_FLIGHT = 500

FAST = {
    "OMS_PAYMENT_DELAY_MS": "4000",
    "OMS_PAYMENT_CALLS": "1024",
    "OMS_PAYMENT_TIMEOUT_S": "5",
    "OMS_PAYMENT_SETTLE_WINDOW_S": "5",
    "OMS_WEBHOOK_TIMEOUT_S": "1",
    "OMS_TASK_LEASE_S": "7",
    "OMS_OUTBOX_LEASE_S": "2",
    "OMS_PAYMENT_SUCCESS_RATE": "0.8",
    "OMS_DEFAULT_STOCK": "20000",
    "OMS_LOG_LEVEL": "warning",
}


def an_order(number: int) -> dict:
    items = {f"sku-{random.randrange(12)}": random.randrange(1, 4) for _ in range(random.randrange(1, 4))}
    return {"userId": f"user-{number % 50}", "amount": random.randrange(1, 500), "items": items}


def states(serving: Serving) -> Counter[str]:
    store = factory.read_only("order", serving.data / "order.db", SystemClock())
    counted = Counter(order.state.value for order in store.all_orders())
    store.close()
    return counted


def in_flight(counted: Counter[str]) -> int:
    return sum(counted[state] for state in ("CREATED", "RESERVED", "CANCELLING"))


def settle(serving: Serving, timeout_s: float) -> Counter[str]:
    until = time.monotonic() + timeout_s
    while True:
        counted = states(serving)
        if in_flight(counted) == 0:
            return counted
        assert time.monotonic() < until, counted
        time.sleep(0.5)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_nothing(new_serving: NewServing) -> None:
    seed = int(os.environ.get("OMS_TEST_SEED", random.randrange(10**6)))
    print(f"OMS_TEST_SEED={seed}")
    random.seed(seed)
    serving = new_serving(FAST)
    accepted: list[str] = []
    flying: list[int] = []
    for _ in range(KILLS):
        serving.start()
        load = Load(serving.port, an_order)
        load.start(5000)
        until = time.monotonic() + 60
        while in_flight(states(serving)) < IN_FLIGHT + 50:
            assert time.monotonic() < until, (states(serving), Counter(load.statuses))
            time.sleep(0.05)
        time.sleep(random.random() * 0.7)
        serving.kill()
        load.stop()
        accepted += load.accepted
        flying.append(in_flight(states(serving)))
        assert set(load.statuses) <= {201, 503}, Counter(load.statuses)

    assert min(flying) >= IN_FLIGHT, flying
    serving.start()
    counted = settle(serving, 240)
    time.sleep(1)
    for order_id in accepted:
        status, order = serving.get(f"/orders/{order_id}")
        assert (status, order["status"] in ("CONFIRMED", "CANCELLED", "REJECTED")) == (200, True), order
    assert counted["CONFIRMED"] >= len(accepted) / 2, counted
    verdict = serving.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    assert serving.stop() == 0
    verdict = serving.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    print(f"{len(accepted)} accepted, {dict(counted)}, in flight at each kill: {flying}")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_while_orders_are_shipped_and_refunded(tmp_path: Path, new_serving: NewServing) -> None:
    """Clients repeat their commands under the same keys; the gateway refuses refunds, and loses responses."""
    script, stocked = tmp_path / "script.json", 1_000_000
    script.write_text(json.dumps(SCRIPT))
    settings = {"OMS_PAYMENT_SUCCESS_RATE": "1", "OMS_PAYMENT_DELAY_MS": "200", "OMS_DEFAULT_STOCK": str(stocked)}
    serving = new_serving({**FAST, **settings, "OMS_PAYMENT_SCRIPT": str(script)})
    serving.start()
    load = FulfilmentLoad(serving.port, partial(confirmed_orders, serving), low=200, high=250)
    load.start()
    try:
        for _ in range(FULFILMENT_KILLS):
            wait_for(lambda: load.in_flight >= load.low or bool(load.errors), f"{load.low} orders are in flight")
            time.sleep(random.random() * 2)
            assert load.in_flight >= load.low / 2
            serving.kill()
            serving.start()
        load.drain(180)
        assert not load.errors, load.errors
        print(f"{len(load.numbers)} orders, commands: {dict(load.commands)}")
        check_orders(load)
        check_stock(load, serving.port, stocked)
        check_book(load, serving.data / "gateway.db")
    finally:
        load.stop()
    assert serving.stop() == 0
    verdict = serving.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def confirmed_orders(serving: Serving) -> list[str]:
    store = factory.read_only("order", serving.data / "order.db", SystemClock())
    try:
        return [order.id for order in store.all_orders() if order.state is OrderState.CONFIRMED]
    finally:
        store.close()


@pytest.mark.faults
@pytest.mark.slow
def test_sigterm_under_load_ends_with_0_and_loses_nothing(new_serving: NewServing) -> None:
    serving = new_serving(FAST)
    serving.start()
    load = Load(serving.port, an_order)
    load.start(3000)
    time.sleep(1.5)
    began = time.monotonic()
    assert serving.stop() == 0
    assert time.monotonic() - began < 10
    load.stop()
    assert load.accepted

    serving.start()
    settle(serving, 120)
    for order_id in load.accepted:
        assert serving.get(f"/orders/{order_id}")[0] == 200
    verdict = serving.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    serving.stop()
