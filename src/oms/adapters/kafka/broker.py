"""The broker: what the application sees of Kafka."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from oms.adapters.kafka.conf import conf_of, group_conf, producer_conf, reader_conf
from oms.adapters.kafka.group_offsets import committed, ends
from oms.adapters.kafka.probe import Probe
from oms.adapters.kafka.producer import Publisher
from oms.adapters.kafka.records import read_all
from oms.adapters.kafka.subscription import KafkaSubscription
from oms.domain.events import BY_TOPIC
from oms.domain.saga import SAGA
from oms.ports.broker import NO_STARTS, Broker, Subscription, TopicPartition
from oms.ports.errors import PortError
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Outgoing, Record, copies_topic
from oms.ports.telemetry import Telemetry
from oms.settings import Settings

OWN_TOPICS = (*BY_TOPIC, *sorted({copies_topic(step.service) for step in SAGA}))


class KafkaBroker(Broker, LogEvidence):
    """Kafka as the log. Connects when it is first used; may be used by several threads at once.

    `topics` are those that `all_records` and `offsets` tell of: the domain's own and the services' copies of dead
    letters, unless told otherwise.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, *, topics: Collection[str] = OWN_TOPICS) -> None:
        self._settings, self._telemetry, self._topics = settings, telemetry, tuple(topics)
        self._publisher = Publisher(producer_conf(settings), telemetry)
        self._probe = Probe(conf_of(settings))

    @classmethod
    def from_settings(cls, settings: Settings, telemetry: Telemetry) -> Self:
        """The broker that the `OMS_KAFKA_...` settings name; `SettingsError` where librdkafka's keys contradict."""
        return cls(settings, telemetry)

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        return self._publisher.publish(messages)

    def check(self, topics: Collection[str], groups: Collection[str]) -> None:
        """Raise `Retryable` unless Kafka answers within a second, `Permanent` where it refuses a topic or group."""
        self._probe.ask(topics, groups)

    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        return KafkaSubscription(group_conf(self._settings, group), topics, self._telemetry, starts)

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:
        return ends(reader_conf(self._settings), topics)

    def knows(self, group: str, topics: Collection[str]) -> bool:
        return bool(committed(reader_conf(self._settings), group, topics))

    def all_records(self) -> Iterable[Record]:
        """Every record that Kafka holds when the reading begins; topic by topic, each partition's in order."""
        return read_all(reader_conf(self._settings), self._topics)

    def offsets(self, group: str) -> Mapping[TopicPartition, int]:
        return committed(reader_conf(self._settings), group, self._topics)

    def close(self) -> None:
        """Let go of the producers; each subscription is closed by itself."""
        self._publisher.close()
