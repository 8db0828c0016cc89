"""Turns settings into librdkafka's configuration.

It has three layers: defaults for `oms`, then the user's keys (`OMS_KAFKA_CONF_...`), then the keys on which delivery
guarantees depend. Of two names for the same key librdkafka takes the last, so an alias can't override the third layer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from oms.ports.errors import SettingsError
from oms.ports.limits import MAX_KEY_BYTES, MAX_MESSAGE_BYTES
from oms.settings.records import KafkaConfig

FRAME_BYTES = MAX_KEY_BYTES
"""Bytes for the key, the names of headers and Kafka's framing around the largest message."""

MAX_DELIVERY_S = 5.0
"""Time limit of a delivery, in seconds; after it the outcome is unknown, and the waiting worker continues."""

READER_GROUP = "oms-reader"
"""The group id of consumers that belong to no group: librdkafka requires one, and looks up its coordinator."""

LOGGER = logging.getLogger("oms.kafka")
"""The logger for librdkafka's own lines, which it writes while a client is polled."""

Conf = Mapping[str, str]

_CLIENT: Conf = {
    "client.id": "oms",
    # Errors, counters and alerts report failures; librdkafka's own lines repeat them twenty times a second.
    # `OMS_KAFKA_CONF_DEBUG=broker,cgrp` logs them on the logger `oms.kafka`.
    "log_level": "2",
    "message.max.bytes": str(MAX_MESSAGE_BYTES + FRAME_BYTES),
    "reconnect.backoff.max.ms": "1000",
    "socket.connection.setup.timeout.ms": "5000",
    "socket.keepalive.enable": "true",
    # How soon clients see a topic or partition that `oms setup` adds, and how long they wait for a missing one.
    "topic.metadata.refresh.interval.ms": "10000",
    "topic.metadata.propagation.max.ms": "2000",
}
_PRODUCER: Conf = {
    "linger.ms": "1",
    # The Java client's partitioner, so that an order's messages share a partition whichever client sends them.
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": "32768",
    "queue.buffering.max.messages": "10000",
}
_FIXED_FOR_PRODUCER: Conf = {"acks": "all", "enable.idempotence": "true"}
_CLASSIC_GROUP: Conf = {
    "heartbeat.interval.ms": "1000",
    # Sticky assignment balances partitions but not topics: one of three members had all partitions of `order.created`.
    "partition.assignment.strategy": "roundrobin",
    # How long a dead member keeps its partitions; the least that brokers allow by default. librdkafka sends the
    # heartbeats on its own thread, so no handler can delay them.
    "session.timeout.ms": "6000",
}
_READER: Conf = {
    # Bounds the memory of an idle service: 4 MiB are fetched ahead, 8 MiB per fetch.
    "fetch.max.bytes": "8388608",
    "fetch.queue.backoff.ms": "20",
    "queued.max.messages.kbytes": "4096",
    # librdkafka never gets past a zstd batch that is larger than this when decompressed; it has no limit for gzip, lz4
    # and snappy. Topics that `oms setup` creates hold no such batch.
    "receive.message.max.bytes": "1000000000",
}
_MEMBER: Conf = {"statistics.interval.ms": "1000"}
"""While there is nothing to read, only the statistics show whether the member is in its group."""

_CAREFUL: Conf = {
    "enable.partition.eof": "true",
    "statistics.interval.ms": "0",
    "fetch.message.max.bytes": "1",  # Kafka sends the first batch regardless of its size, but no second one
    "queued.min.messages": "1",
    "queued.max.messages.kbytes": "1",
}
_FIXED_FOR_READER: Conf = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
}
_REFUSED = {
    "metadata.broker.list": "OMS_KAFKA_BOOTSTRAP says where Kafka is",
    "request.required.acks": "every message is acknowledged by all replicas in sync",
    "transactional.id": "oms relies on outbox and inbox, not on Kafka's transactions",
}


def conf_of(config: KafkaConfig) -> dict[str, str]:
    """The keys of every client: address and credentials. They include the password, so they must not be logged."""
    return _layered(config, {}, {})


def producer_conf(config: KafkaConfig) -> dict[str, str]:
    """The keys of a producer."""
    timeout_ms = round(min(MAX_DELIVERY_S, config.outbox_lease_s / 2) * 1000)
    return _layered(config, {**_PRODUCER, "message.timeout.ms": str(timeout_ms)}, _FIXED_FOR_PRODUCER)


def group_conf(config: KafkaConfig, group: str) -> dict[str, str]:
    """The keys of a member of a consumer group."""
    # The newer group protocol (KIP-848) refuses the keys of the classic one.
    classic = {} if config.conf.get("group.protocol") == "consumer" else _CLASSIC_GROUP
    ours = {"max.poll.interval.ms": "120000", "queued.min.messages": str(2 * config.batch)}
    return _layered(config, {**_READER, **classic, **ours}, {**_FIXED_FOR_READER, **_MEMBER, "group.id": group})


def reader_conf(config: KafkaConfig) -> dict[str, str]:
    """The keys of a consumer that belongs to no group, and gets an event at the end of a partition."""
    reader = {"group.id": READER_GROUP, "enable.partition.eof": "true"}  # it never joins the group
    # It reads one topic after the other: the fetch that waits at the end of a topic delays the first one of the next.
    ours = {"queued.min.messages": "1000", "fetch.wait.max.ms": "10"}
    return _layered(config, {**_READER, **ours}, {**_FIXED_FOR_READER, **reader})


def has_cooperative_rebalances(conf: Conf) -> bool:
    """Whether a rebalance changes single partitions of a member instead of its whole assignment."""
    return conf.get("group.protocol") == "consumer" or "cooperative" in conf.get("partition.assignment.strategy", "")


def careful_conf(conf: Conf) -> Conf:
    """The keys of a consumer that holds one batch in memory at a time, made from those of a member of a group."""
    return {**conf, **_CAREFUL}


def delivery_timeout_s(conf: Conf) -> float:
    """How long librdkafka tries to deliver a message, in seconds; `SettingsError` if there is no limit."""
    given = [text for key, text in conf.items() if key in ("message.timeout.ms", "delivery.timeout.ms")]
    try:
        timeout_s = int(given[-1]) / 1000
    except ValueError:
        timeout_s = 0.0
    if timeout_s <= 0:
        raise SettingsError("OMS_KAFKA_CONF_DELIVERY_TIMEOUT_MS: a message must be given up at some time; above 0")
    return timeout_s


def _layered(config: KafkaConfig, defaults: Conf, fixed: Conf) -> dict[str, str]:
    for key, reason in _REFUSED.items():
        if key in config.conf:
            raise SettingsError(f"OMS_KAFKA_CONF_{key.upper().replace('.', '_')} isn't yours to set: {reason}")
    users = {key: text for key, text in config.conf.items() if key not in fixed}
    address = {"bootstrap.servers": config.bootstrap}
    return {**_CLIENT, **defaults, **_login(config), **users, **fixed, **address}


def _login(config: KafkaConfig) -> Conf:
    login = {"security.protocol": config.security}
    if config.security.endswith("ssl") and config.ca_file is not None:
        login["ssl.ca.location"] = str(config.ca_file)
    if config.security.startswith("sasl"):
        # The settings refuse SASL without user or password.
        password = config.password or ""
        login |= {
            "sasl.mechanism": config.sasl_mechanism,
            "sasl.username": config.user or "",
            "sasl.password": password,
        }
    return login
