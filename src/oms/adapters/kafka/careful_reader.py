"""Reads one partition record by record, with as little of it in memory as librdkafka allows.

librdkafka decompresses each batch of a fetch as a whole, and its Python binding copies the value of each message that
it returns. Here a fetch brings one batch, and one message is copied at a time.
"""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPlace

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import keep_in_forks
from oms.adapters.kafka.conf import LOGGER, Conf, careful_conf
from oms.adapters.kafka.records import record_of
from oms.ports.broker import TopicPartition
from oms.ports.messages import Record


class CarefulReader:
    """Reads one partition from an offset on, apart from its group."""

    def __init__(self, conf: Conf, place: TopicPartition, offset: int) -> None:
        self.place, self.offset = place, offset
        """The partition, and the offset of the next record."""
        self.at_end = False
        keep_in_forks(self)
        try:
            self._consumer = Consumer(dict(careful_conf(conf)), logger=LOGGER)
            self._consumer.assign([KafkaPlace(place.topic, place.partition, offset)])
        except KafkaException as error:
            raise driver_errors.refused_settings(error) from None

    def next(self) -> Record | None:
        """The next record, if it has arrived; sets `at_end` if there is none. `Retryable` if Kafka can't be read."""
        for message in self._consume():
            fault = message.error()
            if fault is None:
                record = record_of(message)
                self.offset = record.offset + 1
                return record
            self.at_end = driver_errors.is_partition_end(fault)
            trouble = driver_errors.stops_reading(fault)
            if trouble is not None:
                raise trouble
        return None

    def _consume(self) -> list[Message]:
        try:
            return self._consumer.consume(1, 0)
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()
