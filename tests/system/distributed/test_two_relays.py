"""Two order processes whose first sends fail, one of which dies: each message is in the log, and takes effect once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import request
from tests.support.serving import an_order, wait_for
from tests.support.stack import Stack, own_stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
ORDERS = 60
TOPICS = ("order.created", "inventory.reserved", "payment.success", "order.confirmed")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with own_stack(tmp_path) as made:
        made.cluster.start()
        made.cluster.add("order").await_ready()
        yield made
        made.cluster.stop()


def messages(stack: Stack, topic: str) -> dict[str, set[bytes]]:
    """The ids of the different messages of each order in a topic."""
    found = defaultdict(set)
    for record in stack.records(topic):
        found[(record.key or b"").decode()].add(dict(record.headers)["ce_id"])
    return found


def test_messages_whose_first_send_failed_at_two_relays_are_sent(stack: Stack) -> None:
    system, kafka = stack.cluster, stack.kafka
    first, second = system.of("order")
    kafka.stop()
    placed = []
    for number in range(ORDERS):
        worker = (first, second)[number % 2]
        status, order = request(worker.port, "POST", "/orders", an_order(number), timeout_s=30)
        assert status == 201, order
        placed.append(order["id"])
    for worker in (first, second):
        wait_for(lambda: worker.get("/readyz")[0] == 503, "the first send has failed")  # noqa: B023 - asked at once
    first.kill()
    kafka.start()
    first.start()

    assert system.settle() == {"CONFIRMED": ORDERS}
    system.check()
    for topic in TOPICS:
        assert {order: len(ids) for order, ids in messages(stack, topic).items()} == dict.fromkeys(placed, 1), topic
