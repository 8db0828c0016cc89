"""The messages of the log, sorted by order, and by the names under which consumers keep them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import attrs

from oms.application import orders as order_service
from oms.domain.stated_terms import StatedTerms, stated_in
from oms.domain.values import Terms
from oms.engine.dead_letter_copies import original_of
from oms.ports.broker import TopicPartition
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Codec, Message, Record, Undecodable, is_copies_topic
from oms.ports.sorting import MakeSorter, Sorter

NO_DATE = -1
_US = 1_000_000


class Said(NamedTuple):
    """One message of an order in the log. The numbers are hashes, which are of use within one process only."""

    topic: str
    partition: int
    offset: int
    date: int
    """When the event happened, in microseconds since 1970; `NO_DATE` for a message that isn't of our making."""

    money: int
    """Of the customer and the amount that it states; 0 where it states none."""

    items: int
    """Of the items that it states; 0 where it states none."""

    content: int
    """Of all that it says, however it is spelled."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.topic}/{self.partition} offset {self.offset}"

    def contradicts(self, agreed: StatedHashes | None) -> bool:
        """Whether it names another customer, amount or items than its order: no service of ours has sent it."""
        if agreed is None or not self.money:
            return False
        return self.money != agreed.money or (self.items != 0 and self.items != agreed.items)


@attrs.frozen
class StatedHashes:
    """What the messages of an order have to state."""

    money: int
    items: int

    @classmethod
    def of(cls, terms: Terms) -> StatedHashes:
        """Of an order's terms."""
        stated = StatedTerms.of(terms)
        return cls(_money(stated), _hash(stated.items) or 1)


@attrs.frozen
class Listener:
    """A consumer group: what it reads, from where on, and how far it has read."""

    group: str
    topics: Collection[str]
    begins: Mapping[TopicPartition, int]
    passed: Mapping[TopicPartition, int]


@attrs.define
class LogSnapshot:
    """All that the log has kept."""

    ends: dict[TopicPartition, int] = attrs.field(factory=dict)
    """Behind the last message of each partition."""

    copies: set[bytes] = attrs.field(factory=set)
    """Those of the wanted dead letters of which there are copies."""

    count: int = 0
    _by_order: Sorter = attrs.field(kw_only=True)
    _names: Mapping[str, Sorter] = attrs.field(kw_only=True)

    @classmethod
    def read(
        cls,
        log: LogEvidence,
        codec: Codec,
        make: MakeSorter,
        listeners: Collection[Listener],
        wanted: Collection[bytes],
    ) -> LogSnapshot:
        """Read it once; of copies of dead letters only those that are `wanted`."""
        found = cls(by_order=make(), names={one.group: make() for one in listeners})
        by_topic: dict[str, list[Listener]] = {}
        for listener in listeners:
            for topic in listener.topics:
                by_topic.setdefault(topic, []).append(listener)
        for record in log.all_records():
            if is_copies_topic(record.topic):
                original = original_of(record.headers)
                if original in wanted:
                    found.copies.add(original)
            else:
                found._add(record, codec, by_topic.get(record.topic, ()))
        return found

    def by_order(self) -> Iterator[tuple[str, Said]]:
        """Every message that can be read, by order, topic and place."""
        return ((row[0], Said._make(row[1:])) for row in self._by_order.rows())

    def names(self, group: str) -> Iterator[tuple[str, str, str, int, int, bool]]:
        """(name, order, topic, partition, offset, passed) of each message for a group, by the name in its inbox.

        The order is empty for a message that can't be read. `passed`: the group has read on behind it.
        """
        return self._names[group].rows()

    def _add(self, record: Record, codec: Codec, listeners: Collection[Listener]) -> None:
        self.count += 1
        place = TopicPartition(record.topic, record.partition)
        self.ends[place] = max(self.ends.get(place, 0), record.offset + 1)
        message = read_message(record, codec)
        if message is not None and message.event is None:
            return  # of the system replaced, about no order
        order_id = "" if message is None or message.event is None else message.event.order_id
        if message is not None:
            self._by_order.add((order_id, *_said(message)))
        for one in listeners:
            if record.offset < one.begins.get(place, 0):
                continue  # from before the group was made
            name = codec.name(record) if message is None else _inbox_name(message, one.group)
            passed = record.offset < one.passed.get(place, 0)
            self._names[one.group].add((name, order_id, record.topic, record.partition, record.offset, passed))


def microseconds(at: datetime) -> int:
    """Since 1970, as `Said.date` has it."""
    return int(at.timestamp() * _US)


def written_at(headers: Mapping[str, bytes], *names: str) -> datetime | None:
    """The time that the first of these headers names; None where none is there, or it can't be read."""
    text = next((headers[name] for name in names if name in headers), b"")
    try:
        at = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def read_message(record: Record, codec: Codec) -> Message | None:
    """Decode a record; None for one that can't be read."""
    try:
        return codec.decode(record)
    except Undecodable:
        return None


def _inbox_name(message: Message, group: str) -> str:
    return order_service.inbox_id(message) if group == order_service.GROUP else message.id


def _said(message: Message) -> Said:
    record, stated = message.record, stated_in(message.event)
    at = written_at(dict(record.headers), "ce_time")
    return Said(
        record.topic,
        record.partition,
        record.offset,
        NO_DATE if at is None else microseconds(at),
        0 if stated is None else _money(stated),
        0 if stated is None or stated.items is None else _hash(stated.items) or 1,
        _hash(message.event),
    )


def _money(stated: StatedTerms) -> int:
    return hash((stated.user_id, stated.amount.minor, stated.amount.currency.code)) or 1


def _hash(value: Any) -> int:
    """Equal for equal records, also where mappings and lists are in them; of 64 bits, with this process's own salt."""
    try:
        return hash(value)
    except TypeError:  # something in it is a mapping or a list
        pass
    if isinstance(value, Mapping):
        return hash(frozenset([(name, _hash(one)) for name, one in value.items()]))
    fields = _FIELDS.get(type(value))
    if fields is None:
        if not attrs.has(type(value)):
            return hash(tuple([_hash(one) for one in value]))
        fields = _FIELDS[type(value)] = tuple(field.name for field in attrs.fields(type(value)))
    return hash((type(value), *[_hash(getattr(value, name)) for name in fields]))


_FIELDS: dict[type[Any], tuple[str, ...]] = {}
