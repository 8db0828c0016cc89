"""`kill -9` at each step of shipments and refunds, with at least 500 orders in flight, which clients ship and refund.

The services die side by side, each at all of its points, one after the other: a process that has died at one point is
started with the next one. The list of points follows from the code (`tests.support.part_deaths`).
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import TimeoutExpired

import psycopg
import pytest

from oms.domain.saga import publisher, routes
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import SERVICES, Cluster, Worker
from tests.support.fulfilment_checks import check_book, check_orders, check_stock
from tests.support.fulfilment_load import SCRIPT, FulfilmentLoad
from tests.support.part_deaths import Point, Step, points, topics
from tests.support.serving import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

IN_FLIGHT = 500
DIES_WITHIN_S = 240.0
STOCK = 1_000_000
SETTINGS = {
    "OMS_DEFAULT_STOCK": str(STOCK),
    "OMS_PAYMENT_SUCCESS_RATE": "1",
    "OMS_PAYMENT_DELAY_MS": "500",
    "OMS_PAYMENT_CALLS": "256",
    "OMS_PAYMENT_TIMEOUT_S": "3",
    "OMS_PAYMENT_SETTLE_WINDOW_S": "2",
    "OMS_TASK_LEASE_S": "6",
    "OMS_OUTBOX_LEASE_S": "2",
    "OMS_LOG_LEVEL": "warning",
    "OMS_KAFKA_CONF_SESSION_TIMEOUT_MS": "3000",
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT))
    short_sessions = {"group.min.session.timeout.ms": "1000"}  # or each death costs six seconds more
    with NativePostgres() as postgres, NativeRedis() as gate, NativeKafka(short_sessions) as kafka:
        settings = {**SETTINGS, "OMS_PAYMENT_SCRIPT": str(script)}
        made = Cluster(tmp_path, postgres.url, gate.url, kafka.url, settings)
        try:
            made.set_up()
            yield made.start()
            made.stop()
        finally:
            made.end()


@pytest.fixture
def load(cluster: Cluster) -> Iterator[FulfilmentLoad]:
    with psycopg.connect(cluster._record(), autocommit=True) as connection:

        def find_confirmed() -> list[str]:
            rows = connection.execute("SELECT id FROM oms_order.orders WHERE state = 'CONFIRMED'").fetchall()
            return [str(order_id) for (order_id,) in rows]

        made = FulfilmentLoad(cluster.of("order")[0].port, find_confirmed, IN_FLIGHT + 50, IN_FLIGHT + 200)
        made.start()
        try:
            wait_for(lambda: made.in_flight > made.low or bool(made.errors), f"{made.low} orders are in flight", 180)
            yield made
        finally:
            made.stop()


def test_the_list_has_each_step_of_each_service() -> None:
    found = Counter((point.step, point.of) for point in points())
    for topic in topics():
        assert found[Step.COMMIT, topic] == found[Step.PUBLISH, topic] == 2
        assert found[Step.HANDLE, topic] == 2 * len(routes()[topic])
        assert publisher(topic) in SERVICES
    assert {"order.shipped", "order.refund_requested", "order.completed", "payment.refund_paid"} <= set(topics())
    assert len({str(point) for point in points()}) == len(points())


def test_deaths_at_every_step_of_shipments_and_refunds(cluster: Cluster, load: FulfilmentLoad) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(len(SERVICES)) as chains:
        flying = [
            number for chain in chains.map(lambda name: die_at_each(cluster, load, name), SERVICES) for number in chain
        ]
    assert not load.errors, load.errors
    died_s = time.monotonic() - began
    assert len(flying) == len(points())
    assert min(flying) >= IN_FLIGHT, flying
    cluster.await_ready()
    load.drain(240)
    assert not load.errors, load.errors
    print(f"{len(flying)} deaths in {died_s:.0f} s, {len(load.numbers)} orders, commands: {dict(load.commands)}")
    print(f"settled {time.monotonic() - began - died_s:.0f} s later")
    cluster.check()
    check_orders(load)
    check_stock(load, cluster.of("inventory")[0].port, STOCK)
    check_book(load, cluster.directory / "data" / "gateway.db")


def die_at_each(cluster: Cluster, load: FulfilmentLoad, service: str) -> list[int]:
    """Kill the service's process at each of its points; returns how many orders were in flight at each death."""
    (worker,) = cluster.of(service)
    worker.kill()
    flying = [death(worker, load, point) for point in points() if point.service == service]
    worker.start()
    return flying


def death(worker: Worker, load: FulfilmentLoad, point: Point) -> int:
    """Start a process that dies at a point; returns how many orders were in flight then."""
    worker.start(OMS_TEST_CRASH_AT=str(point))
    began = time.monotonic()
    try:
        code = worker.died(DIES_WITHIN_S)
    except TimeoutExpired:
        raise AssertionError(f"{point}: not passed in {DIES_WITHIN_S} s; {load.errors}") from None
    flying = load.in_flight
    assert code == -signal.SIGKILL, f"{point}: {code} {worker.tail()}"
    print(f"{point}: after {time.monotonic() - began:.1f} s, with {flying} orders in flight")
    return flying
