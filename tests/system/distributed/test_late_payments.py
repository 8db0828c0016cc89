"""Payments that come late, and stock that is given back: on four real processes and real servers, ending in `oms verify`."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.evidence import BookKind
from oms.ports.messages import Outgoing
from oms.settings import load_settings
from tests.support.cluster import OPEN, Cluster, request
from tests.support.serving import wait_for

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
        "OMS_PAYMENT_GATEWAY": "tests.support.mute_gateway:Gateway",
        "OMS_TEST_GATEWAY": str(mood),
        "OMS_PAYMENT_TIMEOUT_S": "20",
        "OMS_PAYMENT_CALLS": "64",
        "OMS_PAYMENT_SETTLE_WINDOW_S": "1",
        "OMS_ORDER_DEADLINE_S": str(DEADLINE_S),
        "OMS_DEFAULT_STOCK": str(STOCK),
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
    from oms.adapters.gateways.sqlite_book import SqliteBook

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


def late_timers(cluster: Cluster) -> tuple[float, int]:
    """`oms_late_timers_total` of both order processes, and how many late timers they logged."""
    counted, logged = 0.0, 0
    for worker in cluster.of("order"):
        lines = worker.get("/metrics")[1].decode().splitlines()
        (value,) = [line.split()[1] for line in lines if line.startswith("oms_late_timers_total ")]
        counted += float(value)
        logged += worker.log.read_text().count("deadline ignored")
    return counted, logged


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


def test_payment_news_against_the_deadline_has_one_winner_for_each_order(cluster: Cluster) -> None:
    """The gateway captures at once, up to two seconds after the deadline, and at many moments in between."""
    users = [f"slow-{number / 5:.1f}" for number in range(5 * (DEADLINE_S + 2) + 1)]
    placed = [place(cluster, {"pear": 1}, user, number % 2) for number, user in enumerate(users)]
    states = Counter(ended(cluster, order_id) for order_id in placed)
    assert set(states) == {"CONFIRMED", "CANCELLED"}
    for order_id in placed:
        kinds = booked(cluster, order_id)
        if order(cluster, order_id)["status"] == "CONFIRMED":
            assert kinds == [BookKind.CAPTURE]
        else:
            assert kinds in ([BookKind.CAPTURE, BookKind.REFUND], [BookKind.VOID])
    wait_for(lambda: len(set(late_timers(cluster))) == 1, "each late timer that is logged is counted")
    wait_for(lambda: stock(cluster, "pear")["held"] == 0, "all stock is sold or free")
    assert stock(cluster, "pear")["onHand"] == STOCK - states["CONFIRMED"]
    verified(cluster)


def test_a_death_after_the_give_back_and_copies_of_the_cancellation_give_back_once(cluster: Cluster) -> None:
    (inventory,) = cluster.of("inventory")
    assert inventory.stop() == 0
    inventory.start(OMS_TEST_CRASH_AT="after the give-back:1")
    inventory.await_ready()
    refused = place(cluster, {"plum": 3}, "declined")
    assert inventory.died(30) == -signal.SIGKILL
    inventory.start().await_ready()
    assert ended(cluster, refused) == "CANCELLED"

    broker = KafkaBroker(load_settings(cluster.settings()).kafka, RecordingTelemetry())
    (ours,) = [one for one in broker.all_records() if (one.topic, one.key) == ("order.cancelled", refused.encode())]
    copy = Outgoing(ours.topic, ours.key, ours.value or b"", ours.headers)
    assert broker.publish([copy, copy]) == [None, None]
    broker.close()
    verified(cluster)
    found = stock(cluster, "plum")
    assert (found["onHand"], found["held"], found["available"]) == (STOCK, 0, STOCK)
