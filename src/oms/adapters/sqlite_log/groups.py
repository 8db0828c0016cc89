"""Consumer groups of this process: which member reads which partition, and the offsets of each group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from oms.ports.broker import NO_STARTS, TopicPartition

Offsets = dict[TopicPartition, int]


class Member:
    """One member of a group; only `Groups` reads and changes it."""

    __slots__ = ("group", "is_new", "positions", "taken_away", "topics", "turn")

    def __init__(self, group: str, topics: Collection[str]) -> None:
        self.group = group
        self.topics = frozenset(topics)
        self.positions: Offsets = {}
        self.taken_away: set[TopicPartition] = set()
        """Lost, and not reported by `lost` yet. A partition that came back stays closed until it is."""
        self.turn = 0
        self.is_new = False
        """Whether its group had no offsets when it joined."""

    def owns(self, place: TopicPartition) -> bool:
        """Whether it may read and commit a partition."""
        return place in self.positions and place not in self.taken_away


class Groups:
    """All groups, safe for threads. `keep` stores the offset of a group for the next process."""

    def __init__(
        self, partitions: int, offsets: Mapping[str, Offsets], keep: Callable[[str, TopicPartition, int], None]
    ) -> None:
        self._partitions, self._keep = partitions, keep
        self._offsets = {group: dict(known) for group, known in offsets.items()}
        self._members: dict[str, list[Member]] = {}
        self._lock = threading.Lock()

    def join(self, member: Member, starts: Mapping[TopicPartition, int] = NO_STARTS) -> None:
        """Add a member and rebalance; `starts` are the first offsets of a group that has committed none.

        The first offsets of a new group are stored at once, so that `purge` keeps the records that it hasn't read.
        """
        with self._lock:
            offsets = self._offsets.setdefault(member.group, {})
            member.is_new = not any(place.topic in member.topics for place in offsets)
            for topic in sorted(member.topics):
                for number in range(self._partitions):
                    place = TopicPartition(topic, number)
                    if place not in offsets:
                        offsets[place] = starts.get(place, 0)
                        self._keep(member.group, place, offsets[place])
            self._members.setdefault(member.group, []).append(member)
            self._rebalance(member.group)

    def leave(self, member: Member) -> None:
        """Remove a member; the others get its partitions."""
        with self._lock:
            members = self._members.get(member.group, [])
            if member in members:
                members.remove(member)
                _assign(member, {})
                self._rebalance(member.group)

    def readable(self, member: Member, ends: Mapping[TopicPartition, int]) -> Sequence[tuple[TopicPartition, int, int]]:
        """(partition, next offset, end) of partitions with unread records; each call begins with another partition."""
        with self._lock:
            found = [
                (place, position, end)
                for place, position in member.positions.items()
                if position < (end := ends.get(place, 0)) and place not in member.taken_away
            ]
            if not found:
                return ()
            member.turn += 1
            turn = member.turn % len(found)
            return found[turn:] + found[:turn]

    def advance(self, member: Member, place: TopicPartition, position: int, to: int) -> bool:
        """Advance from `position` to `to`; False if the partition was taken away while its records were read."""
        with self._lock:
            if not member.owns(place) or member.positions[place] != position:
                return False
            member.positions[place] = to
            return True

    def commit(self, member: Member, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offsets of partitions that the member owns."""
        with self._lock:
            for place, offset in offsets.items():
                if member.owns(place):
                    self._offsets[member.group][place] = offset
                    self._keep(member.group, place, offset)

    def lost(self, member: Member) -> Collection[TopicPartition]:
        """The partitions taken away since the last call."""
        with self._lock:
            lost, member.taken_away = member.taken_away, set()
            return sorted(lost)

    def offsets(self, group: str) -> Offsets:
        """The next offset of each partition that a group has joined for."""
        with self._lock:
            return dict(self._offsets.get(group, {}))

    def lowest_offset(self, place: TopicPartition, end: int) -> int:
        """The lowest offset of all groups in a partition; `end` if no group reads it."""
        with self._lock:
            return min((known[place] for known in self._offsets.values() if place in known), default=end)

    def _rebalance(self, group: str) -> None:
        members, offsets = self._members[group], self._offsets[group]
        shares: list[Offsets] = [{} for _ in members]
        for topic in sorted({topic for member in members for topic in member.topics}):
            readers = [index for index, member in enumerate(members) if topic in member.topics]
            for number in range(self._partitions):
                place = TopicPartition(topic, number)
                shares[readers[number % len(readers)]][place] = offsets[place]
        for member, share in zip(members, shares, strict=True):
            _assign(member, share)


def _assign(member: Member, share: Offsets) -> None:
    """Assign partitions to a member; those that it keeps retain their positions."""
    kept = member.positions
    member.taken_away |= kept.keys() - share.keys()
    member.positions = {place: kept.get(place, offset) for place, offset in share.items()}
