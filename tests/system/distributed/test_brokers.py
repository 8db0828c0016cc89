"""Three Kafka brokers, three copies of each topic: the one that dies with orders in flight isn't missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster
from tests.support.serving import Load, an_order, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]
COPIES = {
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
}
ORDERS = 600


@pytest.fixture
def brokers() -> Iterator[list[NativeKafka]]:
    """The first is the controller as well."""
    with (
        NativeKafka(COPIES) as first,
        NativeKafka(COPIES, joins=first) as second,
        NativeKafka(COPIES, joins=first) as third,
    ):
        wait_for(lambda: len(_brokers(first.url)) == 3, "three brokers are there")
        yield [first, second, third]


@pytest.fixture
def cluster(brokers: list[NativeKafka], tmp_path: Path) -> Iterator[Cluster]:
    environ = {"OMS_KAFKA_REPLICATION": "3", "OMS_PAYMENT_SUCCESS_RATE": "1", "OMS_DEFAULT_STOCK": "100000"}
    everywhere = ",".join(broker.url for broker in brokers)
    with NativePostgres() as postgres, NativeRedis() as gate:
        made = Cluster(tmp_path, postgres.url, gate.url, everywhere, environ)
        try:
            made.set_up()
            yield made.start()
        finally:
            made.end()


def test_a_broker_that_dies_is_not_missed(cluster: Cluster, brokers: list[NativeKafka]) -> None:
    load = Load(cluster.of("order")[0].port, an_order, connections=16)
    load.start(ORDERS)
    wait_for(lambda: len(load.accepted) > ORDERS // 4, "orders come in")
    brokers[1].kill()
    load.join()
    assert set(load.statuses) == {201}
    counted = cluster.settle()  # with two of three brokers
    assert counted == {"CONFIRMED": ORDERS}
    brokers[1].start()
    wait_for(lambda: len(_brokers(brokers[0].url)) == 3, "it is back")
    report = cluster.check()
    assert report["quiet"]
    cluster.stop()


def _brokers(bootstrap: str) -> dict[int, object]:
    return dict(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).brokers)
