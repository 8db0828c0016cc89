"""Apache Kafka: one node in KRaft mode, run from the jars of Maven Central."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from oms.testing.servers.native import jars
from oms.testing.servers.native.server import LOG_END, NativeServer, free_port
from oms.testing.servers.server_types import ProviderUnavailable, ServerFailed

JAVA = 17
DRAFT = "classes.jsa"
JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A small heap and the quick compiler: a test's broker runs for minutes, so its start-up time matters most."""
SETTINGS = {
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",  # a fault test needn't wait six seconds for a dead consumer's partitions
    "log.cleaner.dedupe.buffer.size": "8388608",
}
LOGGING = """
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


class NativeKafka(NativeServer):
    """Kafka, with broker and controller in one process; it doesn't create topics automatically.

    `settings` are those of `server.properties`, `jvm` are additional options of Java. With `joins`, it is a further
    broker of that server's cluster, without its own controller; that server must run when this one starts.
    """

    name = "kafka"
    start_s: ClassVar[float] = 90.0
    stop_s: ClassVar[float] = 40.0  # it first hands its partitions over

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        jvm: Sequence[str] = (),
        joins: NativeKafka | None = None,
    ) -> None:
        super().__init__(settings)
        self.jvm = tuple(jvm)
        self._joins = joins
        self.node_ids: Iterator[int] = joins.node_ids if joins else count(1)
        """The ids of further brokers of the cluster."""
        self.cluster_id: str = joins.cluster_id if joins else _new_cluster()
        self._node = next(self.node_ids)

    @property
    def url(self) -> str:
        """The address `127.0.0.1:PORT`, for `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def controller(self) -> str:
        """The controller's address `127.0.0.1:PORT`, for your own `controller.quorum.voters` and `listeners`."""
        return self._joins.controller if self._joins else f"127.0.0.1:{self._controller_port}"

    def _find(self) -> None:
        self._java = find_java()
        try:
            self._jars = jars.fetched()
        except jars.NoJars as missing:
            raise ProviderUnavailable(str(missing)) from None
        self._controller_port = free_port()

    def _prepare(self) -> None:
        """Write the cluster id into the log directory, which every KRaft node needs."""
        properties = self._properties()
        tool = self._jvm("kafka.tools.StorageTool", "format", "--cluster-id", self.cluster_id, "--config", properties)
        self._run(tool)

    def _command(self) -> Sequence[str]:
        return self._jvm("kafka.Kafka", self._properties())

    def _jvm(self, *program: str) -> Sequence[str]:
        logging = self._write("log4j2.properties", LOGGING)
        options = [*JVM, *self._archived(), *self.jvm, f"-Dlog4j2.configurationFile={logging}"]
        return [self._java, *options, "-cp", f"{self._jars}/*", *program]

    def _archived(self) -> Sequence[str]:
        """Return Java's options for the archive of Kafka's classes, if there is one; it halves the start-up time."""
        archive = jars.archive()
        return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() and not self.jvm else []

    def _properties(self) -> str:
        plain = f"PLAINTEXT://{self.url}"
        ours = {
            **SETTINGS,
            "node.id": str(self._node),
            "process.roles": "broker" if self._joins else "broker,controller",
            "listeners": plain if self._joins else f"{plain},CONTROLLER://{self.controller}",
            "advertised.listeners": plain,
            "controller.quorum.voters": f"1@{self.controller}",
            "log.dirs": str(self.directory / "data"),
        }
        lines = [f"{key}={value}" for key, value in {**ours, **self.settings}.items()]
        return str(self._write("server.properties", "\n".join(lines) + "\n"))


def _new_cluster() -> str:
    return urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "_")  # "-" may not come first


def find_java() -> str:
    """Return the path of a `java` that is new enough: from `JAVA_HOME`, else from PATH.

    Raises:
        ProviderUnavailable: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        raise ProviderUnavailable(f"java {JAVA} or newer isn't {f'in JAVA_HOME {home}' if home else 'on PATH'}")
    ran = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    version = re.search(r'version "(\d+)', ran.stderr)
    if version is None or int(version[1]) < JAVA:
        raise ProviderUnavailable(f"{java} is older than Java {JAVA}")
    return java


def archive_classes() -> Path:
    """Archive Kafka's classes next to its jars, once; runs a broker for about ten seconds.

    Java ignores an archive that another version of Java made, or one for other jars; the start is then slower.

    Raises:
        ProviderUnavailable: Java or the jars are missing.
        ServerFailed: the broker doesn't start, or Java wrote no archive.
    """
    archive = jars.archive()
    if archive.exists():
        return archive
    with NativeKafka(jvm=[f"-XX:ArchiveClassesAtExit={DRAFT}"]) as broker:
        broker.stop()
        draft = broker.directory / DRAFT
        if not draft.exists():
            raise ServerFailed(f"Java archived no classes.\n{broker.log[-LOG_END:]}")
        shutil.move(draft, archive)
    return archive
