"""PostgreSQL, Redis and Kafka that a test module has for itself, and a cluster on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.ports.messages import Record
from oms.settings import load_settings
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster


@attrs.frozen
class Stack:
    """The servers, which the module may stop, kill and start, and the cluster on them."""

    postgres: NativePostgres
    redis: NativeRedis
    kafka: NativeKafka
    cluster: Cluster

    def as_admin(self, *statements: str) -> None:
        """Run statements as PostgreSQL's superuser."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the services' database."""
        with psycopg.connect(self.postgres.url.rpartition("/")[0] + "/oms", autocommit=True) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]

    @property
    def admin(self) -> AdminClient:
        """Kafka's administrator. A client that is collected fails its futures, so keep it until they are done."""
        return AdminClient({"bootstrap.servers": self.kafka.url})

    def produce(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Send one message and wait until Kafka has it."""
        producer = Producer({"bootstrap.servers": self.kafka.url})
        producer.produce(topic, value, key)
        assert producer.flush(10) == 0

    def records(self, topic: str) -> list[Record]:
        """All that is in a topic."""
        given = {name: text for name, text in self.cluster.settings().items() if name.startswith("OMS_")}
        return list(KafkaBroker(load_settings(given).kafka, RecordingTelemetry(), topics=[topic]).all_records())


@contextmanager
def own_stack(
    directory: Path, environ: Mapping[str, str] | None = None, *, step: str = "", kafka: NativeKafka | None = None
) -> Iterator[Stack]:
    """A stack that is set up and runs no service yet; what a test leaves running is killed at the end.

    `step` is the text of a module whose `subscribe` every process calls; `kafka` is a server with settings of its own.
    """
    (directory / "data").mkdir(exist_ok=True)
    ours = {**(environ or {}), **(with_step(directory, step) if step else {})}
    with NativePostgres() as postgres, NativeRedis() as gate, kafka or NativeKafka() as log:
        cluster = Cluster(directory, postgres.url, gate.url, log.url, ours)
        try:
            cluster.set_up()
            yield Stack(postgres, gate, log, cluster)
        finally:
            cluster.end()


def with_step(directory: Path, text: str) -> Mapping[str, str]:
    """Settings of processes that load a step, whose module is written to the directory."""
    (directory / "own_step.py").write_text(text)
    path = os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))
    return {"OMS_STEPS": "own_step:subscribe", "PYTHONPATH": path}
