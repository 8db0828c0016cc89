"""Reads the messages of the log once, and sorts them by order, and by the ids in the consumers' inboxes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import attrs

from oms.application import orders as order_service
from oms.domain.events import EVENTS, PartEvent, RefundEvent
from oms.domain.fulfilment import Fulfilment
from oms.domain.money import Money
from oms.domain.refund import WHOLE
from oms.domain.stated_terms import StatedTerms, stated_in
from oms.domain.terms import Terms
from oms.domain.values import UserId
from oms.engine.dead_letter_copies import original_of
from oms.ports.broker import TopicPartition
from oms.ports.evidence import LogEvidence
from oms.ports.messages import AnyEvent, Codec, Message, Outgoing, Record, Undecodable, is_copies_topic
from oms.ports.sorting import MakeSorter, Sorter

NO_DATE = -1
_US = 1_000_000


class LoggedMessage(NamedTuple):
    """One message of an order in the log. The numbers are hashes, which are of use within one process only."""

    topic: str
    partition: int
    offset: int
    date: int
    """When the event happened, in microseconds since 1970; `NO_DATE` for a message of another producer."""

    money: int
    """Hash of the customer and the amount that it states, of a refund or the whole; 0 if it states none."""

    items: int
    """Hash of the items that it states; 0 if it states none."""

    content: int
    """Hash of the decoded content."""

    part: str = ""
    """The part of the order that it is about; empty for a message about the whole order."""

    @property
    def place(self) -> str:
        """Its place in the log, for people."""
        return f"{self.topic}/{self.partition} offset {self.offset}"

    def contradicts(self, agreed: StatedHashes | None) -> bool:
        """Whether it names another customer, amount or items than its order: this system didn't send it.

        The same of a message about a refund that differs from the order's. A refund that is missing in the snapshot of
        the order may have been requested later.
        """
        if agreed is None or not self.money:
            return False
        if self.part:
            return self.money != agreed.refunds.get(self.part.partition("/")[0], self.money)
        return self.money != agreed.money or (self.items != 0 and self.items != agreed.items)


@attrs.frozen
class StatedHashes:
    """Hashes of the terms that the messages of an order must state."""

    money: int
    items: int
    refunds: Mapping[str, int]
    """By the id of the refund: hash of customer and amount."""

    @classmethod
    def of(cls, terms: Terms, fulfilment: Fulfilment) -> StatedHashes:
        """Return the hashes of an order's terms and refunds."""
        stated = StatedTerms.of(terms)
        money = _money(terms.user_id, terms.total)
        refunds = {one.id: _money(terms.user_id, one.amount) for one in fulfilment.refunds}
        return cls(money, _hash(stated.items) or 1, {WHOLE: money, **refunds})


@attrs.frozen
class Listener:
    """A consumer group: the topics that it reads, the offsets where it began, and how far it has read."""

    group: str
    topics: Collection[str]
    begins: Mapping[TopicPartition, int]
    passed: Mapping[TopicPartition, int]


@attrs.define
class LogSnapshot:
    """The messages that the log has kept."""

    ends: dict[TopicPartition, int] = attrs.field(factory=dict)
    """The end offset of each partition."""

    copies: set[bytes] = attrs.field(factory=set)
    """The ids of wanted dead letters that have a copy in the log."""

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
        """Read the log once. Copies of dead letters count only if the letter is `wanted`."""
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

    def by_order(self) -> Iterator[tuple[str, LoggedMessage]]:
        """Yield every message that can be decoded, by order, topic, partition and offset."""
        return ((row[0], LoggedMessage._make(row[1:])) for row in self._by_order.rows())

    def names(self, group: str) -> Iterator[tuple[str, str, str, int, int, bool]]:
        """Yield (inbox id, order, topic, partition, offset, passed) of each message for a group, by inbox id.

        The order is empty for a message that can't be decoded. `passed`: the group has read later messages.
        """
        return self._names[group].rows()

    def _add(self, record: Record, codec: Codec, listeners: Collection[Listener]) -> None:
        self.count += 1
        place = TopicPartition(record.topic, record.partition)
        self.ends[place] = max(self.ends.get(place, 0), record.offset + 1)
        message = read_message(record, codec)
        if message is not None and message.event is None:
            return  # of the Spring system, about no order
        order_id = "" if message is None or message.event is None else message.event.order_id
        if message is not None:
            self._by_order.add((order_id, *_logged_message(message)))
        for one in listeners:
            if record.offset < one.begins.get(place, 0):
                continue  # from before the group was made
            name = codec.name(record) if message is None else _inbox_name(message, one.group)
            passed = record.offset < one.passed.get(place, 0)
            self._names[one.group].add((name, order_id, record.topic, record.partition, record.offset, passed))


def microseconds(at: datetime) -> int:
    """Return a time as whole microseconds since 1970."""
    return int(at.timestamp() * _US)


def written_at(headers: Mapping[str, bytes], *names: str) -> datetime | None:
    """Return the time in the first of these headers that is present; None if none is, or it is no time with a zone."""
    text = next((headers[name] for name in names if name in headers), b"")
    try:
        at = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def read_message(record: Record, codec: Codec) -> Message | None:
    """Return the decoded record; None if it can't be decoded."""
    try:
        return codec.decode(record)
    except Undecodable:
        return None


def as_record(message: Outgoing) -> Record:
    """Return a message of the outbox as a record without a place in the log."""
    return Record(message.topic, -1, -1, message.key, message.value, message.headers)


def part_of(message: Outgoing, codec: Codec) -> str:
    """Return the part that a message in the outbox is about; empty if it is about the whole order."""
    if message.topic not in _PART_TOPICS:
        return ""
    decoded = read_message(as_record(message), codec)
    return decoded.event.part if decoded is not None and decoded.event is not None else ""


_PART_TOPICS = frozenset(kind.topic for kind in EVENTS if issubclass(kind, PartEvent))


def _inbox_name(message: Message, group: str) -> str:
    return order_service.inbox_id(message) if group == order_service.GROUP else message.id


def _logged_message(message: Message) -> LoggedMessage:
    record, stated = message.record, stated_in(message.event)
    at = written_at(dict(record.headers), "ce_time")
    return LoggedMessage(
        record.topic,
        record.partition,
        record.offset,
        NO_DATE if at is None else microseconds(at),
        _stated_money(message.event, stated),
        0 if stated is None or stated.items is None else _hash(stated.items) or 1,
        _hash(message.event),
        "" if message.event is None else message.event.part,
    )


def _stated_money(event: AnyEvent | None, stated: StatedTerms | None) -> int:
    if stated is not None:
        return _money(stated.user_id, stated.amount)
    return _money(event.user_id, event.amount) if isinstance(event, RefundEvent) else 0


def _money(user_id: UserId, amount: Money) -> int:
    return hash((user_id, amount.minor, amount.currency.code)) or 1


def _hash(value: Any) -> int:
    """Return a 64-bit hash that is equal for equal records, mappings and lists; valid in this process only."""
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
