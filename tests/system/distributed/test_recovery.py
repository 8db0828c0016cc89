"""A service dies by SIGKILL with orders in flight and starts again at once: its successor releases its leases.

The tests assert who released what. They print how long it took until every order had settled, for docs/distributed.md.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.cluster import SERVICES, Cluster
from tests.support.serving import Load, an_order, wait_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

IN_FLIGHT = 100
LONG = {"OMS_TASK_LEASE_S": "600", "OMS_OUTBOX_LEASE_S": "300"}
"""Leases that no test outlasts: what settles has been released."""

FORKED = """
import os, sys, oms
app = oms.create(log_level="error")
app.stock.set("cup", 5)
if (child := os.fork()) == 0:
    try:
        app.stock.set("cup", 6)
    except oms.OmsError as error:
        assert "forked" in str(error)
        sys.exit(0)
    sys.exit("a forked process used what it doesn't have")
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
app.stock.set("cup", 7)
app.stop()
sys.exit(status)
"""


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, oms_postgres_url: str, oms_redis_url: str, oms_kafka_bootstrap: str
) -> Iterator[Cluster]:
    environ = {
        **LONG,
        "OMS_INSTANCE": "recovery",
        "OMS_DEFAULT_STOCK": "100000",
        "OMS_PAYMENT_SUCCESS_RATE": "1",
        "OMS_PAYMENT_DELAY_MS": "1000",
        "OMS_PAYMENT_CALLS": "512",
    }
    directory = tmp_path_factory.mktemp("recovery")
    made = Cluster(directory, oms_postgres_url, oms_redis_url, oms_kafka_bootstrap, environ)
    try:
        made.set_up()
        yield made.start()
        made.stop()
        made.check()
    finally:
        made.end()


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_settles_its_orders_after_a_restart(cluster: Cluster, service: str) -> None:
    load = Load(cluster.of("order")[0].port, an_order, connections=16)
    load.start(600)
    wait_for(lambda: cluster.in_flight() >= IN_FLIGHT, f"{IN_FLIGHT} orders are in flight")
    worker = cluster.of(service)[0]
    worker.kill()
    killed = time.monotonic()
    flying, held = cluster.in_flight(), leases(cluster, service)
    worker.start()
    load.stop()
    cluster.settle()
    took_s = time.monotonic() - killed
    print(f"{service}: {flying} orders in flight, {held} leases left, all settled after {took_s:.1f} s")
    assert held == 0 or "leases released" in worker.log.read_text()
    cluster.check()


def leases(cluster: Cluster, service: str) -> int:
    """How many tasks and outbox rows of a service are leased."""
    schema = f"oms_{service}"
    tasks = f"SELECT count(*) FROM {schema}.tasks WHERE lease IS NOT NULL"
    rows = f"SELECT count(*) FROM {schema}.outbox WHERE leased_until > now()"
    with psycopg.connect(cluster._record(), autocommit=True) as connection:
        ((count,),) = connection.execute(f"SELECT ({tasks}) + ({rows})").fetchall()  # type: ignore[call-overload]
    return int(count)


def test_a_forked_process_ends_and_the_other_one_goes_on(cluster: Cluster) -> None:
    """It inherits the objects of librdkafka and psycopg, whose ends must neither hang nor end the other's sessions."""
    environ = {**cluster.settings(), "OMS_PROFILE": "distributed"}
    done = subprocess.run(
        [sys.executable, "-c", FORKED], env=environ, timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
