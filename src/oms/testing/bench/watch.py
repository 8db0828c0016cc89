"""How orders end, as seen from outside: by the last message of each, with the time at which it entered the log.

So an order counts as confirmed when the world is told, after the commit and the relay, not when a row says so.
"""

from __future__ import annotations

import sqlite3
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import attrs
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, TopicPartition

ENDS = {"order.confirmed": "CONFIRMED", "order.cancelled": "CANCELLED", "order.rejected": "REJECTED"}


@attrs.frozen
class End:
    """How an order ended, and when (seconds since 1970)."""

    state: str
    at: float


class Watch(Protocol):
    """The ends of orders since this was made."""

    ends: Mapping[str, End]

    @abstractmethod
    def look(self) -> int:
        """Take in what is new; how many orders have ended. May wait up to a tenth of a second."""


class KafkaWatch(Watch):
    """Reads the topics of a Kafka from where they end now, in no group."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": "oms-bench",
            "enable.auto.commit": "false",
            "fetch.wait.max.ms": "100",
        })  # fmt: skip
        self.ends: dict[str, End] = {}
        topics = self._consumer.list_topics(timeout=10).topics
        known = [(topic, part) for topic in ENDS for part in topics[topic].partitions]
        self._consumer.assign([TopicPartition(topic, part, self._end_of(topic, part)) for topic, part in known])

    def look(self) -> int:
        """Consume."""
        for message in self._consumer.consume(1000, 0.1):
            topic, key = message.topic(), message.key()
            kind, at_ms = message.timestamp()
            if message.error() is None and topic and key and kind != TIMESTAMP_NOT_AVAILABLE:
                self.ends.setdefault(str(key, "utf-8"), End(ENDS[topic], at_ms / 1000))
        return len(self.ends)

    def _end_of(self, topic: str, part: int) -> int:
        return self._consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=10)[1]

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


_SQL = f"SELECT topic, key, at FROM records WHERE topic IN ({', '.join('?' * len(ENDS))})"  # noqa: S608 - only marks
_COUNT = f"SELECT count(*) FROM records WHERE topic IN ({', '.join('?' * len(ENDS))})"  # noqa: S608


class FileWatch(Watch):
    """Reads the log of an embedded system."""

    def __init__(self, data: Path) -> None:
        self._address = f"file:{data / 'broker.db'}?mode=ro"

    def look(self) -> int:
        """Count."""
        time.sleep(0.1)
        with closing(sqlite3.connect(self._address, uri=True)) as connection:
            return int(connection.execute(_COUNT, tuple(ENDS)).fetchone()[0])

    @property
    def ends(self) -> Mapping[str, End]:  # type: ignore[override] # read when asked for
        """All ends on record."""
        with closing(sqlite3.connect(self._address, uri=True)) as connection:
            rows = connection.execute(_SQL, tuple(ENDS)).fetchall()
        return {str(key, "utf-8"): End(ENDS[topic], at / 1_000_000) for topic, key, at in rows}
