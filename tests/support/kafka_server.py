"""A Kafka broker of a test's own, which it may kill and start again: one node, from Apache's jars.

The jars are those that `make servers` fetched; see `oms.testing.servers.native.jars`.
"""

from __future__ import annotations

import atexit
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from oms.ports.broker import Subscription, TopicPartition
from oms.ports.messages import Record
from oms.settings import Settings
from oms.testing.servers.native import jars

START_S = 90.0
USER, PASSWORD = "oms", "not-for-any-log"
JAVA = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp")


class KafkaServer:
    """One broker with a plain, a SASL and a TLS listener. Its ports and its data stay when it is killed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._libs = f"{jars.fetched()}/*"
        self.plain, self.sasl, self.tls, controller = (f"127.0.0.1:{port}" for port in _free_ports(4))
        self.ca_file = _certificate(directory)
        self._properties = directory / "server.properties"
        self._properties.write_text(self._config(controller))
        self._java("kafka.tools.StorageTool", "format", "-t", uuid4().hex[:22], "-c", str(self._properties)).wait()
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._java("kafka.Kafka", str(self._properties))
        until = time.monotonic() + START_S
        while True:
            try:
                AdminClient({"bootstrap.servers": self.plain, "log_level": 0}).list_topics(timeout=1)
            except KafkaException:
                assert time.monotonic() < until, (self._directory / "kafka.log").read_text()[-2000:]
            else:
                return

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def settings(self, conf: Mapping[str, str] | None = None, **more: Any) -> Settings:
        """Settings of a client, by default of the plain listener; `conf` are librdkafka's keys."""
        quick = {"heartbeat.interval.ms": "100", "session.timeout.ms": "6000"}
        return Settings(**{"kafka_bootstrap": self.plain, "kafka_conf": {**quick, **(conf or {})}, **more})

    def _java(self, *words: str) -> subprocess.Popen[bytes]:
        with (self._directory / "kafka.log").open("ab") as log:
            return subprocess.Popen([*JAVA, self._libs, *words], cwd=self._directory, stdout=log, stderr=log)

    def _config(self, controller: str) -> str:
        directory = self._directory
        return f"""
            process.roles=broker,controller
            node.id=1
            controller.quorum.voters=1@{controller}
            controller.listener.names=CONTROLLER
            listeners=PLAINTEXT://{self.plain},SASL_PLAINTEXT://{self.sasl},SSL://{self.tls},CONTROLLER://{controller}
            inter.broker.listener.name=PLAINTEXT
            listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
            sasl.enabled.mechanisms=PLAIN
            listener.name.sasl_plaintext.plain.sasl.jaas.config=\
                org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
            ssl.keystore.type=PEM
            ssl.keystore.location={directory}/server.pem
            log.dirs={directory}/data
            auto.create.topics.enable=false
            offsets.topic.replication.factor=1
            offsets.topic.num.partitions=4
            transaction.state.log.replication.factor=1
            transaction.state.log.min.isr=1
            group.initial.rebalance.delay.ms=0
            group.min.session.timeout.ms=500
        """.replace(" " * 12, "")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _certificate(directory: Path) -> Path:
    """A certificate for 127.0.0.1 that signed itself; `server.pem` has its key as well."""
    key, certificate = directory / "key.pem", directory / "ca.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    (directory / "server.pem").write_text(key.read_text() + certificate.read_text())
    return certificate


@cache
def own_server() -> KafkaServer:
    """The one that the tests of a process share; ends with it."""
    directory = TemporaryDirectory(prefix="oms-kafka-", ignore_cleanup_errors=True)
    server = KafkaServer(Path(directory.name))
    atexit.register(directory.cleanup)
    atexit.register(server.kill)
    return server


def new_topic(server: KafkaServer, partitions: int = 4, **config: str) -> str:
    """A topic of a test's own."""
    name = f"topic-{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": server.plain})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result()
    wait_for(lambda: name in admin.list_topics(timeout=10).topics)
    return name


def read(subscription: Subscription, number: int, *others: Subscription, within_s: float = 30.0) -> list[Record]:
    """At least so many records; meanwhile the other members show that they are alive."""
    found: list[Record] = []
    until = time.monotonic() + within_s
    while len(found) < number:
        found += subscription.poll(100)
        for other in others:
            other.poll(0)
        assert time.monotonic() < until, f"{len(found)} of {number} records came"
        time.sleep(0.002)
    return found


def wait_for(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Until it is true."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def place(record: Record) -> TopicPartition:
    """Where a record is."""
    return TopicPartition(record.topic, record.partition)
