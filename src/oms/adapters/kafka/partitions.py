"""The partitions of one member of a group, which of them are paused, and the records received of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence

from confluent_kafka import TopicPartition as KafkaPartition

from oms.ports.broker import TopicPartition
from oms.ports.messages import Record


class Partitions:
    """The partitions that the group has assigned to this member, and lost ones that `take_lost` hasn't reported."""

    def __init__(self) -> None:
        self.ours: set[TopicPartition] = set()
        self.taken_away: set[TopicPartition] = set()
        """Lost, and not reported by `take_lost` yet. A partition that came back stays closed until it is."""
        self.held: set[TopicPartition] = set()
        """Closed until they are opened."""
        self.read_carefully: TopicPartition | None = None
        """The partition that a `CarefulReader` reads in place of the member's own client."""
        self._paused: set[TopicPartition] = set()
        self._fresh: set[TopicPartition] = set()
        """Just assigned: librdkafka may still have them paused from before, and doesn't say."""

    def give(self, places: Collection[TopicPartition]) -> None:
        """Add assigned partitions, open."""
        self.ours.update(places)
        self._fresh.update(places)

    def hold(self, places: Collection[TopicPartition]) -> None:
        """Add assigned partitions, paused and closed."""
        self.ours.update(places)
        self.held.update(places)
        self._paused.update(places)

    def take(self, places: Collection[TopicPartition]) -> None:
        """Remove partitions that the group took away."""
        self.taken_away.update(self.ours.intersection(places))
        for known in (self.ours, self.held, self._paused, self._fresh):
            known.difference_update(places)
        if self.read_carefully in places:
            self.read_carefully = None

    def take_lost(self) -> Collection[TopicPartition]:
        """The partitions taken away since the last call."""
        lost, self.taken_away = self.taken_away, set()
        return sorted(lost)

    def is_open(self, place: tuple[str, int]) -> bool:
        """Whether its records may be given out, and its offset committed."""
        return place in self.ours and place not in self.taken_away

    def to_pause_and_resume(self, *, all_closed: bool) -> tuple[Sequence[TopicPartition], Sequence[TopicPartition]]:
        """(to pause, to resume), so that librdkafka fetches only what may be returned; nothing with `all_closed`."""
        wanted = set(self.ours) if all_closed else (self.ours & self.taken_away) | self.held
        if self.read_carefully is not None:
            wanted.add(self.read_carefully)
        if wanted == self._paused and not self._fresh:
            return (), ()
        pause = wanted - self._paused
        resume = (self._paused | self._fresh) - wanted
        self._paused = wanted
        self._fresh = set()
        return sorted(pause), sorted(resume)


class RecordBuffer:
    """Records that were received but not returned yet: the caller polled for none, or their partition is closed."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._records: deque[Record] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Keep a record, unless its partition was taken away since it was fetched."""
        if (record.topic, record.partition) in self._partitions.ours:
            self._records.append(record)

    def take(self, limit: int) -> Sequence[Record]:
        """Remove and return at most `limit` records of open partitions, in the order in which they came."""
        if not self._partitions.taken_away:  # as nearly always: every buffered record is of an open partition
            return [self._records.popleft() for _ in range(min(limit, len(self._records)))]
        taken: list[Record] = []
        closed: list[Record] = []
        while self._records and len(taken) < limit:
            record = self._records.popleft()
            is_open = self._partitions.is_open((record.topic, record.partition))
            (taken if is_open else closed).append(record)
        self._records.extendleft(reversed(closed))
        return taken

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop the records of partitions that were taken away."""
        self._records = deque(one for one in self._records if (one.topic, one.partition) not in partitions)


def from_driver(partitions: Iterable[KafkaPartition]) -> list[TopicPartition]:
    """The port's partitions for those of the driver."""
    return [TopicPartition(one.topic, one.partition) for one in partitions]


def for_driver(partitions: Iterable[TopicPartition]) -> list[KafkaPartition]:
    """The driver's partitions for those of the port."""
    return [KafkaPartition(place.topic, place.partition) for place in partitions]
