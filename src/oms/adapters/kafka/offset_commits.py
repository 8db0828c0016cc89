"""The offsets that one member commits: several together, and again after a failure."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.membership import Membership
from oms.ports.broker import TopicPartition
from oms.ports.telemetry import Telemetry

COMMIT_EVERY_S = 0.25
"""Time between two commits, in seconds. After a crash, the next owner of a partition reads that much again; the inbox
drops it."""

COMMIT_AGAIN_S = 1.0
"""Time until a failed commit is repeated, in seconds."""


class OffsetCommits:
    """Collects the offsets of handled records and commits them asynchronously."""

    def __init__(self, telemetry: Telemetry, membership: Membership) -> None:
        self._telemetry, self._membership = telemetry, membership
        self._offsets: dict[TopicPartition, int] = {}
        self._unsent: set[TopicPartition] = set()
        """Partitions whose latest offset isn't committed: it wasn't sent yet, or its commit failed."""
        self._send_at = 0.0
        self._in_flight = 0

    def add(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note the next offset of partitions; `send_due` commits it."""
        self._offsets.update(offsets)
        self._unsent.update(offsets)

    def send_due(self, consumer: Consumer, *, at_once: bool) -> None:
        """Commit what has been added, every `COMMIT_EVERY_S` seconds or `at_once`."""
        now = time.monotonic()
        if self._unsent and (at_once or now >= self._send_at):
            self._send_at = now + COMMIT_EVERY_S
            self._send(consumer, self._unsent)

    def send_for(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        """Commit the offsets of these partitions now: the group is about to take them away."""
        self._send(consumer, self._unsent.intersection(partitions))

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop the offsets of partitions that this member has lost."""
        self._unsent.difference_update(partitions)
        self._offsets = {place: offset for place, offset in self._offsets.items() if place not in partitions}

    def client_closed(self) -> None:
        """No response to a commit will come any more."""
        self._in_flight = 0

    @property
    def pending(self) -> int:
        """Commits without a response, plus one if offsets wait to be sent."""
        return self._in_flight + bool(self._unsent)

    def on_commit(self, error: KafkaError | None, partitions: Sequence[KafkaPartition]) -> None:
        """The response to a commit. A callback of librdkafka: it must not raise."""
        self._in_flight = max(0, self._in_flight - 1)
        for one in partitions:
            failed = error or one.error
            if failed is not None:
                self._failed(failed, [TopicPartition(one.topic, one.partition)])

    def _send(self, consumer: Consumer, partitions: Collection[TopicPartition]) -> None:
        offsets = [KafkaPartition(*place, self._offsets[place]) for place in partitions]
        self._unsent = self._unsent.difference(partitions)
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
            self._in_flight += 1
        except KafkaException as error:
            self._failed(driver_errors.error_in(error), partitions)

    def _failed(self, error: KafkaError, partitions: Collection[TopicPartition]) -> None:
        self._telemetry.count("kafka_commit_failures", cause=error.name())
        if driver_errors.refuses_member(error):
            self._membership.refuse(driver_errors.describe(error))
        self._unsent.update(place for place in partitions if place in self._offsets)
        self._send_at = time.monotonic() + COMMIT_AGAIN_S
