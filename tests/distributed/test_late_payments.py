"""A payment that comes late: on real processes and real servers, ending in `oms verify`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import HERE, OPEN, Cluster, request, wait_for
from oms.ports.evidence import BookKind


pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]
DEADLINE_S = 6
STOCK = 100


@pytest.fixture(scope="module")
def mood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gateway") / "mood"
    path.write_text("well")
    return path


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    mood: Path,
    oms_postgres_url: str,
    oms_redis_url: str,
    oms_kafka_bootstrap: str,
) -> Iterator[Cluster]:
    """Two order processes, one of each other service; orders have six seconds."""
    environ = {
        "OMS_PAYMENT_GATEWAY": "mute_gateway:Gateway",
        "OMS_TEST_GATEWAY": str(mood),
        "OMS_PAYMENT_TIMEOUT_S": "20",
        "OMS_PAYMENT_CALLS": "64",
        "OMS_PAYMENT_SETTLE_WINDOW_S": "1",
        "OMS_ORDER_DEADLINE_S": str(DEADLINE_S),
        "OMS_DEFAULT_STOCK": str(STOCK),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))),
    }
    made = Cluster(tmp_path_factory.mktemp("late"), oms_postgres_url, oms_redis_url, oms_kafka_bootstrap, environ)
    try:
        made.set_up()
        made.start()
        made.add("order").await_ready()
        yield made
        made.stop()
    finally:
        made.end()


def place(cluster: Cluster, items: dict[str, int], user: str = "ann", order_process: int = 0) -> str:
    body = {"userId": user, "amount": 12.5, "items": items}
    status, order = request(cluster.of("order")[order_process].port, "POST", "/orders", body)
    assert status == 201, order
    return str(order["id"])


def order(cluster: Cluster, order_id: str) -> dict[str, Any]:
    return dict(cluster.of("order")[0].get(f"/orders/{order_id}")[1])


def stock(cluster: Cluster, sku: str) -> dict[str, Any]:
    return dict(cluster.of("inventory")[0].get(f"/stock/{sku}")[1])


def ended(cluster: Cluster, order_id: str) -> str:
    wait_for(lambda: order(cluster, order_id)["status"] not in OPEN, f"{order_id} ends")
    return str(order(cluster, order_id)["status"])


def booked(cluster: Cluster, order_id: str) -> list[BookKind]:
    from oms.adapters.gateways.simulated import SqliteBook

    book = SqliteBook.read_only(cluster.directory / "data" / "gateway.db")
    return [entry.kind for entry in book.all_entries() if entry.key == f"oms-{order_id}"]


def payment_state(cluster: Cluster, order_id: str) -> str:
    with psycopg.connect(cluster._record(), autocommit=True) as connection:
        row = connection.execute("SELECT state FROM oms_payment.payments WHERE order_id = %s", (order_id,)).fetchone()
    return str(row[0]) if row else "ABSENT"


def verified(cluster: Cluster) -> None:
    report = cluster.check()
    assert report["promises"]["P4"] == "holds"
    assert report["parked"] == 0
    done = cluster.oms("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_payment_that_succeeds_after_the_deadline_is_refunded_and_keeps_its_stock_until_then(
    cluster: Cluster, mood: Path
) -> None:
    mood.write_text("mute")
    late = place(cluster, {"apple": 2})
    wait_for(lambda: booked(cluster, late) == [BookKind.CAPTURE], "the gateway has the money")
    wait_for(lambda: payment_state(cluster, late) == "UNKNOWN", "the payment service doesn't know it")
    wait_for(lambda: order(cluster, late)["status"] == "CANCELLING", "the deadline has passed")
    wait_for(lambda: payment_state(cluster, late) == "VOIDING", "the payment service asks for a void")
    for _ in range(3):
        assert (stock(cluster, "apple")["held"], order(cluster, late)["status"]) == (2, "CANCELLING")
        done = cluster.oms("verify")
        assert done.returncode == 0, done.stdout + done.stderr

    mood.write_text("well")
    assert ended(cluster, late) == "CANCELLED"
    assert order(cluster, late)["reason"] == "DEADLINE"
    assert booked(cluster, late) == [BookKind.CAPTURE, BookKind.REFUND]
    wait_for(lambda: stock(cluster, "apple")["held"] == 0, "the stock is free again")
    assert stock(cluster, "apple")["onHand"] == STOCK
    verified(cluster)
