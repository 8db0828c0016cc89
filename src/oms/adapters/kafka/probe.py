"""Asks Kafka whether it is there, and whether it shows the topics that a service reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from oms.adapters.kafka import border
from oms.adapters.kafka.conf import LOGGER, Conf
from oms.adapters.kafka.forks import keep_in_forks
from oms.ports.errors import Permanent

ANSWERS_WITHIN_S = 1.0


class Probe:
    """One client, made with the first question; for one thread."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._admin: AdminClient | None = None
        self._reason: KafkaError | None = None
        keep_in_forks(self)

    def ask(self, topics: Collection[str], groups: Collection[str]) -> None:
        """Raise `Retryable` without an answer, `Permanent` where a topic or group is missing or closed to this user."""
        admin = self._client()
        admin.poll(0)  # hands over errors and log lines
        self._reason = None
        try:
            found: Any = admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=ANSWERS_WITHIN_S)
            members: Any = admin.describe_consumer_groups(sorted(groups), request_timeout=ANSWERS_WITHIN_S)
        except KafkaException as error:
            raise self._unreachable(error) from None
        for topic, fault in _errors(found):
            if border.refuses_topic(border.of(fault)):
                raise Permanent(f"topic {topic}: {border.said(border.of(fault))}")
            raise self._unreachable(fault)
        for group, fault in _errors(members):  # a coordinator that is late shows in the member's own statistics
            if border.refuses_group(border.of(fault)):
                raise Permanent(f"group {group}: {border.said(border.of(fault))}")

    def _client(self) -> AdminClient:
        if self._admin is None:
            try:
                self._admin = AdminClient({**self._conf, "error_cb": self._note}, logger=LOGGER)
            except KafkaException as error:
                raise border.refused_settings(error) from None
        return self._admin

    def _unreachable(self, error: KafkaException) -> Exception:
        """A question that got no answer only says so; the client's own errors say why."""
        if self._admin is not None:
            self._admin.poll(0)
        return border.unreachable(error if self._reason is None else KafkaException(self._reason))

    def _note(self, error: KafkaError) -> None:
        if border.is_telling(error):
            self._reason = error


def _errors(answers: Mapping[str, Future[object]]) -> Iterator[tuple[str, KafkaException]]:
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            yield name, error
