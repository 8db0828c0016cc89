"""PostgreSQL restored from a backup, Redis empty, Kafka as it is: the procedure of docs/distributed.md, step by step."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from redis import Redis

from oms.adapters.kafka import group_offsets
from oms.application.routing import ROUTING
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import SERVICES, Cluster, request
from tests.support.serving import an_order, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    servers = (NativePostgres(), NativeRedis(), NativeKafka())
    try:
        for server in servers:
            server.start()
        made = Cluster(tmp_path, *(server.url for server in servers), {"OMS_DEFAULT_STOCK": "100000"})
        made.set_up()
        try:
            yield made.start()
        finally:
            made.end()
    finally:
        for server in reversed(servers):
            server.close()


def place(cluster: Cluster, count: int) -> list[str]:
    port, placed = cluster.of("order")[0].port, []
    for number in range(count):
        status, order = request(port, "POST", "/orders", an_order(number))
        assert status == 201
        placed.append(order["id"])
    return placed


def run(*command: str) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read_from_the_beginning(bootstrap: str) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets --to-earliest --all-topics --execute` for each group."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for service in SERVICES:
        group = f"{service}-group"
        (listed,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        earliest = [TopicPartition(one.topic, one.partition, 0) for one in listed.result().topic_partitions]
        assert earliest
        for done in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, earliest)]).values():
            done.result()


def all_is_read(cluster: Cluster) -> bool:
    """Whether each group has read its topics to their end: a message that is read later may be parked later."""
    conf = {"bootstrap.servers": cluster.kafka_bootstrap}
    return not any(group_offsets.unread(conf, consumes.group, consumes.topics) for consumes in ROUTING.values())


def parked(cluster: Cluster) -> list[tuple[int, str]]:
    """The port and id of each dead letter that waits."""
    found = []
    for worker in cluster.workers:
        status, letters = worker.get("/dead-letters?state=PARKED&limit=1000")
        assert status == 200
        found += [(worker.port, letter["id"]) for letter in letters]
    return found


def test_an_earlier_state_of_postgresql_catches_up(cluster: Cluster, tmp_path: Path) -> None:
    base = cluster.postgres_url.rpartition("/")[0]
    before = place(cluster, 60)
    run("pg_dump", "--format=custom", f"--file={tmp_path / 'oms.dump'}", f"{base}/oms")
    after = place(cluster, 60)
    cluster.settle()
    cluster.check()

    cluster.stop()
    with psycopg.connect(cluster.postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE oms WITH (FORCE)")
        connection.execute("CREATE DATABASE oms")
    run("pg_restore", f"--dbname={base}/oms", str(tmp_path / "oms.dump"))
    Redis.from_url(cluster.redis_url).flushall()
    read_from_the_beginning(cluster.kafka_bootstrap)

    cluster.workers.clear()
    cluster.set_up()
    cluster.start()
    wait_for(lambda: sum(cluster.states().values()) == len(before) + len(after), "every order is there again")
    cluster.settle()
    wait_for(lambda: all_is_read(cluster), "every group has read its topics")
    for port, letter in parked(cluster):
        assert request(port, "POST", f"/dead-letters/{letter}/redrive")[0] == 200
    cluster.settle()
    assert parked(cluster) == []
    cluster.check()
    cluster.stop()
