"""Two order processes whose first sends fail, one of which dies: each message is in the log, and takes effect once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.settings import load_settings
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster, request
from tests.support.serving import an_order, wait_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
ORDERS = 60
TOPICS = ("order.created", "inventory.reserved", "payment.success", "order.confirmed")


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, NativeKafka]]:
    directory = tmp_path_factory.mktemp("relays")
    with NativePostgres() as postgres, NativeRedis() as gate, NativeKafka() as kafka:
        made = Cluster(directory, postgres.url, gate.url, kafka.url)
        try:
            made.set_up()
            made.start()
            made.add("order").await_ready()
            yield made, kafka
            made.stop()
        finally:
            made.end()


def messages(cluster: Cluster, topic: str) -> dict[str, set[bytes]]:
    """The ids of the different messages of each order in a topic."""
    given = {name: text for name, text in cluster.settings().items() if name.startswith("OMS_")}
    found = defaultdict(set)
    for record in KafkaBroker(load_settings(given).kafka, RecordingTelemetry(), topics=[topic]).all_records():
        found[(record.key or b"").decode()].add(dict(record.headers)["ce_id"])
    return found


def test_messages_whose_first_send_failed_at_two_relays_are_sent(cluster: tuple[Cluster, NativeKafka]) -> None:
    system, kafka = cluster
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
        assert {order: len(ids) for order, ids in messages(system, topic).items()} == dict.fromkeys(placed, 1), topic
