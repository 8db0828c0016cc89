"""Consumer groups on real servers: offsets that are lost, partitions that are added, steps that begin now."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.application.routing import ROUTING
from oms.domain.events import BY_TOPIC
from oms.settings import load_settings
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import SERVICES, Cluster, Worker
from tests.support.serving import Load, an_order, wait_for
from tests.support.stack import with_step

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

STEP = """
def subscribe(app):
    def handle(event, step):
        step.save({"times": (step.state or {"times": 0})["times"] + 1})
    app.subscribe("order.confirmed", group="audit", handler=handle, since="now")
"""
EFFECTS = {
    "order": "order_history",
    "inventory": "stock_ledger",
    "payment": "payments",
    "notification": "notifications",
}
"""A table of each service that has a row for each effect."""


class Running(Cluster):
    """With questions that these tests ask."""

    def oms(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command; `oms verify` without the step, which doesn't run to the end and leaves messages unread."""
        return super().oms(*arguments, **({"OMS_STEPS": ""} if arguments[0] == "verify" else {}), **more)

    @property
    def broker(self) -> KafkaBroker:
        return KafkaBroker(load_settings(self.settings()).kafka, RecordingTelemetry())

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka_bootstrap})

    def rows(self, statement: str) -> list[Any]:
        with psycopg.connect(self._record(), autocommit=True) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[call-overload,no-any-return]

    def effects(self) -> Mapping[str, int]:
        return {name: self.rows(f"SELECT count(*) FROM oms_{name}.{table}")[0][0] for name, table in EFFECTS.items()}

    def place(self, number: int) -> None:
        load = Load(self.of("order")[0].port, an_order, connections=8)
        load.start(number)
        load.join()
        assert set(load.statuses) == {201}

    def has_read_everything(self) -> bool:
        """Whether each group has committed the end of each partition that holds something."""
        broker = self.broker
        for consumes in ROUTING.values():
            ends = {at: end for at, end in broker.ends(consumes.topics).items() if end}
            offsets = broker.offsets(consumes.group)
            if any(offsets.get(at) != end for at, end in ends.items()):
                return False
        return True


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("groups")
    environ = {
        **with_step(directory, STEP),
        "OMS_PAYMENT_SUCCESS_RATE": "1",
        "OMS_DEFAULT_STOCK": "100000",
        "OMS_KAFKA_CONF_TOPIC_METADATA_REFRESH_INTERVAL_MS": "1000",
    }
    with NativePostgres() as postgres, NativeRedis() as gate, NativeKafka() as kafka:
        made = Running(directory, postgres.url, gate.url, kafka.url, environ)
        try:
            made.set_up()
            made.start()
            yield made
            made.settle()
            made.check()
        finally:
            made.end()


def test_two_instances_of_a_step_that_begins_now_handle_each_later_order_once(cluster: Running) -> None:
    cluster.place(20)
    cluster.settle()
    audits = [cluster.add("audit"), cluster.add("audit")]
    for worker in audits:
        worker.await_ready()
    before = {row[0] for row in cluster.rows("SELECT id FROM oms_order.orders")}
    cluster.place(40)
    cluster.settle()
    later = {row[0] for row in cluster.rows("SELECT id FROM oms_order.orders")} - before

    def audited() -> Mapping[str, str]:
        return dict(cluster.rows("SELECT key, body FROM oms_step_audit.documents"))

    wait_for(lambda: len(audited()) >= 40, "the step handles them")
    assert audited() == dict.fromkeys(later, '{"times": 1}')
    created = [worker.log.read_text().count('"group created"') for worker in audits]
    assert sum(created) >= 1, "where the group begins is in the log; two that decide the same at once both say so"
    for worker in audits:
        cluster.workers.remove(worker)
        assert worker.stop() == 0


def test_groups_whose_offsets_are_deleted_read_everything_again_do_nothing_twice_and_raise_an_alert(
    cluster: Running,
) -> None:
    cluster.place(50)
    cluster.settle()
    wait_for(cluster.has_read_everything, "everything is read")
    for name in SERVICES:  # a death before the first commit isn't taken for a loss: see SURELY_COMMITTED
        age = f"SELECT min(at) < now() - interval '11 s' FROM oms_{name}.inbox"
        wait_for(lambda age=age: cluster.rows(age)[0][0], "it has handled something for a while")
    before = cluster.effects()
    cluster.stop()
    wait_for(lambda: all(delete_group(cluster.admin, consumes.group) for consumes in ROUTING.values()), "all deleted")
    for worker in cluster.workers:
        worker.start()
    cluster.await_ready()
    wait_for(cluster.has_read_everything, "everything is read again")
    assert cluster.effects() == before
    for worker in cluster.workers:
        await_alert(worker, ROUTING[worker.service].group)
    cluster.place(10)
    counted = cluster.settle()
    assert set(counted) == {"CONFIRMED"}
    cluster.check()


def delete_group(admin: AdminClient, group: str) -> bool:
    """Whether it is gone; not while its last member leaves."""
    try:
        admin.delete_consumer_groups([group])[group].result()
    except KafkaException as error:
        return error.args[0].name() == "GROUP_ID_NOT_FOUND"
    return True


def await_alert(worker: Worker, group: str) -> None:
    wait_for(lambda: '"group offsets are lost"' in worker.log.read_text(), f"{group} raises an alert")
    metrics = worker.get("/metrics")[1].decode()
    assert f'oms_group_offsets_lost_total{{group="{group}"}} 1.0' in metrics
    assert 'oms_alarms_total{event="group offsets are lost"} 1.0' in metrics


def test_partitions_that_are_added_with_orders_in_flight_lose_nothing(cluster: Running) -> None:
    before = sum(cluster.states().values())
    load = Load(cluster.of("order")[0].port, an_order, connections=8)
    load.start(500)
    wait_for(lambda: len(load.accepted) > 60, "orders come in")
    admin = cluster.admin  # the futures of a client that is gone fail
    added = admin.create_partitions([NewPartitions(topic, 6) for topic in BY_TOPIC])
    for future in added.values():
        future.result()
    assert len(load.accepted) < 500, "orders are in flight"
    load.join()
    assert set(load.statuses) == {201}
    assert cluster.settle() == {"CONFIRMED": before + 500}

    def uses_new_partitions() -> bool:
        cluster.place(20)
        used = {(at.topic, at.partition) for at, end in cluster.broker.ends(BY_TOPIC).items() if end}
        return {(topic, 4) for topic in ("order.created", "inventory.reserved", "payment.success")} <= used

    wait_for(uses_new_partitions, "messages go to the new partitions")
    assert set(cluster.settle()) == {"CONFIRMED"}
    wait_for(cluster.has_read_everything, "the new partitions are read from their beginning")
    cluster.check()
