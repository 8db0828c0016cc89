"""A Kafka broker of a test's own, with a listener of each kind, which it may kill and start again."""

from __future__ import annotations

import atexit
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic

from oms.ports.broker import Subscription, TopicPartition
from oms.ports.messages import Record
from oms.settings import Settings
from oms.testing.servers import NativeKafka
from oms.testing.servers.native.server import free_port

USER, PASSWORD = "oms", "not-for-any-log"
LISTENERS = "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT"
LOGIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'


class KafkaServer:
    """One broker with a plain, a SASL and a TLS listener. Its ports and its data stay when it is killed."""

    def __init__(self, directory: Path) -> None:
        self._broker = NativeKafka()
        self.plain = self._broker.url
        self.sasl, self.tls = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.ca_file = _certificate(directory)
        self._broker.settings.update(self._listeners(directory / "server.pem"))
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._broker.start()

    def kill(self) -> None:
        """As a crash does."""
        self._broker.kill()

    def close(self) -> None:
        """Kill it and remove its data."""
        self._broker.close()

    def settings(self, conf: Mapping[str, str] | None = None, **more: Any) -> Settings:
        """Settings of a client, by default of the plain listener; `conf` are librdkafka's keys."""
        quick = {"heartbeat.interval.ms": "100", "session.timeout.ms": "6000"}
        return Settings(**{"kafka_bootstrap": self.plain, "kafka_conf": {**quick, **(conf or {})}, **more})

    def _listeners(self, key_store: Path) -> Mapping[str, str]:
        clients = f"PLAINTEXT://{self.plain},SASL_PLAINTEXT://{self.sasl},SSL://{self.tls}"
        return {
            "listeners": f"{clients},CONTROLLER://{self._broker.controller}",
            "advertised.listeners": clients,
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": LISTENERS,
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": LOGIN,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(key_store),
            "offsets.topic.num.partitions": "4",
        }


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
    atexit.register(server.close)
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
