"""Checks that Kafka responds, and that it lets a service read its topics with its group.

It uses consumers and no admin client: librdkafka's admin requests to a group's coordinator end the whole process if the
connection is lost meanwhile (an assertion; librdkafka issue 4605, open in version 2.16).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import keep_in_forks, outside_consumer
from oms.adapters.kafka.conf import Conf
from oms.ports.errors import Permanent

RESPONSE_TIMEOUT_S = 1.0


class Probe:
    """Holds a consumer for each group, made for the first check, which never joins it. For one thread."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._consumers: dict[str, Consumer] = {}
        self._reason: KafkaError | None = None
        """The latest error of a client that says more than that there is no connection."""
        keep_in_forks(self)

    def check(self, topics: Collection[str], groups: Collection[str]) -> None:
        """`Retryable` if Kafka doesn't respond, `Permanent` if a topic is missing or this user may not read it."""
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
                error = consumer.list_topics(topic, timeout=RESPONSE_TIMEOUT_S).topics[topic].error
            except KafkaException as timeout:
                raise self._unreachable(consumer, timeout) from None
            if error is not None and driver_errors.refuses_topic(error):
                raise Permanent(f"topic {topic}: {driver_errors.describe(error)}")
            if error is not None:
                raise self._unreachable(consumer, KafkaException(error))

    def _consumer(self, group: str) -> Consumer:
        if group not in self._consumers:
            conf = {**self._conf, "enable.auto.commit": False}
            self._consumers[group] = outside_consumer(conf, group, error_cb=self._note)
        return self._consumers[group]

    def _unreachable(self, consumer: Consumer, error: KafkaException) -> Exception:
        """The error of a request only says that it timed out; the errors that the client reports say why."""
        consumer.poll(0)
        return driver_errors.unreachable(error if self._reason is None else KafkaException(self._reason))

    def _note(self, error: KafkaError) -> None:
        if driver_errors.names_cause(error):
            self._reason = error


def _check_group(consumer: Consumer, group: str, topics: Sequence[str]) -> None:
    """Raise `Permanent` if this user may not read the group's offsets.

    Other errors of a coordinator show in the member's statistics.
    """
    try:
        found = consumer.committed([TopicPartition(topic, 0) for topic in topics], timeout=RESPONSE_TIMEOUT_S)
        errors = [partition.error for partition in found]
    except KafkaException as failed:
        errors = [driver_errors.error_in(failed)]
    for error in errors:
        if error is not None and driver_errors.refuses_group(error):
            raise Permanent(f"group {group}: {driver_errors.describe(error)}")
