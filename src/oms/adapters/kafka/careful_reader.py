"""Reads one partition record by record, with as little of it in memory as librdkafka allows.

librdkafka decompresses each batch of a fetch as a whole, and its Python binding copies the value of each message that
it returns. Here a fetch brings one batch, and one message is copied at a time.
"""

from __future__ import annotations

from confluent_kafka import KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import keep_in_forks, new_consumer
from oms.adapters.kafka.conf import Conf, careful_conf
from oms.adapters.kafka.records import record_of
from oms.ports.broker import TopicPartition
from oms.ports.messages import Record


class CarefulReader:
    """Reads one partition from an offset on, with a client that isn't a member of the group."""

    def __init__(self, conf: Conf, place: TopicPartition, offset: int) -> None:
        self.place, self.offset = place, offset
        """The partition, and the offset of the next record."""
        self.at_end = False
        keep_in_forks(self)
        self._consumer = new_consumer(careful_conf(conf))
        try:
            self._consumer.assign([KafkaPartition(*place, offset)])
        except KafkaException as error:
            raise driver_errors.refused_settings(error) from None

    def next(self) -> Record | None:
        """The next record; None if none has arrived.

        Sets `at_end` at the end of the partition. Raises `Retryable` if Kafka can't be read.
        """
        for message in self._consume():
            error = message.error()
            if error is None:
                record = record_of(message)
                self.offset = record.offset + 1
                return record
            self.at_end = driver_errors.is_partition_end(error)
            stopped = driver_errors.stops_reading(error)
            if stopped is not None:
                raise stopped
        return None

    def _consume(self) -> list[Message]:
        try:
            return self._consumer.consume(1, 0)
        except KafkaException as error:
            raise driver_errors.unreachable(error) from None

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()
