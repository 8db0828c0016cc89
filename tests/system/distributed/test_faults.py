"""Deaths and losses with at least 500 orders in flight; afterwards every promise holds, read from a process of its own."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import SERVICES, Cluster, Worker
from tests.support.crashing import POINTS
from tests.support.serving import Load, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

IN_FLIGHT = 500
SLOW_GATEWAY = {
    "OMS_PAYMENT_DELAY_MS": "10000",
    "OMS_PAYMENT_CALLS": "1024",
    "OMS_PAYMENT_TIMEOUT_S": "12",
    "OMS_PAYMENT_SETTLE_WINDOW_S": "3",
    "OMS_WEBHOOK_TIMEOUT_S": "1",
    "OMS_TASK_LEASE_S": "14",
    "OMS_OUTBOX_LEASE_S": "2",
    "OMS_PAYMENT_SUCCESS_RATE": "0.8",
    "OMS_DEFAULT_STOCK": "100000",
    "OMS_LOG_LEVEL": "warning",
    "OMS_ORDER_DEADLINE_S": "240",
}
OF = {
    "after the commit": "order",
    "after Lua": "inventory",
    "after the charge": "payment",
    "after the produce": "inventory",
    "before mark-sent": "order",
    "before the offset commit": "payment",
}
PASSING = {"after the commit": 5, "after Lua": 5, "after the charge": 5}
"""At which passing of its point a worker dies; at the second where hundreds of messages are one passing."""


class Servers:
    def __init__(self) -> None:
        self.postgres, self.redis, self.kafka = NativePostgres(), NativeRedis(), NativeKafka()

    def __enter__(self) -> Servers:
        for server in (self.postgres, self.redis, self.kafka):
            server.start()
        return self

    def __exit__(self, *_error: object) -> None:
        for server in (self.kafka, self.redis, self.postgres):
            server.close()


@pytest.fixture(scope="module", autouse=True)
def seed() -> None:
    chosen = int(os.environ.get("OMS_TEST_SEED", random.randrange(10**6)))
    print(f"OMS_TEST_SEED={chosen}")
    random.seed(chosen)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Cluster]:
    """Two workers of each service."""
    made = Cluster(
        tmp_path_factory.mktemp("faults"),
        servers.postgres.url,
        servers.redis.url,
        servers.kafka.url,
        dict(SLOW_GATEWAY),
    )
    try:
        made.set_up()
        yield made.start(each=2)
        made.stop()
        made.check()
    finally:
        made.end()


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Load]:
    """Orders keep coming, several hundred are in flight, and in the end all that were accepted have settled."""
    cluster.await_ready()
    port = random.choice(cluster.of("order")).port
    load = Load(port, an_order, connections=32)
    load.start(4000)
    wait_for(lambda: cluster.in_flight() >= IN_FLIGHT, f"{IN_FLIGHT} orders are in flight", timeout_s=180)
    yield load
    load.stop()
    cluster.await_ready()
    counted = cluster.settle()
    assert set(load.statuses) <= {201, 503}, set(load.statuses)
    assert load.accepted
    for order_id in random.sample(load.accepted, min(20, len(load.accepted))):
        status, order = cluster.of("order")[0].get(f"/orders/{order_id}")
        assert (status, order["status"] in counted) == (200, True)
    cluster.check()


def an_order(number: int) -> dict[str, object]:
    items = {f"sku-{random.randrange(12)}": random.randrange(1, 4) for _ in range(random.randrange(1, 4))}
    return {"userId": f"user-{number % 50}", "amount": random.randrange(1, 500), "items": items}


@pytest.mark.parametrize("service", SERVICES)
def test_three_kills(cluster: Cluster, load: Load, service: str) -> None:
    for _ in range(3):
        worker: Worker = random.choice(cluster.of(service))
        time.sleep(random.random())
        worker.kill()
        worker.start()


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at(cluster: Cluster, load: Load, point: str) -> None:
    worker = cluster.of(OF[point])[0]
    worker.kill()
    worker.start(OMS_TEST_CRASH_AT=f"{point}:{PASSING.get(point, 2)}")
    other = cluster.of(OF[point])[1]
    if OF[point] == "order":  # what the load talks to may be the other one
        load.stop()
        more = Load(worker.port, an_order)
        wait_for(lambda: answers(worker), "it answers or has died")
        more.start(400)
    else:
        other.signal(signal.SIGSTOP)
    try:
        # A worker that is stopped in a transaction holds its rows until PostgreSQL ends that, after 60 s.
        assert worker.died(120) == -signal.SIGKILL
    finally:
        other.signal(signal.SIGCONT)
    worker.start()


def answers(worker: Worker) -> bool:
    assert worker.process is not None
    if worker.process.poll() is not None:
        return True
    try:
        return worker.get("/readyz")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("service", ["inventory", "payment"])
def test_a_worker_that_sleeps_past_the_poll_interval(cluster: Cluster, load: Load, service: str) -> None:
    sleeper = cluster.of(service)[0]
    sleeper.signal(signal.SIGSTOP)
    time.sleep(9)  # session and poll interval are 6 s here
    sleeper.signal(signal.SIGCONT)


def test_postgresql_dies_and_comes_back(cluster: Cluster, load: Load, servers: Servers) -> None:
    servers.postgres.kill()
    time.sleep(2)
    servers.postgres.start()


def test_kafka_dies_and_comes_back(cluster: Cluster, load: Load, servers: Servers) -> None:
    servers.kafka.kill()
    time.sleep(2)
    servers.kafka.start()


def test_redis_dies_and_comes_back(cluster: Cluster, load: Load, servers: Servers) -> None:
    servers.redis.kill()
    time.sleep(2)
    servers.redis.start()


def test_redis_is_flushed(cluster: Cluster, load: Load, servers: Servers) -> None:
    redis.Redis.from_url(servers.redis.url).flushall()


def test_redis_loses_its_last_second(cluster: Cluster, load: Load, servers: Servers) -> None:
    servers.redis.kill()
    tails = sorted(Path(servers.redis.directory).rglob("*.incr.aof"))
    assert tails
    size = tails[-1].stat().st_size
    os.truncate(tails[-1], max(0, size - 20_000))
    servers.redis.start()


def test_a_stop_under_load_is_soon_and_clean(cluster: Cluster, load: Load) -> None:
    for worker in cluster.workers:
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 11
    for worker in cluster.workers:
        worker.start()
