"""Tracks which offsets may be committed: only the prefix of each partition that is handled without a gap."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from oms.ports.broker import TopicPartition
from oms.ports.messages import Record


def place(record: Record) -> TopicPartition:
    """Return the partition of a record."""
    return TopicPartition(record.topic, record.partition)


_place = attrgetter("topic", "partition")


def runs(records: Iterable[Record]) -> Iterator[tuple[TopicPartition, Iterable[Record]]]:
    """Yield the records in their order, in runs of the same partition: a log returns many of each partition at once."""
    return ((TopicPartition(*place), some) for place, some in groupby(records, key=_place))


class Offsets:
    """The records of each partition that were given out and aren't done yet."""

    def __init__(self) -> None:
        self._open: dict[TopicPartition, dict[int, None]] = {}
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._begun: dict[TopicPartition, datetime] = {}

    def give_out(self, records: Iterable[Record], now: datetime) -> None:
        """Note that these records are being handled."""
        for partition, some in runs(records):
            offsets = [record.offset for record in some]
            self._begun.setdefault(partition, now)
            self._open.setdefault(partition, {}).update(dict.fromkeys(offsets))
            self._next[partition] = max(self._next.get(partition, 0), max(offsets) + 1)

    def done(self, records: Iterable[Record]) -> None:
        """Note that these records have had their effect, or are parked."""
        for partition, some in runs(records):
            working = self._open.get(partition, {})
            for record in some:
                working.pop(record.offset, None)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop partitions that another member has now."""
        for partition in partitions:
            for known in (self._open, self._next, self._committed, self._begun):
                known.pop(partition, None)

    def partitions(self) -> Collection[TopicPartition]:
        """Return the partitions of all records that were given out."""
        return self._next.keys()

    def begun_after(self, moment: datetime) -> Collection[TopicPartition]:
        """Return the partitions whose first records were given out after `moment`."""
        return {partition for partition, begun in self._begun.items() if begun > moment}

    def to_commit(self) -> dict[TopicPartition, int]:
        """Return the next offset to read of each partition in which it has moved since the last call."""
        moved = {}
        for partition, following in self._next.items():
            prefix = min(self._open[partition], default=following)
            if self._committed.get(partition) != prefix:
                moved[partition] = self._committed[partition] = prefix
        return moved
