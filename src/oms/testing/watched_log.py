"""The message log of a shop: each process reads under its own name, and messages can be delayed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from oms.adapters.memory import MemoryLog, Point
from oms.ports.broker import NO_STARTS, Subscription, TopicPartition
from oms.ports.clock import Clock
from oms.ports.messages import Record
from oms.testing.faults import Faults


class WatchedLog(MemoryLog):
    """A message log in memory. `owner_of` returns the name of the process that reads for a group."""

    def __init__(
        self, partitions: int, clock: Clock, faults: Faults, point: Point, owner_of: Callable[[str], str]
    ) -> None:
        super().__init__(partitions, point=point, readable=self.readable)
        self._clock, self._faults, self._point, self._owner_of = clock, faults, point, owner_of
        self._late: dict[Record, datetime] = {}

    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        """Join a group as the current process of its service."""
        return self.worker(self._owner_of(group), self._point).subscribe(group, topics, starts)

    def readable(self, records: Sequence[Record]) -> int:
        """Return how many of these records, counted from the first, may be read now."""
        if not (self._late or self._faults.delays):
            return len(records)
        for count, record in enumerate(records):
            if self._is_late(record):
                return count
        return len(records)

    def next_due(self) -> datetime | None:
        """Return the time at which the next delayed message may be read."""
        now = self._clock.now()
        return min((due for due in self._late.values() if due > now), default=None)

    def _is_late(self, record: Record) -> bool:
        """Return whether a record is still delayed; its delay begins when a process first tries to read it."""
        now = self._clock.now()
        if record not in self._late:
            delayed = next((fault for fault in self._faults.delays if fault.fits(record)), None)
            if delayed is None or delayed.by is None:
                return False
            self._late[record] = now + delayed.by
            self._faults.record(delayed)
        return self._late[record] > now
