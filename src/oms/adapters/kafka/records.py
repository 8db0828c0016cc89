"""Records as librdkafka gives them, and the whole log of some topics, read as a stream."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import cast

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPlace

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.conf import LOGGER, Conf
from oms.ports.errors import Retryable
from oms.ports.messages import Headers, Record, within_limits

ASK_S = 10.0
"""How long the cluster may take over one question."""

SILENCE_S = 30.0
"""A read that brings nothing for so long is given up."""

CHUNK = 500


def record_of(message: Message) -> Record:
    """The record of a message, within the limits; a foreign producer's header without a value is an empty one."""
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
    """Every record that the topics hold when the reading begins, one topic after the other.

    `Retryable` where Kafka can't be read. A topic that doesn't exist holds nothing.
    """
    try:
        consumer = Consumer(dict(conf), logger=LOGGER)
    except KafkaException as error:
        raise driver_errors.refused_settings(error) from None
    with closing(consumer):
        try:
            spans = [(topic, _spans(consumer, topic)) for topic in sorted(set(topics))]
            for topic, span in spans:
                yield from _read(consumer, topic, span)
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None


def _spans(consumer: Consumer, topic: str) -> Mapping[int, tuple[int, int]]:
    """Of each partition that holds something: its first offset, and the one behind its last."""
    found = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
    if found.error is not None:
        if driver_errors.is_missing(found.error):
            return {}
        raise KafkaException(found.error)
    spans = {}
    for number in found.partitions:
        first, end = consumer.get_watermark_offsets(KafkaPlace(topic, number), timeout=ASK_S)
        if first < end:
            spans[number] = (first, end)
    return spans


def _read(consumer: Consumer, topic: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Record]:
    consumer.assign([KafkaPlace(topic, number, first) for number, (first, _) in spans.items()])
    unread = set(spans)
    give_up_at = time.monotonic() + SILENCE_S
    while unread:
        messages = consumer.consume(CHUNK, 0.1)
        if messages:
            give_up_at = time.monotonic() + SILENCE_S
        elif time.monotonic() > give_up_at:
            raise Retryable(f"{topic}: Kafka sends nothing more")
        for message in messages:
            yield from _kept(message, spans, unread)
    consumer.unassign()


def _kept(message: Message, spans: Mapping[int, tuple[int, int]], unread: set[int]) -> Iterator[Record]:
    """The record, where it was there at the beginning; notes which partitions are read.

    Offsets may have gaps, and the last one may belong to no record: then Kafka tells the end of the partition.
    """
    error = message.error()
    if error is not None:
        trouble = driver_errors.stops_reading(error)
        if trouble is not None:
            raise trouble
        if driver_errors.is_partition_end(error):
            unread.discard(cast(int, message.partition()))
        return
    record = record_of(message)
    end = spans[record.partition][1]
    if record.offset + 1 >= end:
        unread.discard(record.partition)
    if record.offset < end:
        yield record
