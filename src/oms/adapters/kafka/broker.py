"""The broker port on Kafka."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

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
from oms.settings.records import KafkaConfig

OWN_TOPICS = (*BY_TOPIC, *sorted({copies_topic(step.service) for step in SAGA}))


class KafkaBroker(Broker, LogEvidence):
    """Kafka as the log. Connects when it is first used; may be used by several threads at once.

    `all_records` and `offsets` read `topics`: by default the domain's own, and those with copies of dead letters.
    """

    def __init__(self, config: KafkaConfig, telemetry: Telemetry, *, topics: Collection[str] = OWN_TOPICS) -> None:
        self._config, self._telemetry, self._topics = config, telemetry, tuple(topics)
        self._publisher = Publisher(producer_conf(config), telemetry)
        self._probe = Probe(conf_of(config))

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        return self._publisher.publish(messages)

    def check(self, topics: Collection[str], groups: Collection[str]) -> None:
        """`Retryable` unless Kafka responds within a second, `Permanent` if it refuses a topic or group."""
        self._probe.check(topics, groups)

    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        return KafkaSubscription(group_conf(self._config, group), topics, self._telemetry, starts)

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:
        return ends(reader_conf(self._config), topics)

    def knows(self, group: str, topics: Collection[str]) -> bool:
        return bool(committed(reader_conf(self._config), group, topics))

    def all_records(self) -> Iterable[Record]:
        """Every record that Kafka holds at the first read, topic by topic, the records of a partition in order."""
        return read_all(reader_conf(self._config), self._topics)

    def offsets(self, group: str) -> Mapping[TopicPartition, int]:
        return committed(reader_conf(self._config), group, self._topics)

    def close(self) -> None:
        """Close the producers. Subscriptions are closed by their callers."""
        self._publisher.close()
