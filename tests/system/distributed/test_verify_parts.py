"""`oms verify` and `oms reconcile` of shipped and refunded orders on four processes, and of records that were changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.cluster import OPEN, Cluster, request
from tests.support.serving import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, oms_postgres_url: str, oms_redis_url: str, oms_kafka_bootstrap: str
) -> Iterator[Cluster]:
    environ = {"OMS_DEFAULT_STOCK": "100", "OMS_PAYMENT_SUCCESS_RATE": "1"}
    made = Cluster(tmp_path_factory.mktemp("parts"), oms_postgres_url, oms_redis_url, oms_kafka_bootstrap, environ)
    try:
        made.set_up()
        made.start()
        made.await_ready()
        yield made
        made.stop()
    finally:
        made.end()


def post(cluster: Cluster, path: str, body: dict[str, Any]) -> Any:
    status, answer = request(cluster.of("order")[0].port, "POST", path, body)
    assert status == 201, answer
    return answer


def shown(cluster: Cluster, order_id: str) -> Any:
    return cluster.of("order")[0].get(f"/orders/{order_id}")[1]


def returned(cluster: Cluster) -> str:
    """Return an order with two parcels, a cancelled unit, a returned unit and goodwill, all paid."""
    lines = [{"productId": "lamp", "quantity": 3, "amount": 59.97}]
    order_id = str(post(cluster, "/orders", {"userId": "ann", "amount": 59.97, "lines": lines})["id"])
    wait_for(lambda: shown(cluster, order_id)["status"] not in OPEN, "the order is confirmed")
    path = f"/orders/{order_id}"
    post(cluster, f"{path}/shipments", {"items": {"lamp": 1}})
    post(cluster, f"{path}/refunds", {"kind": "CANCEL", "items": {"lamp": 1}, "reason": "not wanted"})
    post(cluster, f"{path}/shipments", {"items": {"lamp": 1}})
    post(cluster, f"{path}/refunds", {"kind": "RETURN", "items": {"lamp": 1}, "restock": True, "reason": "broken box"})
    post(cluster, f"{path}/refunds", {"kind": "GOODWILL", "amount": 0.97, "reason": "late"})
    wait_for(
        lambda: [one["state"] for one in shown(cluster, order_id)["refunds"]] == ["PAID"] * 3, "all refunds are paid"
    )
    return order_id


def change(cluster: Cluster, statement: str) -> None:
    with psycopg.connect(cluster._record(), autocommit=True) as connection:
        assert connection.execute(statement.encode()).rowcount >= 1


def test_parts_are_verified_and_reconciled_and_changed_records_are_found(cluster: Cluster) -> None:
    order_id = returned(cluster)
    report = cluster.check()
    assert report["whole"], report
    assert (report["quiet"], report["promises"]["P12"], report["parked"]) == (True, "holds", 0)
    assert report["orders"] == {"COMPLETED": 1}
    done = cluster.oms("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr

    restock = f"reference LIKE '{order_id}/%'"
    change(cluster, f"UPDATE oms_inventory.stock_ledger SET on_hand = 2 WHERE {restock}")
    done = cluster.oms("verify")
    assert done.returncode == 1
    assert "P3" in done.stdout
    assert "REFUND 2 of lamp" in done.stdout.replace("\n", "")
    change(cluster, f"UPDATE oms_inventory.stock_ledger SET on_hand = 1 WHERE {restock}")

    change(cluster, f"UPDATE oms_payment.payments SET refunds = NULL WHERE order_id = '{order_id}'")
    done = cluster.oms("verify", "--json")
    assert done.returncode == 1
    assert {"P4", "P12"} == {name for name, said in json.loads(done.stdout)["promises"].items() if said == "broken"}
