"""How far a group is, as the cluster knows it: for evidence, from outside of the group."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from oms.adapters.kafka import border
from oms.adapters.kafka.conf import Conf
from oms.ports.broker import TopicPartition

ASK_S = 10.0
"""How long the cluster may take over one question."""


def committed(conf: Conf, group: str) -> Mapping[TopicPartition, int]:
    """The next offset to read of each partition that the group has committed something of; none for an unknown group.

    A group says so a moment after it is done with a record. `Retryable` where Kafka doesn't answer, or not this user.
    """
    try:
        admin = AdminClient(dict(conf))
    except KafkaException as error:
        raise border.refused_settings(error) from None
    try:
        # The client has to live until its future is done.
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=ASK_S)
        places = asked[group].result().topic_partitions or ()
        failed = next((place.error for place in places if place.error is not None), None)
        if failed is not None:
            raise KafkaException(failed)
    except KafkaException as error:
        raise border.unreachable(error) from None
    return {TopicPartition(place.topic, place.partition): place.offset for place in places if place.offset >= 0}
