"""Callers with API keys, and idempotency keys, on four services with two order processes and real servers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from cluster import OPEN, Cluster, Worker, request, wait_for
from oms.adapters.auth.api_keys import new_key
from oms.ports.plugs import Role

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
KEYS = {name: new_key(name, role, user) for name, role, user in (
    ("ann", Role.CUSTOMER, "ann"), ("bob", Role.CUSTOMER, "bob"), ("operator", Role.OPERATOR, None),
)}  # fmt: skip
SETTLE_S = 30


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, oms_postgres_url: str, oms_redis_url: str, oms_kafka_bootstrap: str
) -> Iterator[Cluster]:
    """The four services, the order service in two processes; every promise is checked at the end."""
    directory = tmp_path_factory.mktemp("callers")
    keys, script = directory / "keys.json", directory / "script.json"
    keys.write_text(json.dumps([entry for _, entry in KEYS.values()]))
    script.write_text(json.dumps([{"user": "ann", "behaviour": "delay", "seconds": 2.0}]))
    environ = {
        "OMS_API_KEYS_FILE": str(keys),
        "OMS_PAYMENT_SCRIPT": str(script),
        "OMS_ORDER_DEADLINE_S": "60",
        "OMS_DEFAULT_STOCK": "",
    }
    made = Cluster(directory, oms_postgres_url, oms_redis_url, oms_kafka_bootstrap, environ)
    try:
        made.set_up()
        made.start()
        made.add("order").await_ready()
        for sku in ("apple", "pear"):
            status, counted = ask(made.of("inventory")[0], "operator", "PUT", f"/stock/{sku}", {"onHand": 100})
            assert status == 200, counted
        yield made
        made.settle()
        made.check()
        made.stop()
    finally:
        made.end()


def ask(worker: Worker, caller: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    authorised = {"Authorization": f"Bearer {KEYS[caller][0]}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return request(worker.port, method, path, body, headers=authorised, timeout_s=30)


def body_of(user: str, sku: str, units: int = 1) -> dict[str, object]:
    return {"userId": user, "amount": 5, "items": {sku: units}}


def place(cluster: Cluster, user: str, sku: str, units: int = 1) -> str:
    status, order = ask(cluster.of("order")[0], user, "POST", "/orders", body_of(user, sku, units))
    assert status == 201, order
    return str(order["id"])


def status_of(cluster: Cluster, order_id: str) -> str:
    status, found = ask(cluster.of("order")[0], "operator", "GET", f"/orders/{order_id}")
    assert status == 200, found
    return str(found["status"])


def ended(cluster: Cluster, order_id: str) -> str:
    wait_for(lambda: status_of(cluster, order_id) not in OPEN, f"{order_id} settles", SETTLE_S)
    return status_of(cluster, order_id)


def orders_of(cluster: Cluster, user: str) -> list[str]:
    """The ids of a customer's orders, as the record has them."""
    rows = record(cluster, "SELECT id FROM oms_order.orders WHERE user_id = %s", user)
    return sorted(str(row[0]) for row in rows)


def record(cluster: Cluster, query: str, *values: str) -> Sequence[tuple[Any, ...]]:
    with superuser(cluster) as connection:
        return connection.execute(query.encode(), values or None).fetchall()


def superuser(cluster: Cluster) -> psycopg.Connection[Any]:
    base, _, _ = cluster.postgres_url.rpartition("/")
    return psycopg.connect(f"{base}/oms", autocommit=True)


# -- callers


def test_no_customer_reads_or_cancels_another_customers_order(cluster: Cluster) -> None:
    order_id = place(cluster, "ann", "apple")
    wait_for(lambda: status_of(cluster, order_id) == "RESERVED", "its charge is under way")
    unknown = str(uuid.uuid4())
    for worker in cluster.of("order"):
        for method, path, body in (
            ("GET", "/orders/{}", None),
            ("GET", "/orders/{}/timeline", None),
            ("POST", "/orders/{}/cancel", None),
            ("POST", "/orders/{}/cancel", {"by": "customer"}),
        ):
            status, refused = ask(worker, "bob", method, path.format(order_id), body)
            other, same = ask(worker, "bob", method, path.format(unknown), body)
            assert (status, refused["code"]) == (other, same["code"]) == (404, "order_not_found")
        for method, path, body in (
            ("POST", f"/orders/{order_id}/cancel", {"by": "operator"}),
            ("POST", f"/orders/{order_id}/resume", None),
            ("POST", "/orders", body_of("ann", "apple")),
        ):
            status, refused = ask(worker, "bob", method, path, body)
            assert status in (403, 404), (method, path, refused)
        for query in ("", "?userId=ann"):
            status, page = ask(worker, "bob", "GET", f"/orders{query}")
            assert status == 403 or order_id not in json.dumps(page)
    for service in ("inventory", "payment", "notification"):
        assert ask(cluster.of(service)[0], "bob", "GET", "/dead-letters")[0] == 403
    assert ask(cluster.of("inventory")[0], "bob", "PUT", "/stock/apple", {"onHand": 0})[0] == 403
    assert ask(cluster.of("inventory")[0], "bob", "POST", "/gate/rebuild")[0] == 403

    assert ended(cluster, order_id) == "CONFIRMED"
    _, timeline = ask(cluster.of("order")[1], "ann", "GET", f"/orders/{order_id}/timeline")
    assert "cancel" not in {entry["trigger"] for entry in timeline}
    assert ask(cluster.of("order")[1], "ann", "POST", f"/orders/{order_id}/cancel", None)[0] == 409
    assert len(orders_of(cluster, "ann")) == 1


def test_a_request_without_a_valid_key_reaches_nothing(cluster: Cluster) -> None:
    order_id = place(cluster, "bob", "apple")
    for worker in cluster.workers:
        for headers in ({}, {"Authorization": "Bearer oms_guessed"}):
            path = f"/orders/{order_id}/cancel" if worker.service == "order" else "/dead-letters"
            method = "POST" if worker.service == "order" else "GET"
            assert request(worker.port, method, path, headers=headers)[0] == 401
    assert ended(cluster, order_id) == "CONFIRMED"


def test_an_order_of_an_unknown_product_is_rejected(cluster: Cluster) -> None:
    unknown = f"unknown-{uuid.uuid4()}"
    assert ended(cluster, place(cluster, "bob", unknown)) == "REJECTED"
    assert ask(cluster.of("inventory")[0], "operator", "GET", f"/stock/{unknown}")[0] == 404


# -- idempotency keys


def test_equal_keys_at_two_order_processes_are_one_order(cluster: Cluster) -> None:
    before = orders_of(cluster, "bob")
    together, keys = Barrier(2), [str(uuid.uuid4()) for _ in range(20)]

    def post(worker: Worker) -> list[tuple[int, Any]]:
        answers = []
        for key in keys:
            together.wait(30)
            answers.append(ask(worker, "bob", "POST", "/orders", body_of("bob", "pear"), Idempotency_Key=key))
        return answers

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(post, cluster.of("order"))
    assert {status for status, _ in [*first, *second]} == {201}
    assert first == second, "the answers are equal"
    placed = {answer["id"] for _, answer in first}
    assert len(placed) == len(keys)
    assert set(orders_of(cluster, "bob")) == {*before, *placed}

    status, refused = ask(
        cluster.of("order")[1], "bob", "POST", "/orders", body_of("bob", "pear", 2), Idempotency_Key=keys[0]
    )
    assert (status, refused["code"]) == (422, "idempotency_key_reused")
    _, own = ask(cluster.of("order")[1], "ann", "POST", "/orders", body_of("ann", "pear"), Idempotency_Key=keys[0])
    assert own["id"] not in placed, "another customer's key is another key"
