"""How far a group is, as the cluster knows it, from outside of the group.

Asked by a consumer that has the group's name and never joins: it takes nothing away from the members. (The admin
client's `list_consumer_group_offsets` ends the process with a segmentation fault, as of confluent-kafka 2.16.1.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPlace

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.conf import LOGGER, Conf
from oms.ports.broker import TopicPartition

ASK_S = 5.0
"""How long the cluster may take over one question."""


def committed(conf: Conf, group: str, topics: Collection[str]) -> Mapping[TopicPartition, int]:
    """The next offset to read of each partition that the group has committed something of; none for an unknown group.

    A group says so a moment after it is done with a record. A topic that doesn't exist is left out. `Retryable` where
    Kafka doesn't answer, or not this user.
    """
    with closing(asking(conf, group)) as consumer:
        try:
            return _committed(consumer, topics)
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None


def unread(conf: Conf, group: str, topics: Collection[str]) -> Mapping[str, int]:
    """How many messages a group still has to read of each topic, as far as it has committed something; those with some.

    Offsets that belong to no message count as well. `Retryable` as `committed`.
    """
    left: Counter[str] = Counter()
    with closing(asking(conf, group)) as consumer:
        try:
            for place, offset in _committed(consumer, topics).items():
                left[place.topic] += max(0, _end(consumer, place) - offset)
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None
    return {topic: count for topic, count in sorted(left.items()) if count}


def ends(conf: Conf, topics: Collection[str]) -> Mapping[TopicPartition, int]:
    """The offset of the next record of each partition of those topics that exist; `Retryable` as `committed`."""
    with closing(asking(conf, conf["group.id"])) as consumer:
        try:
            return {at: _end(consumer, at) for at in _places(consumer, topics)}
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None


def begin(conf: Conf, topics: Collection[str], starts: Mapping[TopicPartition, int]) -> bool:
    """Commit `starts` for the partitions of which the group of `conf` has committed nothing.

    Returns whether it had committed nothing at all of these topics. Kafka takes offsets from outside of a group only
    while that has no members; where there are some, another instance began the group and has committed these offsets,
    or members of a version that knows no `starts` are reading. `Retryable` as `committed`.
    """
    with closing(asking(conf, conf["group.id"])) as consumer:
        try:
            known = _committed(consumer, topics)
            existing = _places(consumer, topics)
            missing = {at: starts[at] for at in existing if at in starts and at not in known}
            offsets = [KafkaPlace(*at, offset) for at, offset in missing.items() if offset <= _end(consumer, at)]
            if offsets:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if not driver_errors.has_members(driver_errors.of(error)):
                raise driver_errors.unreachable(error) from None
    return not known


def is_unknown(consumer: Consumer, topics: Collection[str]) -> bool:
    """Whether the group of this member has committed nothing of these topics; `Retryable` as `committed`."""
    try:
        return not _committed(consumer, topics)
    except KafkaException as error:
        raise driver_errors.unreachable(error) from None


def positions(consumer: Consumer, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
    """The offset from which the group of this member reads each partition: committed, else the first there is.

    `Retryable` where Kafka doesn't answer.
    """
    asked = [KafkaPlace(place.topic, place.partition) for place in places]
    try:
        found = consumer.committed(asked, timeout=ASK_S)
        failed = next((one.error for one in found if one.error is not None), None)
        if failed is not None:
            raise KafkaException(failed)
        return {TopicPartition(one.topic, one.partition): _start(consumer, one) for one in found}
    except KafkaException as error:
        raise driver_errors.unreachable(error) from None


def with_records(consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> Sequence[TopicPartition]:
    """The partitions that hold something at or after these offsets; `Retryable` where Kafka doesn't answer."""
    try:
        ends = {at: _end(consumer, at) for at in offsets}
    except KafkaException as error:
        raise driver_errors.unreachable(error) from None
    return [at for at, offset in offsets.items() if ends[at] > offset]


def _end(consumer: Consumer, at: TopicPartition) -> int:
    _, end = consumer.get_watermark_offsets(KafkaPlace(*at), timeout=ASK_S)
    return int(end)


def _places(consumer: Consumer, topics: Collection[str]) -> Sequence[TopicPartition]:
    """The partitions of those topics that exist."""
    known = consumer.list_topics(timeout=ASK_S).topics
    return [
        TopicPartition(topic, number)
        for topic in sorted(set(topics) & known.keys())
        for number in sorted(known[topic].partitions)
    ]


def _start(consumer: Consumer, committed: KafkaPlace) -> int:
    if committed.offset >= 0:
        return committed.offset
    first, _ = consumer.get_watermark_offsets(KafkaPlace(committed.topic, committed.partition), timeout=ASK_S)
    return first


def asking(conf: Mapping[str, Any], group: str) -> Consumer:
    """Make a consumer that asks on behalf of a group and never joins it; for the caller to close."""
    try:
        return Consumer({**conf, "group.id": group}, logger=LOGGER)
    except KafkaException as error:
        raise driver_errors.refused_settings(error) from None


def _committed(consumer: Consumer, topics: Collection[str]) -> Mapping[TopicPartition, int]:
    asked = [KafkaPlace(*at) for at in _places(consumer, topics)]
    if not asked:
        return {}
    found = consumer.committed(asked, timeout=ASK_S)
    failed = next((place.error for place in found if place.error is not None), None)
    if failed is not None:
        raise KafkaException(failed)
    return {TopicPartition(place.topic, place.partition): place.offset for place in found if place.offset >= 0}
