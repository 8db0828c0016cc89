"""The partitions of one member of a group: which are its own, and which of them are paused."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from oms.ports.broker import TopicPartition


class Partitions:
    """What the group has given to this member, and what it has taken away without the caller's knowledge."""

    def __init__(self) -> None:
        self.ours: set[TopicPartition] = set()
        self.taken_away: set[TopicPartition] = set()
        """Lost, and not told yet. A partition that came back stays closed until then."""
        self.held: set[TopicPartition] = set()
        """Closed until they are opened; with `read_apart`, ours and never read by this member itself."""
        self.read_apart: TopicPartition | None = None
        self._paused: set[TopicPartition] = set()
        self._fresh: set[TopicPartition] = set()
        """Given just now: whether librdkafka still has them paused from before, it doesn't say."""

    def give(self, places: Collection[TopicPartition]) -> None:
        """These are ours now."""
        self.ours.update(places)
        self._fresh.update(places)

    def hold(self, places: Collection[TopicPartition]) -> None:
        """These are ours now, paused, and closed until they are opened."""
        self.ours.update(places)
        self.held.update(places)
        self._paused.update(places)

    def take(self, places: Collection[TopicPartition]) -> None:
        """These aren't any more."""
        self.taken_away.update(self.ours.intersection(places))
        for known in (self.ours, self.held, self._paused, self._fresh):
            known.difference_update(places)
        if self.read_apart in places:
            self.read_apart = None

    def tell(self) -> Collection[TopicPartition]:
        """What was taken away since the last time."""
        lost, self.taken_away = self.taken_away, set()
        return sorted(lost)

    def is_open(self, place: tuple[str, int]) -> bool:
        """Whether its records may be given out, and its offset committed."""
        return place in self.ours and place not in self.taken_away

    def to_steer(self, *, closed: bool) -> tuple[Sequence[TopicPartition], Sequence[TopicPartition]]:
        """(to pause, to resume), so that records come only of partitions that may give some out."""
        wanted = set(self.ours) if closed else (self.ours & self.taken_away) | self.held
        if self.read_apart is not None:
            wanted.add(self.read_apart)
        if wanted == self._paused and not self._fresh:
            return (), ()
        pause = wanted - self._paused
        resume = (self._paused | self._fresh) - wanted
        self._paused = wanted
        self._fresh = set()
        return sorted(pause), sorted(resume)
