"""Consumer groups: which member reads which partition, and the group's offsets."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from oms.ports.broker import TopicPartition


class Member:
    """One member of a group. `taken_away` has the partitions whose loss `lost` hasn't reported yet."""

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
        """Whether it may read and commit; for a partition that came back, only after `lost` has reported its loss."""
        return partition in self.positions and partition not in self.taken_away


class Group:
    """The members of one group and its offsets."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.offsets: dict[TopicPartition, int] = {}

    def join(self, member: Member, partitions: int) -> None:
        """Add a member and rebalance."""
        self.members.append(member)
        self._rebalance(partitions)

    def leave(self, member: Member, partitions: int) -> None:
        """Remove a member; the others get its partitions."""
        if member in self.members:
            self.members.remove(member)
            _assign(member, {})
            self._rebalance(partitions)

    def commit(self, member: Member, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offsets of partitions that the member owns."""
        if member in self.members:
            self.offsets.update({place: offset for place, offset in offsets.items() if member.owns(place)})

    def _rebalance(self, partitions: int) -> None:
        shares: dict[int, dict[TopicPartition, int]] = {index: {} for index in range(len(self.members))}
        for topic in sorted({topic for member in self.members for topic in member.topics}):
            readers = [index for index, member in enumerate(self.members) if topic in member.topics]
            for number in range(partitions):
                place = TopicPartition(topic, number)
                shares[readers[number % len(readers)]][place] = self.offsets.get(place, 0)
        for index, member in enumerate(self.members):
            _assign(member, shares[index])


def _assign(member: Member, share: dict[TopicPartition, int]) -> None:
    """Assign partitions to a member; those that it keeps retain their positions."""
    for place in member.positions:
        if place not in share:
            member.taken_away[place] = None
    kept = member.positions
    member.positions = {place: kept.get(place, offset) for place, offset in share.items()}
