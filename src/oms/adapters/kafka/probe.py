"""Asks Kafka whether it is there, and whether it lets a service read its topics as its group.

The questions are those of a consumer, not of an admin client: librdkafka's admin questions to a group's coordinator end
the whole process when the connection is lost meanwhile (an assertion; librdkafka issue 4605, open in version 2.16).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import keep_in_forks
from oms.adapters.kafka.conf import Conf
from oms.adapters.kafka.group_offsets import asking
from oms.ports.errors import Permanent

ANSWERS_WITHIN_S = 1.0


class Probe:
    """One consumer for each group, which never joins it; made with the first question, for one thread."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._consumers: dict[str, Consumer] = {}
        self._reason: KafkaError | None = None
        keep_in_forks(self)

    def ask(self, topics: Collection[str], groups: Collection[str]) -> None:
        """Raise `Retryable` without an answer, `Permanent` where a topic or group is missing or closed to this user."""
        self._reason = None
        names = sorted(topics)
        for number, group in enumerate(sorted(groups)):
            consumer = self._consumer(group)
            consumer.poll(0)  # hands over errors and log lines
            if number == 0:
                self._check_topics(consumer, names)
            _check_group(consumer, group, names[:1])

    def _check_topics(self, consumer: Consumer, topics: Collection[str]) -> None:
        for topic in topics:
            try:
                error = consumer.list_topics(topic, timeout=ANSWERS_WITHIN_S).topics[topic].error
            except KafkaException as fault:
                raise self._unreachable(consumer, fault) from None
            if error is not None and driver_errors.refuses_topic(error):
                raise Permanent(f"topic {topic}: {driver_errors.said(error)}")
            if error is not None:
                raise self._unreachable(consumer, KafkaException(error))

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            conf = {**self._conf, "enable.auto.commit": False, "error_cb": self._note}
            self._consumers[group] = asking(conf, group)
        return self._consumers[group]

    def _unreachable(self, consumer: Consumer, error: KafkaException) -> Exception:
        """A question that got no answer only says so; the client's own errors say why."""
        consumer.poll(0)
        return driver_errors.unreachable(error if self._reason is None else KafkaException(self._reason))

    def _note(self, error: KafkaError) -> None:
        if driver_errors.is_telling(error):
            self._reason = error


def _check_group(consumer: Consumer, group: str, topics: Sequence[str]) -> None:
    """Read an offset of the group. Other trouble of a coordinator than a refusal shows in the member's statistics."""
    try:
        found = consumer.committed([TopicPartition(topic, 0) for topic in topics], timeout=ANSWERS_WITHIN_S)
        errors = [partition.error for partition in found]
    except KafkaException as fault:
        errors = [driver_errors.of(fault)]
    for error in errors:
        if error is not None and driver_errors.refuses_group(error):
            raise Permanent(f"group {group}: {driver_errors.said(error)}")
