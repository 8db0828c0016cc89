"""Consumer groups: who of the members reads which partition, and how far the group is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from oms.ports.broker import TopicPartition


class Member:
    """One member of a group, as the log sees it. `taken_away` is what it hasn't asked about yet."""

    __slots__ = ("is_new", "owner", "positions", "taken_away", "topics", "turn")

    def __init__(self, owner: str, topics: Collection[str]) -> None:
        self.owner = owner
        self.topics = tuple(sorted(set(topics)))
        self.positions: dict[TopicPartition, int] = {}
        self.taken_away: dict[TopicPartition, None] = {}
        self.turn = 0
        self.is_new = False
        """Whether its group had no offsets when it joined."""

    def owns(self, partition: TopicPartition) -> bool:
        """Whether it may read and commit here: not before it knows that it had lost the partition in between."""
        return partition in self.positions and partition not in self.taken_away


class Group:
    """The members of one group and its offsets."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.offsets: dict[TopicPartition, int] = {}

    def join(self, member: Member, partitions: int) -> None:
        """Add a member and spread the partitions again."""
        self.members.append(member)
        self._spread(partitions)

    def leave(self, member: Member, partitions: int) -> None:
        """Remove a member: what it had is the others'."""
        if member in self.members:
            self.members.remove(member)
            _assign(member, {})
            self._spread(partitions)

    def commit(self, member: Member, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep the offsets of partitions that are the member's."""
        if member in self.members:
            self.offsets.update({place: offset for place, offset in offsets.items() if member.owns(place)})

    def _spread(self, partitions: int) -> None:
        shares: dict[int, dict[TopicPartition, int]] = {index: {} for index in range(len(self.members))}
        for topic in sorted({topic for member in self.members for topic in member.topics}):
            readers = [index for index, member in enumerate(self.members) if topic in member.topics]
            for number in range(partitions):
                place = TopicPartition(topic, number)
                shares[readers[number % len(readers)]][place] = self.offsets.get(place, 0)
        for index, member in enumerate(self.members):
            _assign(member, shares[index])


def _assign(member: Member, share: dict[TopicPartition, int]) -> None:
    """Give a member its share; it goes on where it was in the partitions that it keeps."""
    for place in member.positions:
        if place not in share:
            member.taken_away[place] = None
    kept = member.positions
    member.positions = {place: kept.get(place, offset) for place, offset in share.items()}
