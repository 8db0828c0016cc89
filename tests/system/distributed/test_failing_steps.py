"""A user's own step whose handler fails, kills its process, or parks a message while a server is down.

Nothing is lost, nothing is done twice, and no other message is held up.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from confluent_kafka import Producer

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.messages import Record
from oms.settings import load_settings
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster, Worker
from tests.support.serving import wait_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

STEP = """
import os
import time
from pathlib import Path

import oms

HERE = Path(os.environ["FRAGILE_FILES"])


def subscribe(app):
    def handle(event, step):
        kind = next(iter(event.terms.items))
        with (HERE / f"{event.order_id}.attempts").open("a") as attempts:
            attempts.write("x")
        if kind == "kill":
            os.kill(os.getpid(), 9)
        if kind == "away" and not (HERE / "is-back").exists():
            raise oms.Retryable("the other system is away")
        if kind == "bug":
            while not (HERE / f"{event.order_id}.go").exists():
                time.sleep(0.02)
            raise ValueError("a bug of the handler")
        step.publish("fragile.done", done=True)

    app.subscribe("order.confirmed", group="fragile", handler=handle, publishes=["fragile.done"])
"""
MOST_LIVES = 12


@attrs.define
class Stack:
    """The servers, one process of the step, and what it did."""

    postgres: NativePostgres
    kafka: NativeKafka
    cluster: Cluster
    files: Path
    worker: Worker

    def send(self, order_id: str, kind: str) -> None:
        """One message; all of them are in the same partition."""
        value = {"orderId": order_id, "userId": "ann", "totalAmount": 1, "items": {kind: 1}}
        producer = Producer({"bootstrap.servers": self.kafka.url})
        producer.produce("order.confirmed", json.dumps(value).encode(), b"one partition")
        assert producer.flush(10) == 0

    def attempts(self, order_id: str) -> int:
        file = self.files / f"{order_id}.attempts"
        return len(file.read_text()) if file.exists() else 0

    def let_fail(self, order_id: str) -> None:
        (self.files / f"{order_id}.go").touch()

    def letters(self, order_id: str) -> list[dict[str, Any]]:
        """The dead letters of an order."""
        try:
            status, found = self.worker.get("/dead-letters")
        except OSError:
            return []
        return [letter for letter in found if letter["orderId"] == order_id] if status == 200 else []

    def records(self, topic: str) -> list[Record]:
        given = {name: text for name, text in self.cluster.settings().items() if name.startswith("OMS_")}
        return list(KafkaBroker(load_settings(given).kafka, RecordingTelemetry(), topics=[topic]).all_records())

    def done(self) -> Counter[str]:
        """How many different messages of each order are in the log. The same message may be in it twice."""
        found = {
            ((record.key or b"").decode(), dict(record.headers)["ce_id"]) for record in self.records("fragile.done")
        }
        return Counter(order for order, _ in found)

    def wait_until_done(self, *orders: str) -> None:
        wait_for(lambda: set(orders) <= set(self.done()), f"{', '.join(orders)} are done")
        assert {order: self.done()[order] for order in orders} == dict.fromkeys(orders, 1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("failing-steps")
    (directory / "fragile_steps.py").write_text(STEP)
    environ = {
        "OMS_STEPS": "fragile_steps:subscribe",
        "FRAGILE_FILES": str(directory),
        "PYTHONPATH": os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]),
        "OMS_KAFKA_CONF_SESSION_TIMEOUT_MS": "1500",
        "OMS_KAFKA_CONF_HEARTBEAT_INTERVAL_MS": "300",
    }
    with NativePostgres() as postgres, NativeRedis() as gate, NativeKafka() as kafka:
        cluster = Cluster(directory, postgres.url, gate.url, kafka.url, environ)
        (directory / "data").mkdir()
        cluster.set_up()
        worker = cluster.add("fragile")
        try:
            worker.await_ready()
            yield Stack(postgres, kafka, cluster, directory, worker)
            assert worker.stop() == 0
        finally:
            cluster.end()


def test_a_handler_with_a_bug_parks_its_message_and_holds_up_no_other(stack: Stack) -> None:
    stack.let_fail("bug-1")
    stack.send("bug-1", "bug")
    stack.send("good-1", "good")
    stack.wait_until_done("good-1")
    wait_for(lambda: len(stack.letters("bug-1")) == 1, "it is parked")
    (letter,) = stack.letters("bug-1")
    assert letter["cause"] == "ValueError"
    assert "a bug of the handler" in letter["detail"]


def test_a_message_that_kills_its_process_each_time_is_parked(stack: Stack) -> None:
    stack.send("good-2", "good")
    stack.send("kill-1", "kill")
    stack.send("good-3", "good")
    lives = 0
    while not stack.letters("kill-1"):
        assert lives < MOST_LIVES
        process = stack.worker.process
        assert process is not None
        wait_for(lambda: bool(process.poll() is not None or stack.letters("kill-1")), "it dies or parks the message")  # noqa: B023
        if process.poll() is not None:
            lives += 1
            stack.worker.start()
    assert stack.attempts("kill-1") == lives
    assert lives >= 1
    (letter,) = stack.letters("kill-1")
    assert "died" in letter["detail"]
    stack.wait_until_done("good-2", "good-3")


def test_a_failing_message_then_a_good_one_then_a_kill(stack: Stack) -> None:
    """The offset of the good one isn't committed past the failing one."""
    stack.send("away-1", "away")
    stack.send("good-4", "good")
    wait_for(lambda: stack.attempts("away-1") >= 2, "it was tried again")
    stack.worker.kill()
    (stack.files / "is-back").touch()
    stack.worker.start()
    stack.wait_until_done("away-1", "good-4")
    assert stack.letters("away-1") == []


def test_postgresql_is_down_while_a_message_is_parked(stack: Stack) -> None:
    stack.send("bug-2", "bug")
    stack.send("good-5", "good")
    wait_for(lambda: stack.attempts("bug-2") >= 1, "the handler is at it")
    stack.postgres.stop()
    stack.let_fail("bug-2")
    wait_for(lambda: stack.worker.get("/readyz")[0] == 503, "the service isn't ready")
    assert "good-5" not in stack.done()
    stack.postgres.start()
    wait_for(lambda: len(stack.letters("bug-2")) == 1, "it is parked")
    stack.wait_until_done("good-5")


def test_kafka_is_down_while_a_message_is_parked(stack: Stack) -> None:
    stack.send("bug-3", "bug")
    wait_for(lambda: stack.attempts("bug-3") >= 1, "the handler is at it")
    stack.kafka.stop()
    stack.let_fail("bug-3")
    wait_for(lambda: stack.worker.get("/readyz")[0] == 503, "the service isn't ready")
    stack.kafka.start()
    wait_for(lambda: len(stack.letters("bug-3")) == 1, "it is parked")
    stack.send("good-6", "good")
    stack.wait_until_done("good-6")
    (letter,) = stack.letters("bug-3")

    def copies() -> int:
        copied = [dict(record.headers)["oms_dead_letter_id"] for record in stack.records("fragile.dlq")]
        return copied.count(letter["id"].encode())

    wait_for(lambda: copies() > 0, "its copy is sent")
