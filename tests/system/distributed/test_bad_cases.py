"""What an operator may get wrong, and what may come late: one clear line in `/readyz`, and work as soon as it is mended.

The service is started first, so each of these is also a start in the wrong order. Nobody starts it again, except where
its own settings were wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from confluent_kafka.admin import NewTopic

from tests.support.cluster import Cluster, Worker
from tests.support.serving import wait_for
from tests.support.stack import Stack, own_stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

PASSWORD = "a-password-of-the-tests"
JUST_TOO_LARGE = 1_048_400
"""Characters of a body that is itself within the limit of 1 MiB, and exceeds it together with its headers."""

STEP = f"""
def subscribe(app):
    def handle(event, step):
        large = event.terms.items.get("whale", 0)
        step.publish("big.done", text="x" * (1 + large * {JUST_TOO_LARGE}))
    app.subscribe("order.confirmed", group="big", handler=handle)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with own_stack(tmp_path_factory.mktemp("bad-cases"), step=STEP) as made:
        yield made


@pytest.fixture
def cluster(stack: Stack) -> Iterator[Cluster]:
    """Whatever a test starts ends with it."""
    yield stack.cluster
    codes = [worker.stop() for worker in stack.cluster.workers if worker.process and worker.process.poll() is None]
    stack.cluster.workers.clear()
    assert not any(codes), codes


def complaint(worker: Worker, within_s: float = 60) -> str:
    """The one line of a service that isn't ready."""
    until = time.monotonic() + within_s
    while True:
        try:
            status, answer = worker.get("/readyz")
        except OSError:
            status, answer = 0, {}
        details = answer.get("details", []) if isinstance(answer, dict) else []
        problems = [one["detail"] for one in details]
        if status == 503 and problems not in ([], ["not started"], ["starting"]):
            (line,) = problems
            assert "\n" not in line
            assert PASSWORD not in line + worker.log.read_text()
            return str(line)
        assert time.monotonic() < until, (status, answer, worker.tail())
        time.sleep(0.1)


def doctors_word(cluster: Cluster) -> str:
    done = cluster.oms("doctor")
    assert done.returncode == 1, done.stdout + done.stderr
    assert PASSWORD not in done.stderr
    return done.stderr


def test_a_missing_secret(cluster: Cluster) -> None:
    worker = Worker("order", {**cluster.settings(), "OMS_POSTGRES_PASSWORD": ""}, cluster.directory / "no-secret.log")
    cluster.workers.append(worker.start())
    assert complaint(worker).endswith(
        "oms_order can't log in: the server wants a password, OMS_POSTGRES_PASSWORD gives none"
    )
    assert worker.stop() == 0
    worker.start(OMS_POSTGRES_PASSWORD=PASSWORD).await_ready()


def test_a_file_of_a_secret_that_is_not_there_ends_it_with_one_line(cluster: Cluster) -> None:
    environ = {name: text for name, text in cluster.settings().items() if name != "OMS_POSTGRES_PASSWORD"}
    done = subprocess.run(
        [sys.executable, "-m", "oms", "run", "order"],
        env={**environ, "OMS_POSTGRES_PASSWORD_FILE": "/run/secrets/nobody-put-it-here"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("oms: OMS_POSTGRES_PASSWORD_FILE")


def test_a_wrong_password(stack: Stack, cluster: Cluster) -> None:
    stack.as_admin("ALTER ROLE oms_order PASSWORD 'another'")
    worker = cluster.add("order")
    assert 'oms_order can\'t log in: password authentication failed for user "oms_order"' in complaint(worker)
    cluster.set_up()  # gives the role the password of the settings
    worker.await_ready()


def test_a_postgresql_that_comes_late(stack: Stack, cluster: Cluster) -> None:
    stack.postgres.stop()
    worker = cluster.add("order")
    assert "PostgreSQL at" in (line := complaint(worker))
    assert "can't be reached" in line
    stack.postgres.start()
    worker.await_ready()


def test_a_kafka_that_comes_late(stack: Stack, cluster: Cluster) -> None:
    stack.kafka.stop()
    worker = cluster.add("payment")
    assert complaint(worker).startswith("Kafka can't be reached at ")
    stack.kafka.start()
    worker.await_ready()


def test_a_redis_that_evicts(stack: Stack, cluster: Cluster) -> None:
    admin = redis.Redis.from_url(stack.redis.url)
    admin.config_set("maxmemory-policy", "allkeys-lru")
    worker = cluster.add("inventory")
    assert "maxmemory-policy allkeys-lru, which may drop orders' answers; it must be noeviction" in complaint(worker)
    assert "allkeys-lru" in doctors_word(cluster)
    admin.config_set("maxmemory-policy", "noeviction")
    worker.await_ready()
    admin.close()


def test_a_redis_that_is_full(stack: Stack, cluster: Cluster) -> None:
    admin = redis.Redis.from_url(stack.redis.url)
    admin.config_set("maxmemory", "1")
    worker = cluster.add("inventory")
    assert "Redis is full: maxmemory is reached" in complaint(worker)
    admin.config_set("maxmemory", "0")
    worker.await_ready()
    admin.close()


def test_a_topic_with_too_few_partitions(stack: Stack, cluster: Cluster) -> None:
    admin = stack.admin
    admin.delete_topics(["payment.voided"])["payment.voided"].result()
    wait_for(lambda: "payment.voided" not in admin.list_topics(timeout=10).topics, "the topic is gone")
    admin.create_topics([NewTopic("payment.voided", 1, 1)])["payment.voided"].result()
    worker = cluster.add("payment")
    assert complaint(worker) == "topic payment.voided has 1 partition, OMS_PARTITIONS is 4: `oms setup` adds them"
    assert "payment.voided has 1 partition" in doctors_word(cluster)
    cluster.set_up()
    worker.await_ready()


def test_a_message_that_is_too_large_is_parked_and_copied_and_blocks_nothing(stack: Stack, cluster: Cluster) -> None:
    admin = stack.admin
    admin.create_topics([NewTopic("big.done", 4, 1)])["big.done"].result()
    worker = cluster.add("big")
    worker.await_ready()
    confirmed(stack, "order-1", "whale")
    wait_for(lambda: letters(worker), "it is parked")
    confirmed(stack, "order-2", "shrimp")
    wait_for(lambda: [record.key for record in stack.records("big.done")] == [b"order-2"], "the next one is sent")

    (letter,) = letters(worker)
    assert (letter["cause"], letter["topic"]) == ("unpublishable", "big.done")
    assert "a message of " in letter["detail"]
    wait_for(lambda: stack.records("big.dlq"), "its copy is sent")
    (copy,) = stack.records("big.dlq")
    copy_headers = dict(copy.headers)
    assert (copy.key, copy.value, copy_headers["oms_dead_letter_left_out"]) == (b"order-1", b"", b"value")
    assert copy_headers["oms_dead_letter_id"].decode() == letter["id"]
    assert int(copy_headers["oms_dead_letter_value_bytes"]) > JUST_TOO_LARGE


def letters(worker: Worker) -> list[dict[str, Any]]:
    status, found = worker.get("/dead-letters")
    assert status == 200
    return list(found)


def confirmed(stack: Stack, order_id: str, sku: str) -> None:
    value = {"orderId": order_id, "userId": "ann", "totalAmount": 1, "items": {sku: 1}}
    stack.produce("order.confirmed", json.dumps(value).encode())
