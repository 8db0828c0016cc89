"""The broker in memory: partitioned topics that keep every record, read by consumer groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from oms.adapters.memory.call_hooks import CallHooks, Point, no_point, port_call, raise_deadlock
from oms.adapters.memory.groups import Group, Member
from oms.ports.broker import NO_STARTS, Broker, Subscription, TopicPartition
from oms.ports.errors import Permanent, PortError
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Headers, Outgoing, Record, too_large, within_limits


class _Topics:
    """The state that outlives workers: records, groups, and the names of dead workers."""

    def __init__(
        self, partitions: int, *, holds_back: bool, readable: Callable[[Sequence[Record]], int] | None
    ) -> None:
        self.partitions = partitions
        self.holds_back = holds_back
        self.readable = readable
        self.records: dict[str, list[list[Record]]] = {}
        self.keyless: dict[str, int] = {}
        self.groups: dict[str, Group] = {}
        self.dead: dict[str, None] = {}

    def topic(self, name: str) -> list[list[Record]]:
        """The partitions of a topic; a topic is created when it is first named."""
        return self.records.setdefault(name, [[] for _ in range(self.partitions)])

    def append(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Record:
        """Append a record to the partition of its key; records without a key take the partitions in turn."""
        if key is None:
            number = self.keyless[topic] = self.keyless.get(topic, -1) + 1
        else:
            number = crc32(key)
        partition = number % self.partitions
        records = self.topic(topic)[partition]
        record = within_limits(Record(topic, partition, len(records), key, value, headers))
        records.append(record)
        return record


class MemberState(NamedTuple):
    """A member of a group: its next offsets, and how many lost partitions `lost` hasn't reported."""

    owner: str
    positions: frozenset[tuple[TopicPartition, int]]
    unnoticed_losses: int


class GroupState(NamedTuple):
    """A consumer group, to compare two logs."""

    name: str
    offsets: frozenset[tuple[TopicPartition, int]]
    members: tuple[MemberState, ...]


class MemoryLog(Broker, LogEvidence):
    """One worker's connection to the log.

    The first connection makes the log; `worker` makes a connection to it for another owner. With `holds_back` it keeps
    new partitions closed, as Kafka's subscription does, for tests of that protocol.
    `readable` returns how many of a partition's next records may be read now, for tests with late messages.
    """

    def __init__(
        self,
        partitions: int = 4,
        *,
        owner: str = "worker",
        point: Point = no_point,
        topics: _Topics | None = None,
        holds_back: bool = False,
        readable: Callable[[Sequence[Record]], int] | None = None,
    ) -> None:
        self._topics = topics or _Topics(partitions, holds_back=holds_back, readable=readable)
        self._hooks = CallHooks("log", owner, point, raise_deadlock, self._topics.dead)

    def worker(self, owner: str, point: Point = no_point) -> MemoryLog:
        """Another worker's connection to the same log."""
        return MemoryLog(owner=owner, point=point, topics=self._topics)

    @port_call
    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        return [self._publish(message) for message in messages]

    @port_call
    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        """Join a group, which rebalances at once."""
        return MemorySubscription(self._topics, self._hooks, group, Member(self._hooks.owner, topics), starts)

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:
        known = [topic for topic in sorted(set(topics)) if topic in self._topics.records]
        return {
            TopicPartition(topic, number): len(records)
            for topic in known
            for number, records in enumerate(self._topics.topic(topic))
        }

    def knows(self, group: str, topics: Collection[str]) -> bool:
        return any(place.topic in topics for place in self.offsets(group))

    def append(self, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> Record:
        """Append a message of another producer: any bytes, with or without key and headers."""
        return self._topics.append(topic, key, value, headers)

    def kill(self, owner: str, *, noticed: bool = True) -> None:
        """Kill a worker. Unless the log has `noticed` it, the worker keeps its partitions until `evict`."""
        self._topics.dead[owner] = None
        if noticed:
            self.evict(owner)

    def evict(self, owner: str) -> None:
        """Remove a worker that was silent for too long from its groups; if it is alive, its next poll joins again."""
        for group in self._topics.groups.values():
            for member in [member for member in group.members if member.owner == owner]:
                group.leave(member, self._topics.partitions)

    def all_records(self) -> Iterable[Record]:
        topics = sorted(self._topics.records.items())
        return [record for _, partitions in topics for records in partitions for record in records]

    def offsets(self, group: str) -> Mapping[TopicPartition, int]:
        known = self._topics.groups.get(group)
        return dict(sorted(known.offsets.items())) if known else {}

    def topics(self) -> Sequence[str]:
        """The names of all topics, in the order in which they were made."""
        return tuple(self._topics.records)

    def read(self, place: TopicPartition, offset: int = 0) -> Sequence[Record]:
        """The records of a partition from an offset on, outside of any group."""
        return self._topics.topic(place.topic)[place.partition][offset:]

    def record_keys(self) -> Iterable[tuple[str, Sequence[Sequence[bytes | None]]]]:
        """Each topic with the keys of its records, by partition: to compare two logs."""
        for name, partitions in self._topics.records.items():
            yield name, [tuple([one.key for one in records]) for records in partitions]

    def group_states(self) -> Iterable[GroupState]:
        """All consumer groups, to compare two logs."""
        for name, group in self._topics.groups.items():
            members = [
                MemberState(member.owner, frozenset(member.positions.items()), len(member.taken_away))
                for member in group.members
            ]
            yield GroupState(name, frozenset(group.offsets.items()), tuple(members))

    def _publish(self, message: Outgoing) -> PortError | None:
        refused = too_large(message)
        if refused is not None:
            return refused
        self._topics.append(message.topic, message.key, message.value, tuple(message.headers))
        return None


class MemorySubscription(Subscription):
    """One member of a consumer group."""

    def __init__(
        self,
        topics: _Topics,
        hooks: CallHooks,
        group: str,
        member: Member,
        starts: Mapping[TopicPartition, int] = NO_STARTS,
    ) -> None:
        self._topics = topics
        self._hooks = hooks
        self._member = member
        self._group = topics.groups.setdefault(group, Group())
        member.is_new = not any(place.topic in member.topics for place in self._group.offsets)
        for place, offset in starts.items():
            if offset <= len(topics.topic(place.topic)[place.partition]):
                self._group.offsets.setdefault(place, offset)
        self._group.join(member, topics.partitions)
        self._closed = False
        self._holding = False
        self._open: dict[TopicPartition, None] = {}
        self._careful: TopicPartition | None = None
        """The partition that is open for one record only."""

    def is_new(self) -> bool:
        return self._member.is_new

    def hold_back(self) -> bool:
        self._holding = self._topics.holds_back
        return self._holding

    def held_back(self) -> Mapping[TopicPartition, int]:
        positions = self._member.positions
        return {place: offset for place, offset in positions.items() if self._is_closed(place)}

    def with_records(self, offsets: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        return [at for at, offset in offsets.items() if len(self._topics.topic(at.topic)[at.partition]) > offset]

    def open(self, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:
        for place, offset in offsets.items():
            if place in self._member.positions:
                self._member.positions[place] = offset
                self._open[place] = None
                self._careful = place if careful else self._careful

    @port_call
    def poll(self, max_records: int) -> Sequence[Record]:
        if self._closed:
            raise Permanent("this member has left its group")
        member = self._member
        if member not in self._group.members:
            self._group.join(member, self._topics.partitions)
        places = [place for place in member.positions if member.owns(place) and not self._is_closed(place)]
        polled: list[Record] = []
        if places and max_records > 0:
            member.turn = (member.turn + 1) % len(places)
            for place in places[member.turn :] + places[: member.turn]:
                if len(polled) >= max_records:
                    break
                polled += self._next(place, 1 if place == self._careful else max_records - len(polled))
                if place == self._careful:
                    self._open.pop(place)
                    self._careful = None
        return polled

    @port_call
    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._group.commit(self._member, offsets)

    @port_call
    def lost(self) -> Collection[TopicPartition]:
        lost = sorted(self._member.taken_away)
        self._member.taken_away.clear()
        for place in lost:
            self._open.pop(place, None)
        return lost

    @port_call
    def close(self) -> None:
        self._closed = True
        self._group.leave(self._member, self._topics.partitions)

    def is_joined(self) -> bool:
        """Whether the group has this member; an evicted one joins again with its next poll."""
        return self._member in self._group.members

    def unread(self) -> list[TopicPartition]:
        """The assigned partitions that hold records after this member's position."""
        topics, found = self._topics.records, []
        for place, position in self._member.positions.items():
            records = topics.get(place.topic)
            if records is not None and position < len(records[place.partition]):
                found.append(place)
        return found

    def poll_first(self, place: TopicPartition) -> None:
        """Make the next poll begin with this partition, for a simulator that chooses the order of messages."""
        readable = [one for one in self._member.positions if self._member.owns(one)]
        if place in readable:
            self._member.turn = readable.index(place) - 1

    def _is_closed(self, place: TopicPartition) -> bool:
        return self._holding and self._member.owns(place) and place not in self._open

    def _next(self, place: TopicPartition, limit: int) -> list[Record]:
        position = self._member.positions[place]
        records = self._topics.topic(place.topic)[place.partition][position : position + limit]
        if self._topics.readable is not None:
            records = records[: self._topics.readable(records)]
        self._member.positions[place] = position + len(records)
        return records
