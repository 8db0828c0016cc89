"""Callers with API keys, idempotency keys and late messages, on four services with two order processes and real servers."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from threading import Barrier
from typing import Any

import psycopg
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from oms.adapters.auth.keys_file import new_key
from oms.ports.extensions import Role
from tests.support.cluster import OPEN, Cluster, Worker, request
from tests.support.serving import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PARTITIONS = 4
KEYS = {name: new_key(name, role, user) for name, role, user in (
    ("ann", Role.CUSTOMER, "ann"), ("bob", Role.CUSTOMER, "bob"), ("operator", Role.OPERATOR, None),
)}  # fmt: skip
SETTLE_S = 30
RESERVATIONS = "oms_inventory.reservations"


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
        for sku in ("apple", "pear", "plum", "olive", "quince"):
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
    placed: list[str] = []

    def is_accepted() -> bool:  # an order that another test held up may make the service refuse new ones for a while
        status, order = ask(cluster.of("order")[0], user, "POST", "/orders", body_of(user, sku, units))
        assert status in (201, 503), order
        placed.extend([str(order["id"])] if status == 201 else [])
        return status == 201

    wait_for(is_accepted, "the order is accepted")
    return placed[0]


def status_of(cluster: Cluster, order_id: str) -> str:
    status, found = ask(cluster.of("order")[0], "operator", "GET", f"/orders/{order_id}")
    assert status == 200, found
    return str(found["status"])


def ended(cluster: Cluster, order_id: str) -> str:
    wait_for(lambda: status_of(cluster, order_id) not in OPEN, f"{order_id} settles", SETTLE_S)
    return status_of(cluster, order_id)


def available(cluster: Cluster, sku: str) -> int:
    status, found = ask(cluster.of("inventory")[0], "operator", "GET", f"/stock/{sku}")
    assert status == 200, found
    return int(found["available"])


def orders_of(cluster: Cluster, user: str) -> list[str]:
    """The ids of a customer's orders, as the record has them."""
    rows = record(cluster, "SELECT id FROM oms_order.orders WHERE user_id = %s", user)
    return sorted(str(row[0]) for row in rows)


def record(cluster: Cluster, query: str, *values: str) -> Sequence[tuple[Any, ...]]:
    with superuser(cluster) as connection:
        return connection.execute(query.encode(), values or None).fetchall()


def alter(cluster: Cluster, statement: str) -> None:
    with superuser(cluster) as connection:
        connection.execute(statement.encode())


def superuser(cluster: Cluster) -> psycopg.Connection[Any]:
    base, _, _ = cluster.postgres_url.rpartition("/")
    return psycopg.connect(f"{base}/oms", autocommit=True)


def reservation(cluster: Cluster, order_id: str) -> str | None:
    rows = record(cluster, f"SELECT state FROM {RESERVATIONS} WHERE order_id = %s", order_id)
    return str(rows[0][0]) if rows else None


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


def test_a_key_is_free_again_after_503(cluster: Cluster) -> None:
    before, key = orders_of(cluster, "bob"), str(uuid.uuid4())

    def post(worker: Worker) -> tuple[int, Any]:
        return ask(worker, "bob", "POST", "/orders", body_of("bob", "pear"), Idempotency_Key=key)

    alter(cluster, "ALTER ROLE oms_order NOLOGIN")
    try:
        alter(cluster, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'oms_order'")
        wait_for(lambda: post(cluster.of("order")[0])[0] == 503, "the store is away")
    finally:
        alter(cluster, "ALTER ROLE oms_order LOGIN")
    for worker in cluster.of("order"):
        worker.await_ready()
    placed = [post(worker) for worker in (*cluster.of("order"), *cluster.of("order"))]
    assert {status for status, _ in placed} == {201}
    assert len({answer["id"] for _, answer in placed}) == 1
    assert len(orders_of(cluster, "bob")) == len(before) + 1


def test_keys_of_a_process_that_was_killed_are_answered_by_the_other(cluster: Cluster) -> None:
    """It dies right after a commit: the order is on record, and its caller has no answer."""
    before, survivor = orders_of(cluster, "bob"), cluster.of("order")[0]
    doomed = cluster.of("order")[1]
    assert doomed.stop() == 0
    doomed.start(OMS_TEST_CRASH_AT="after the commit:12")
    answers: dict[str, Any] = {}
    keys: list[str] = []

    def post(worker: Worker, key: str) -> tuple[int, Any]:
        return ask(worker, "bob", "POST", "/orders", body_of("bob", "plum"), Idempotency_Key=key)

    def until_it_dies() -> bool:
        key = str(uuid.uuid4())
        try:
            status, answers[key] = post(doomed, key)
        except ConnectionRefusedError:
            return doomed.process is not None and doomed.process.poll() is not None  # else it isn't listening yet
        except (OSError, HTTPException):  # it is dying; the kernel may report that later than it closes connections
            keys.append(key)
            return True
        if status == 201:
            keys.append(key)
        return False

    wait_for(until_it_dies, "the process dies")
    assert doomed.died(within_s=10) == -signal.SIGKILL
    repeated = {key: post(survivor, key) for key in keys}
    assert {status for status, _ in repeated.values()} == {201}
    for key, (_, answer) in repeated.items():
        assert key not in answers or answers[key] == answer
    placed = {answer["id"] for _, answer in repeated.values()}
    assert len(placed) == len(keys)
    assert set(orders_of(cluster, "bob")) == {*before, *placed}
    doomed.start().await_ready()


# -- late messages


def test_a_cancel_that_overtakes_its_order_at_the_inventory_service(cluster: Cluster) -> None:
    """The inventory service handles order.cancelled first: the order that comes after it holds nothing."""
    inventory = cluster.of("inventory")[0]
    assert inventory.stop() == 0
    order_id = place(cluster, "bob", "olive", 3)
    assert ask(cluster.of("order")[0], "bob", "POST", f"/orders/{order_id}/cancel")[0] == 202
    assert ended(cluster, order_id) == "CANCELLED"
    wait_for(lambda: not record(cluster, "SELECT 1 FROM oms_order.outbox"), "its events are in Kafka")

    group = Group(cluster.kafka_bootstrap, "inventory-group", "order.created")
    at = group.position()
    group.move(group.ends())
    inventory.start().await_ready()
    wait_for(lambda: reservation(cluster, order_id) == "RELEASED", "the cancel is handled")
    assert inventory.stop() == 0
    group.move(at)
    inventory.start().await_ready()
    wait_for(lambda: group.position() == group.ends(), "the order is read")
    marker = place(cluster, "bob", "olive")
    assert ended(cluster, marker) == "CONFIRMED"
    assert reservation(cluster, order_id) == "RELEASED"
    wait_for(lambda: available(cluster, "olive") == 99, "only the other order's unit is sold")


def test_an_order_redriven_after_its_cancel_holds_nothing(cluster: Cluster) -> None:
    """Its order.created was parked at the inventory service; an operator redrives it when the order is cancelled."""
    inventory = cluster.of("inventory")[0]
    alter(
        cluster, f"ALTER TABLE {RESERVATIONS} ADD CONSTRAINT refused CHECK (items::text NOT LIKE '%quince%') NOT VALID"
    )
    try:
        order_id = place(cluster, "bob", "quince", 3)
        wait_for(lambda: bool(letters(inventory, order_id)), "it is parked")
    finally:
        alter(cluster, f"ALTER TABLE {RESERVATIONS} DROP CONSTRAINT refused")
    assert ask(cluster.of("order")[0], "bob", "POST", f"/orders/{order_id}/cancel")[0] == 202
    assert ended(cluster, order_id) == "CANCELLED"
    wait_for(lambda: reservation(cluster, order_id) == "RELEASED", "the cancel is handled")
    (letter,) = letters(inventory, order_id)
    status, redriven = ask(inventory, "operator", "POST", f"/dead-letters/{letter['id']}/redrive")
    assert (status, redriven["state"]) == (200, "REDRIVEN"), redriven
    assert reservation(cluster, order_id) == "RELEASED"
    assert status_of(cluster, order_id) == "CANCELLED"
    marker = place(cluster, "bob", "quince")
    assert ended(cluster, marker) == "CONFIRMED"
    wait_for(lambda: available(cluster, "quince") == 99, "only the other order's unit is sold")


def letters(worker: Worker, order_id: str) -> list[dict[str, Any]]:
    status, found = ask(worker, "operator", "GET", "/dead-letters")
    assert status == 200, found
    return [letter for letter in found if letter["orderId"] == order_id]


class Group:
    """The position of a consumer group in one topic; it can be moved while no member runs."""

    def __init__(self, bootstrap: str, name: str, topic: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._name = name
        self._partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    def position(self) -> dict[int, int]:
        """The offset of the next message to read, by partition; 0 where the group has read nothing."""
        asked = [ConsumerGroupTopicPartitions(self._name, self._partitions)]
        found = self._admin.list_consumer_group_offsets(asked)[self._name].result().topic_partitions
        return {one.partition: max(one.offset, 0) for one in found}

    def ends(self) -> dict[int, int]:
        """The offset behind the last message, by partition."""
        asked = self._admin.list_offsets(dict.fromkeys(self._partitions, OffsetSpec.latest()))
        return {partition.partition: one.result().offset for partition, one in asked.items()}

    def move(self, to: Mapping[int, int]) -> None:
        """Set the offsets."""
        topic = self._partitions[0].topic
        wanted = [TopicPartition(topic, number, offset) for number, offset in to.items()]
        self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self._name, wanted)])[
            self._name
        ].result()
