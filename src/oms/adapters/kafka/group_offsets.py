"""The committed offsets of a group, read from outside of the group.

The reader is a consumer with the group's id that never joins, so the members lose nothing. (The admin client's
`list_consumer_group_offsets` ends the process with a segmentation fault, as of confluent-kafka 2.16.1.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import outside_consumer
from oms.adapters.kafka.conf import Conf
from oms.ports.broker import TopicPartition

ASK_S = 5.0
"""Time limit of one request to the cluster, in seconds."""


def committed(conf: Conf, group: str, topics: Collection[str]) -> Mapping[TopicPartition, int]:
    """The committed offset of each partition of these topics for which the group has committed one.

    A group commits shortly after it has handled a record. A topic that doesn't exist is left out. `Retryable` if Kafka
    doesn't respond, or not to this user.
    """
    with closing(outside_consumer(conf, group)) as consumer, _translated():
        return _committed(consumer, topics)


def unread(conf: Conf, group: str, topics: Collection[str]) -> Mapping[str, int]:
    """The group's lag in messages for each topic where it has one, in partitions for which it has committed an offset.

    Offsets that belong to no message count as well. `Retryable` as `committed`.
    """
    left: Counter[str] = Counter()
    with closing(outside_consumer(conf, group)) as consumer, _translated():
        for place, offset in _committed(consumer, topics).items():
            left[place.topic] += max(0, _end(consumer, place) - offset)
    return {topic: count for topic, count in sorted(left.items()) if count}


def ends(conf: Conf, topics: Collection[str]) -> Mapping[TopicPartition, int]:
    """The offset of the next record of each partition of those topics that exist; `Retryable` as `committed`."""
    with closing(outside_consumer(conf, conf["group.id"])) as consumer, _translated():
        return {place: _end(consumer, place) for place in _partitions(consumer, topics)}


def begin(conf: Conf, topics: Collection[str], starts: Mapping[TopicPartition, int]) -> bool:
    """Commit `starts` for the partitions for which the group of `conf` has committed no offset.

    Returns whether it had committed no offset of these topics at all. Kafka accepts offsets from outside of a group
    only while the group has no members. If it has some, another instance began the group and has committed these
    offsets, or members of a version that has no `starts` are reading. `Retryable` as `committed`.
    """
    with closing(outside_consumer(conf, conf["group.id"])) as consumer, _translated():
        known = _committed(consumer, topics)
        offsets = [
            KafkaPartition(*place, starts[place])
            for place in _partitions(consumer, topics)
            if place in starts and place not in known and starts[place] <= _end(consumer, place)
        ]
        try:
            if offsets:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if not driver_errors.has_members(driver_errors.error_in(error)):
                raise
    return not known


def is_unknown(consumer: Consumer, topics: Collection[str]) -> bool:
    """Whether the group of this member has committed no offset of these topics; `Retryable` as `committed`."""
    with _translated():
        return not _committed(consumer, topics)


def positions(consumer: Consumer, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
    """The offset from which the group of this member reads each partition: the committed one, else the first.

    `Retryable` if Kafka doesn't respond.
    """
    with _translated():
        found = _read_committed(consumer, places)
        return {TopicPartition(one.topic, one.partition): _start(consumer, one) for one in found}


def with_records(consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> Sequence[TopicPartition]:
    """The partitions that hold a record at or after these offsets; `Retryable` if Kafka doesn't respond."""
    with _translated():
        return [place for place, offset in offsets.items() if _end(consumer, place) > offset]


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's exceptions into `Retryable`."""
    try:
        yield
    except KafkaException as error:
        raise driver_errors.unreachable(error) from None


def _end(consumer: Consumer, place: TopicPartition) -> int:
    _, end = consumer.get_watermark_offsets(KafkaPartition(*place), timeout=ASK_S)
    return int(end)


def _partitions(consumer: Consumer, topics: Collection[str]) -> Sequence[TopicPartition]:
    """The partitions of those topics that exist."""
    known = consumer.list_topics(timeout=ASK_S).topics
    return [
        TopicPartition(topic, number)
        for topic in sorted(set(topics) & known.keys())
        for number in sorted(known[topic].partitions)
    ]


def _start(consumer: Consumer, committed: KafkaPartition) -> int:
    if committed.offset >= 0:
        return committed.offset
    first, _ = consumer.get_watermark_offsets(KafkaPartition(committed.topic, committed.partition), timeout=ASK_S)
    return first


def _committed(consumer: Consumer, topics: Collection[str]) -> Mapping[TopicPartition, int]:
    places = _partitions(consumer, topics)
    found = _read_committed(consumer, places) if places else ()
    return {TopicPartition(one.topic, one.partition): one.offset for one in found if one.offset >= 0}


def _read_committed(consumer: Consumer, places: Collection[TopicPartition]) -> Sequence[KafkaPartition]:
    """The partitions with their committed offsets, negative if there is none."""
    found = consumer.committed([KafkaPartition(*place) for place in places], timeout=ASK_S)
    failed = next((one.error for one in found if one.error is not None), None)
    if failed is not None:
        raise KafkaException(failed)
    return found
