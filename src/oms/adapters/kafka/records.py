"""Records as librdkafka returns them, and whole topics, read as a stream."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import cast

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import new_consumer
from oms.adapters.kafka.conf import Conf
from oms.ports.errors import Retryable
from oms.ports.messages import Headers, Record, within_limits

ASK_S = 10.0
"""Time limit of one request to the cluster, in seconds."""

SILENCE_S = 30.0
"""Time without a record after which a read fails, in seconds."""

CHUNK = 500
"""Records that are consumed at a time."""


def record_of(message: Message) -> Record:
    """The record of a message, within the limits. Another producer's header without a value becomes an empty one."""
    headers = cast(Sequence[tuple[str, bytes | None]] | None, message.headers())
    kept: Headers = tuple([(name, value or b"") for name, value in headers]) if headers else ()
    return within_limits(
        Record(
            cast(str, message.topic()),
            cast(int, message.partition()),
            cast(int, message.offset()),
            message.key(),
            message.value(),
            kept,
        )
    )


def read_all(conf: Conf, topics: Collection[str]) -> Iterator[Record]:
    """Every record that the topics hold at the first read, one topic after the other.

    `Retryable` if Kafka can't be read. A topic that doesn't exist holds no record.
    """
    with closing(new_consumer(conf)) as consumer:
        try:
            spans = [(topic, _spans(consumer, topic)) for topic in sorted(set(topics))]
            for topic, span in spans:
                yield from _read(consumer, topic, span)
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None


def _spans(consumer: Consumer, topic: str) -> Mapping[int, tuple[int, int]]:
    """(first offset, offset after the last) of each partition that holds records."""
    found = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
    if found.error is not None:
        if driver_errors.is_missing(found.error):
            return {}
        raise KafkaException(found.error)
    spans = {}
    for number in found.partitions:
        first, end = consumer.get_watermark_offsets(KafkaPartition(topic, number), timeout=ASK_S)
        if first < end:
            spans[number] = (first, end)
    return spans


def _read(consumer: Consumer, topic: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Record]:
    consumer.assign([KafkaPartition(topic, number, first) for number, (first, _) in spans.items()])
    unread, left = set(spans), sum(end - first for first, end in spans.values())
    give_up_at = time.monotonic() + SILENCE_S
    while unread:
        messages = consumer.consume(max(1, min(CHUNK, left)), 0.1)  # for more it would wait until the time limit
        left -= len(messages)
        if messages:
            give_up_at = time.monotonic() + SILENCE_S
        elif time.monotonic() > give_up_at:
            raise Retryable(f"{topic}: Kafka sends no more records")
        for message in messages:
            yield from _kept(message, spans, unread)
    consumer.unassign()


def _kept(message: Message, spans: Mapping[int, tuple[int, int]], unread: set[int]) -> Iterator[Record]:
    """The record if it is within `spans`; removes partitions that have been read to their end from `unread`.

    Offsets may have gaps, and the last one may belong to no record: then Kafka reports the end of the partition.
    """
    error = message.error()
    if error is not None:
        stopped = driver_errors.stops_reading(error)
        if stopped is not None:
            raise stopped
        if driver_errors.is_partition_end(error):
            unread.discard(cast(int, message.partition()))
        return
    record = record_of(message)
    end = spans[record.partition][1]
    if record.offset + 1 >= end:
        unread.discard(record.partition)
    if record.offset < end:
        yield record
