"""Faults of the servers while services run: each row of the table in docs/distributed.md, on real servers.

A fault shows within five seconds in `/readyz`, in the log and as a metric, stays for as long as it lasts, and its end is
logged. No request is made meanwhile: a service at rest knows as well.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from confluent_kafka import Consumer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from oms.testing.servers import NativeKafka
from tests.support.cluster import Worker, request
from tests.support.serving import wait_for
from tests.support.stack import Stack, own_stack

pytestmark = [pytest.mark.servers, pytest.mark.faults, pytest.mark.timeout(300)]

SHOWS_S = 5.0
LASTS_S = 6.0
"""How long a fault is watched after it has shown: in that time no answer may be 200."""

EVERYBODY = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
STEP = """
import os, time
def subscribe(app):
    def handle(event, step):
        while os.path.exists(os.environ["OMS_TEST_STUCK"]):
            time.sleep(0.05)
    app.subscribe("order.created", group="slow", handler=handle)
"""


@contextmanager
def denied(stack: Stack, kind: ResourceType, name: str, operation: AclOperation) -> Iterator[None]:
    """Kafka denies everybody an operation."""
    denies = (kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, AclPermissionType.DENY)
    admin = stack.admin
    for future in admin.create_acls([AclBinding(*denies)]).values():
        future.result()
    try:
        yield
    finally:
        for deleted in admin.delete_acls([AclBindingFilter(*denies)]).values():
            deleted.result()


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file is there, the step's handler doesn't return."""
    return tmp_path_factory.mktemp("step") / "stuck"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, stuck: Path) -> Iterator[Stack]:
    environ = {
        "OMS_TEST_STUCK": str(stuck),
        "OMS_DEFAULT_STOCK": "100",
        "OMS_KAFKA_CONF_SESSION_TIMEOUT_MS": "6000",
    }
    with own_stack(tmp_path_factory.mktemp("health"), environ, step=STEP, kafka=NativeKafka(EVERYBODY)) as made:
        for service in ("order", "inventory", "payment"):
            made.cluster.add(service)
        made.cluster.await_ready()
        yield made
        made.cluster.stop()


@pytest.fixture
def workers(stack: Stack) -> dict[str, Worker]:
    stack.cluster.await_ready()
    return {worker.service: worker for worker in stack.cluster.workers}


def logged(worker: Worker, event: str, code: str) -> Counter[str]:
    """How often it was logged, by subject: one fault may show as several problems of a condition."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    return Counter(line["subject"] for line in lines if line["event"] == event and line.get("condition") == code)


def gauge(worker: Worker, code: str) -> float:
    text = worker.get("/metrics")[1].decode()
    lines = [line for line in text.splitlines() if line.startswith(f'oms_health_problems{{condition="{code}"')]
    assert lines, text
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@contextmanager
def shown(code: str, *workers: Worker, mends: Callable[[], None], within_s: float = SHOWS_S) -> Iterator[None]:
    """The fault was made just now: watch it, `mends` it, and watch its end."""
    began = time.monotonic()
    before = [(logged(worker, "not ready", code), logged(worker, "recovered", code)) for worker in workers]
    try:
        for worker, (opened, _) in zip(workers, before, strict=True):
            await_shown(worker, code, opened, began + within_s)
        until = time.monotonic() + LASTS_S
        while time.monotonic() < until:
            for worker in workers:
                status, answer = worker.get("/readyz")
                assert status == 503, f"{worker.service} is ready while the fault lasts"
                assert code in answer["problems"]
            time.sleep(0.1)
        yield
    finally:
        mends()
    for worker, (opened, closed) in zip(workers, before, strict=True):
        worker.await_ready(90)
        wait_for(partial(is_over, worker, code, opened, closed), f"{worker.service} logs the end", 5)
        assert set((logged(worker, "not ready", code) - opened).values()) == {1}, "it didn't flap"


def is_over(worker: Worker, code: str, opened: Counter[str], closed: Counter[str]) -> bool:
    """Each problem that began since then is over."""
    begun, ended = logged(worker, "not ready", code) - opened, logged(worker, "recovered", code) - closed
    return begun == ended and gauge(worker, code) == 0


def await_shown(worker: Worker, code: str, opened: Counter[str], until: float) -> None:
    while True:
        status, answer = worker.get("/readyz")
        if status == 503 and code in answer["problems"] and logged(worker, "not ready", code) != opened:
            assert gauge(worker, code) >= 1
            return
        assert time.monotonic() < until, (worker.service, code, status, answer, worker.tail())
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_kafka_is_down(stack: Stack, workers: dict[str, Worker], how: str) -> None:
    mends = stack.kafka.start if how == "kill" else stack.kafka.resume
    getattr(stack.kafka, how)()
    with shown("log_unavailable", *workers.values(), mends=mends):
        pass


def test_postgresql_is_down(stack: Stack, workers: dict[str, Worker]) -> None:
    stack.postgres.kill()
    with shown("store_unavailable", *workers.values(), mends=stack.postgres.start):
        pass


def test_postgresql_is_a_standby(stack: Stack, workers: dict[str, Worker]) -> None:
    """As after a failover to a server that isn't promoted yet: all can be read, nothing written."""
    standby = next(Path(stack.postgres.directory).rglob("PG_VERSION")).parent / "standby.signal"
    stack.postgres.stop()
    standby.touch()
    shutil.chown(standby, standby.parent.owner(), standby.parent.group())
    stack.postgres.start()
    with shown("store_not_writable", *workers.values(), mends=lambda: stack.as_admin("SELECT pg_promote()")):
        assert stack.cluster.states() is not None, "it can be read"


def test_a_default_of_read_only_transactions_changes_nothing(stack: Stack, workers: dict[str, Worker]) -> None:
    """The services say of each transaction what it is, so that they can write, and are ready."""
    stack.as_admin("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    try:
        body = {"userId": "ann", "amount": 1, "items": {"x": 1}}
        for _ in range(20):
            assert request(workers["order"].port, "POST", "/orders", body)[0] == 201
            assert {worker.get("/readyz")[0] for worker in workers.values()} == {200}
            time.sleep(0.1)
    finally:
        with psycopg.connect(stack.postgres.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")


def test_redis_is_down(stack: Stack, workers: dict[str, Worker]) -> None:
    stack.redis.kill()
    with shown("gate_unavailable", workers["inventory"], mends=stack.redis.start):
        assert workers["payment"].get("/readyz")[0] == 200, "no other service needs it"


def test_redis_is_full(stack: Stack, workers: dict[str, Worker]) -> None:
    admin = redis.Redis.from_url(stack.redis.url)
    admin.config_set("maxmemory", "1")
    with shown("gate_unavailable", workers["inventory"], mends=lambda: admin.config_set("maxmemory", "0")):
        (detail,) = [one for one in workers["inventory"].get("/readyz")[1]["details"] if one["subject"] == "gate"]
        assert "maxmemory" in detail["detail"]


def why(worker: Worker, code: str) -> str:
    details = worker.get("/readyz")[1]["details"]
    return " ".join(one["detail"] for one in details if one["code"] == code)


def test_the_group_is_denied(stack: Stack, workers: dict[str, Worker]) -> None:
    payment = workers["payment"]
    denial = denied(stack, ResourceType.GROUP, "payment-group", AclOperation.READ)
    denial.__enter__()
    with shown("locked_out", payment, mends=lambda: denial.__exit__(None, None, None)):
        assert "GROUP_AUTHORIZATION_FAILED" in why(payment, "locked_out")


def test_a_topic_is_denied(stack: Stack, workers: dict[str, Worker]) -> None:
    payment = workers["payment"]
    denial = denied(stack, ResourceType.TOPIC, "inventory.reserved", AclOperation.DESCRIBE)
    denial.__enter__()
    with shown("locked_out", payment, mends=lambda: denial.__exit__(None, None, None)):
        assert "inventory.reserved" in why(payment, "locked_out")


def test_the_group_has_members_with_another_protocol(stack: Stack, workers: dict[str, Worker]) -> None:
    """While the service is stopped and counts as dead, a consumer with another assignor takes the group."""
    payment = workers["payment"]
    payment.signal(signal.SIGSTOP)
    other = member(stack, "payment-group", {"partition.assignment.strategy": "range"})
    wait_for(lambda: other.consume(1, 0.5) is not None and bool(other.assignment()), "the other has the group", 60)
    payment.signal(signal.SIGCONT)
    with shown("locked_out", payment, mends=other.close, within_s=15):
        keep_polling(other, 1)
        assert "INCONSISTENT_GROUP_PROTOCOL" in why(payment, "locked_out")


def member(stack: Stack, group: str, conf: dict[str, Any]) -> Consumer:
    made = Consumer({
        "bootstrap.servers": stack.kafka.url,
        "group.id": group,
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
        "log_level": 0,
        **conf,
    })  # fmt: skip
    made.subscribe(["inventory.reserved", "order.cancelling"])
    return made


def keep_polling(consumer: Consumer, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        consumer.consume(1, 0.1)


def test_another_process_has_the_instance_id(stack: Stack, workers: dict[str, Worker]) -> None:
    """The fenced process joins again without the id, or it would fence the other one, which would fence it again."""
    payment = workers["payment"]
    assert payment.stop() == 0
    strategy = {"partition.assignment.strategy": "roundrobin", "group.instance.id": "payment-1"}
    payment.start(OMS_KAFKA_CONF_GROUP_INSTANCE_ID="payment-1").await_ready()
    other = member(stack, "payment-group", strategy)
    wait_for(lambda: other.consume(1, 0.5) is not None and bool(other.assignment()), "the other has the group", 60)
    with shown("locked_out", payment, mends=lambda: keep_polling(other, 8)):
        keep_polling(other, 0.1)
    assert "joins without it" in payment.log.read_text()
    keep_polling(other, 1)
    assert other.assignment(), "the service didn't fence it in turn"
    other.close()
    assert payment.stop() == 0
    payment.start().await_ready()


def test_a_topic_cannot_be_written(stack: Stack, workers: dict[str, Worker]) -> None:
    order = workers["order"]
    denial = denied(stack, ResourceType.TOPIC, "order.created", AclOperation.WRITE)
    denial.__enter__()
    body = {"userId": "ann", "amount": 1, "items": {"x": 1}}
    assert request(order.port, "POST", "/orders", body)[0] == 201
    with shown("outbox_blocked", order, mends=lambda: denial.__exit__(None, None, None)):
        assert "order.created" in why(order, "outbox_blocked")


def test_a_worker_is_stuck(stack: Stack, stuck: Path, workers: dict[str, Worker]) -> None:
    slow = stack.cluster.add("slow")
    slow.await_ready()
    stuck.touch()
    body = {"userId": "ann", "amount": 1, "items": {"x": 1}}
    assert request(workers["order"].port, "POST", "/orders", body)[0] == 201
    with shown("worker_stuck", slow, mends=stuck.unlink, within_s=SHOWS_S + 1):
        assert "slow.consumer" in why(slow, "worker_stuck")
