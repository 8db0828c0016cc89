"""A shop's own gateway that hangs or fails, as the operator of the payment service sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, request
from tests.support.serving import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def mood(tmp_path: Path) -> Path:
    path = tmp_path / "mood"
    path.write_text("well")
    return path


@pytest.fixture
def cluster(
    tmp_path: Path, mood: Path, oms_postgres_url: str, oms_redis_url: str, oms_kafka_bootstrap: str
) -> Iterator[Cluster]:
    environ = {
        "OMS_PAYMENT_GATEWAY": "tests.support.moody_gateway:Gateway",
        "OMS_TEST_GATEWAY": str(mood),
        "OMS_PAYMENT_TIMEOUT_S": "1",
        "OMS_PAYMENT_CALLS": "2",
    }
    made = Cluster(tmp_path, oms_postgres_url, oms_redis_url, oms_kafka_bootstrap, environ)
    try:
        made.set_up()
        yield made.start()
        made.stop()
    finally:
        made.end()


def place(cluster: Cluster) -> str:
    body = {"userId": "ann", "amount": 12.5, "items": {"apple": 1}}
    status, order = request(cluster.of("order")[0].port, "POST", "/orders", body)
    assert status == 201, order
    return str(order["id"])


def state(cluster: Cluster, order_id: str) -> str:
    return str(cluster.of("order")[0].get(f"/orders/{order_id}")[1]["status"])


@pytest.mark.parametrize("fault", ["hangs", "fails"])
def test_a_dead_gateway_is_degraded_within_ten_seconds_and_recovers(cluster: Cluster, mood: Path, fault: str) -> None:
    (payment,) = cluster.of("payment")
    mood.write_text(fault)
    placed = [place(cluster) for _ in range(3)]
    began = time.monotonic()

    def answer() -> tuple[int, Any]:
        return payment.get("/readyz")

    wait_for(lambda: answer()[1]["status"] == "degraded", "the payment service is degraded", 10)
    assert time.monotonic() - began < 10
    assert answer()[0] == 200
    assert "oms_extension_errors_total" in payment.get("/metrics")[1].decode()
    assert '"event":"call failed"' in payment.log.read_text()

    mood.write_text("well")
    wait_for(lambda: {state(cluster, one) for one in placed} == {"CONFIRMED"}, "all are charged", 60)
    wait_for(lambda: answer()[1]["status"] == "ready", "the payment service is well", 10)
