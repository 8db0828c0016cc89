"""A user's own step whose handler fails, kills its process, or parks a message while a server is down.

Nothing is lost, nothing is done twice, and no other message is held up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from tests.support.cluster import Worker
from tests.support.serving import wait_for
from tests.support.stack import Stack, own_stack

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
class Fragile:
    """The servers, one process of the step, and what it did."""

    stack: Stack
    worker: Worker

    def send(self, order_id: str, kind: str) -> None:
        """One message; all of them are in the same partition."""
        value = {"orderId": order_id, "userId": "ann", "totalAmount": 1, "items": {kind: 1}}
        self.stack.produce("order.confirmed", json.dumps(value).encode(), b"one partition")

    def attempts(self, order_id: str) -> int:
        file = self.stack.cluster.directory / f"{order_id}.attempts"
        return len(file.read_text()) if file.exists() else 0

    def let_fail(self, order_id: str) -> None:
        (self.stack.cluster.directory / f"{order_id}.go").touch()

    def let_return(self) -> None:
        """The other system is back."""
        (self.stack.cluster.directory / "is-back").touch()

    def letters(self, order_id: str) -> list[dict[str, Any]]:
        """The dead letters of an order."""
        try:
            status, found = self.worker.get("/dead-letters")
        except OSError:
            return []
        return [letter for letter in found if letter["orderId"] == order_id] if status == 200 else []

    def done(self) -> Counter[str]:
        """How many different messages of each order are in the log. The same message may be in it twice."""
        found = {
            ((record.key or b"").decode(), dict(record.headers)["ce_id"])
            for record in self.stack.records("fragile.done")
        }
        return Counter(order for order, _ in found)

    def wait_until_done(self, *orders: str) -> None:
        wait_for(lambda: set(orders) <= set(self.done()), f"{', '.join(orders)} are done")
        assert {order: self.done()[order] for order in orders} == dict.fromkeys(orders, 1)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fragile]:
    directory = tmp_path_factory.mktemp("failing-steps")
    environ = {
        "FRAGILE_FILES": str(directory),
        "OMS_KAFKA_CONF_SESSION_TIMEOUT_MS": "1500",
        "OMS_KAFKA_CONF_HEARTBEAT_INTERVAL_MS": "300",
    }
    with own_stack(directory, environ, step=STEP) as stack:
        worker = stack.cluster.add("fragile")
        worker.await_ready()
        yield Fragile(stack, worker)
        assert worker.stop() == 0


def test_a_handler_with_a_bug_parks_its_message_and_holds_up_no_other(fragile: Fragile) -> None:
    fragile.let_fail("bug-1")
    fragile.send("bug-1", "bug")
    fragile.send("good-1", "good")
    fragile.wait_until_done("good-1")
    wait_for(lambda: len(fragile.letters("bug-1")) == 1, "it is parked")
    (letter,) = fragile.letters("bug-1")
    assert letter["cause"] == "ValueError"
    assert "a bug of the handler" in letter["detail"]


def test_a_message_that_kills_its_process_each_time_is_parked(fragile: Fragile) -> None:
    fragile.send("good-2", "good")
    fragile.send("kill-1", "kill")
    fragile.send("good-3", "good")
    lives = 0
    while not fragile.letters("kill-1"):
        assert lives < MOST_LIVES
        process = fragile.worker.process
        assert process is not None
        wait_for(lambda: bool(process.poll() is not None or fragile.letters("kill-1")), "it dies or parks the message")  # noqa: B023
        if process.poll() is not None:
            lives += 1
            fragile.worker.start()
    assert fragile.attempts("kill-1") == lives
    assert lives >= 1
    (letter,) = fragile.letters("kill-1")
    assert "died" in letter["detail"]
    fragile.wait_until_done("good-2", "good-3")


def test_a_failing_message_then_a_good_one_then_a_kill(fragile: Fragile) -> None:
    """The offset of the good one isn't committed past the failing one."""
    fragile.send("away-1", "away")
    fragile.send("good-4", "good")
    wait_for(lambda: fragile.attempts("away-1") >= 2, "it was tried again")
    fragile.worker.kill()
    fragile.let_return()
    fragile.worker.start()
    fragile.wait_until_done("away-1", "good-4")
    assert fragile.letters("away-1") == []


def test_postgresql_is_down_while_a_message_is_parked(fragile: Fragile) -> None:
    fragile.send("bug-2", "bug")
    fragile.send("good-5", "good")
    wait_for(lambda: fragile.attempts("bug-2") >= 1, "the handler is at it")
    fragile.stack.postgres.stop()
    fragile.let_fail("bug-2")
    wait_for(lambda: fragile.worker.get("/readyz")[0] == 503, "the service isn't ready")
    assert "good-5" not in fragile.done()
    fragile.stack.postgres.start()
    wait_for(lambda: len(fragile.letters("bug-2")) == 1, "it is parked")
    fragile.wait_until_done("good-5")


def test_kafka_is_down_while_a_message_is_parked(fragile: Fragile) -> None:
    fragile.send("bug-3", "bug")
    wait_for(lambda: fragile.attempts("bug-3") >= 1, "the handler is at it")
    fragile.stack.kafka.stop()
    fragile.let_fail("bug-3")
    wait_for(lambda: fragile.worker.get("/readyz")[0] == 503, "the service isn't ready")
    fragile.stack.kafka.start()
    wait_for(lambda: len(fragile.letters("bug-3")) == 1, "it is parked")
    fragile.send("good-6", "good")
    fragile.wait_until_done("good-6")
    (letter,) = fragile.letters("bug-3")

    def copies() -> int:
        copied = [dict(record.headers)["oms_dead_letter_id"] for record in fragile.stack.records("fragile.dlq")]
        return copied.count(letter["id"].encode())

    wait_for(lambda: copies() > 0, "its copy is sent")
