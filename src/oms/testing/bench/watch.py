"""Watches how orders end, by the last message of each and the time at which it was appended to the log.

So an order counts as confirmed when its event is published, not already when its row is committed.
"""

from __future__ import annotations

import sqlite3
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import attrs
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, TopicPartition

ENDS = {"order.confirmed": "CONFIRMED", "order.cancelled": "CANCELLED", "order.rejected": "REJECTED"}
COMPLETED = {"order.completed": "COMPLETED", "payment.refund_paid": "COMPLETED"}


@attrs.frozen
class End:
    """How an order ended, and when (seconds since 1970)."""

    state: str
    at: float


class Watch(Protocol):
    """The ends of orders since the watch was made."""

    ends: Mapping[str, End]

    @abstractmethod
    def look(self) -> int:
        """Read new messages and return how many orders have ended. May wait for up to 0.1 s."""


class KafkaWatch(Watch):
    """Reads Kafka's topics from their present ends on, without a consumer group."""

    topics: Mapping[str, str] = ENDS
    """The states in which an order ends, by topic."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": "oms-bench",
            "enable.auto.commit": "false",
            "fetch.wait.max.ms": "100",
        })  # fmt: skip
        self.ends: dict[str, End] = {}
        topics = self._consumer.list_topics(timeout=10).topics
        known = [(topic, part) for topic in self.topics for part in topics[topic].partitions]
        self._consumer.assign([TopicPartition(topic, part, self._end_of(topic, part)) for topic, part in known])

    def look(self) -> int:
        """Consume new messages."""
        for message in self._consumer.consume(1000, 0.1):
            topic, key = message.topic(), message.key()
            kind, at_ms = message.timestamp()
            if message.error() is None and topic and key and kind != TIMESTAMP_NOT_AVAILABLE:
                self.note(str(key, "utf-8"), topic, at_ms / 1000)
        return len(self.ends)

    def note(self, order: str, topic: str, at: float) -> None:
        """Record a message about an order, appended at `at` (seconds since 1970)."""
        self.ends.setdefault(order, End(self.topics[topic], at))

    def _end_of(self, topic: str, part: int) -> int:
        return self._consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=10)[1]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


class FulfilmentWatch(KafkaWatch):
    """Watches orders that are shipped: one ends when it is completed and its refund, if it gets one, is paid."""

    topics = COMPLETED

    def __init__(self, bootstrap: str, refunded: Collection[str]) -> None:
        super().__init__(bootstrap)
        self._refunded = frozenset(refunded)
        self._seen: dict[str, set[str]] = {}

    def note(self, order: str, topic: str, at: float) -> None:
        """Record a message about an order; its last one ends it."""
        seen = self._seen.setdefault(order, set())
        seen.add(topic)
        if len(seen) == (len(COMPLETED) if order in self._refunded else 1):
            self.ends.setdefault(order, End("COMPLETED", at))


_SQL = f"SELECT topic, key, at FROM records WHERE topic IN ({', '.join('?' * len(ENDS))})"  # noqa: S608 - only question marks
_COUNT = f"SELECT count(*) FROM records WHERE topic IN ({', '.join('?' * len(ENDS))})"  # noqa: S608


class FileWatch(Watch):
    """Reads the log file of an embedded system."""

    def __init__(self, data: Path) -> None:
        self._address = f"file:{data / 'broker.db'}?mode=ro"

    def look(self) -> int:
        """Count the end events in the log."""
        time.sleep(0.1)
        with closing(sqlite3.connect(self._address, uri=True)) as connection:
            return int(connection.execute(_COUNT, tuple(ENDS)).fetchone()[0])

    @property
    def ends(self) -> Mapping[str, End]:  # type: ignore[override] # a property
        """The end of each order in the log."""
        with closing(sqlite3.connect(self._address, uri=True)) as connection:
            rows = connection.execute(_SQL, tuple(ENDS)).fetchall()
        return {str(key, "utf-8"): End(ENDS[topic], at / 1_000_000) for topic, key, at in rows}
