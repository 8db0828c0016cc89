"""From settings to librdkafka's own keys, as plain data.

Three layers: what suits `oms`, then the user's keys (`OMS_KAFKA_CONF_...`), then what the promises rest on. librdkafka
takes the last of two names for the same thing, so nobody gets around the third layer by another name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from oms.ports.errors import SettingsError
from oms.ports.messages import MAX_KEY_BYTES, MAX_MESSAGE_BYTES
from oms.settings import Settings

FRAME_BYTES = MAX_KEY_BYTES
"""Room for key, names of headers and Kafka's own framing around the largest message."""

MAX_DELIVERY_S = 5.0
"""A publish that can't be reported by then is unknown; its worker has other things to do than to wait for longer."""

READER_GROUP = "oms-reader"
"""The group id of consumers that belong to no group: librdkafka wants one, and looks for its coordinator."""

LOGGER = logging.getLogger("oms.kafka")
"""Gets librdkafka's own lines, while a client is polled."""

Conf = Mapping[str, str]

_CLIENT: Conf = {
    "client.id": "oms",
    # Trouble is told by errors, counters and alerts; librdkafka's own lines repeat it twenty times a second.
    # `OMS_KAFKA_CONF_DEBUG=broker,cgrp` brings them back, on the logger `oms.kafka`.
    "log_level": "2",
    "message.max.bytes": str(MAX_MESSAGE_BYTES + FRAME_BYTES),
    "reconnect.backoff.max.ms": "1000",
    "socket.connection.setup.timeout.ms": "5000",
    "socket.keepalive.enable": "true",
    # How soon a topic or partition that `oms setup` adds is noticed, and how long a missing one is waited for.
    "topic.metadata.refresh.interval.ms": "10000",
    "topic.metadata.propagation.max.ms": "2000",
}
_PRODUCER: Conf = {
    "linger.ms": "1",
    # An order's messages share their partition with those that a Java producer sends.
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": "32768",
    "queue.buffering.max.messages": "10000",
}
_PROMISED_OF_PRODUCER: Conf = {"acks": "all", "enable.idempotence": "true"}
_CLASSIC_GROUP: Conf = {
    "heartbeat.interval.ms": "1000",
    # Sticky assignment evens out partitions, not topics: one member of three had all that is placed.
    "partition.assignment.strategy": "roundrobin",
    # How long the partitions of a dead member wait; the least that brokers allow by default. librdkafka's own thread
    # sends the heartbeats, so no handler can delay them.
    "session.timeout.ms": "6000",
}
_READER: Conf = {
    # A service at rest stays small: at most 4 MiB wait here, and a fetch brings at most 8.
    "fetch.max.bytes": "8388608",
    "fetch.queue.backoff.ms": "20",
    "queued.max.messages.kbytes": "4096",
    # librdkafka refuses a zstd batch above this when decompressed, for ever, and stops at it; it has no limit for gzip,
    # lz4 and snappy. Topics that `oms setup` makes hold no such batch.
    "receive.message.max.bytes": "1000000000",
}
_MEMBER: Conf = {"statistics.interval.ms": "1000"}
"""Statistics tell whether the member is in its group: nothing else does while there is nothing to read."""

_CAREFUL: Conf = {
    "enable.partition.eof": "true",
    "statistics.interval.ms": "0",
    "fetch.message.max.bytes": "1",  # Kafka sends the first batch nevertheless, and no second one
    "queued.min.messages": "1",
    "queued.max.messages.kbytes": "1",
}
_PROMISED_OF_READER: Conf = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
}
_NOT_YOURS = {
    "metadata.broker.list": "OMS_KAFKA_BOOTSTRAP says where Kafka is",
    "request.required.acks": "every message is acknowledged by all replicas in sync",
    "transactional.id": "oms rests on outbox and inbox, not on Kafka's transactions",
}


def conf_of(settings: Settings) -> dict[str, str]:
    """What every client needs: where Kafka is and how to log in. Holds the password: not for any log."""
    return _layered(settings, {}, {})


def producer_conf(settings: Settings) -> dict[str, str]:
    """The keys of a producer."""
    timeout_ms = round(min(MAX_DELIVERY_S, settings.outbox_lease_s / 2) * 1000)
    return _layered(settings, {**_PRODUCER, "message.timeout.ms": str(timeout_ms)}, _PROMISED_OF_PRODUCER)


def group_conf(settings: Settings, group: str) -> dict[str, str]:
    """The keys of a member of a consumer group."""
    # Kafka's own way to run a group (KIP-848) refuses the keys of the classic way.
    classic = {} if settings.kafka_conf.get("group.protocol") == "consumer" else _CLASSIC_GROUP
    ours = {"max.poll.interval.ms": "120000", "queued.min.messages": str(2 * settings.batch)}
    return _layered(settings, {**_READER, **classic, **ours}, {**_PROMISED_OF_READER, **_MEMBER, "group.id": group})


def reader_conf(settings: Settings) -> dict[str, str]:
    """The keys of a consumer that belongs to no group, and is told where a partition ends."""
    nobody = {"group.id": READER_GROUP, "enable.partition.eof": "true"}  # it has to have a name; it never joins
    return _layered(settings, {**_READER, "queued.min.messages": "1000"}, {**_PROMISED_OF_READER, **nobody})


def careful_conf(conf: Conf) -> Conf:
    """The keys of a consumer that has one batch in memory at a time, from those of a member of a group."""
    return {**conf, **_CAREFUL}


def delivery_timeout_s(conf: Conf) -> float:
    """How long librdkafka tries to deliver a message; `SettingsError` where that is for ever."""
    given = [text for key, text in conf.items() if key in ("message.timeout.ms", "delivery.timeout.ms")]
    try:
        timeout_s = int(given[-1]) / 1000
    except ValueError:
        timeout_s = 0.0
    if timeout_s <= 0:
        raise SettingsError("OMS_KAFKA_CONF_DELIVERY_TIMEOUT_MS: a message must be given up at some time; above 0")
    return timeout_s


def _layered(settings: Settings, suits: Conf, promised: Conf) -> dict[str, str]:
    for key, reason in _NOT_YOURS.items():
        if key in settings.kafka_conf:
            raise SettingsError(f"OMS_KAFKA_CONF_{key.upper().replace('.', '_')} isn't yours to set: {reason}")
    theirs = {key: text for key, text in settings.kafka_conf.items() if key not in promised}
    address = {"bootstrap.servers": settings.kafka_bootstrap}
    return {**_CLIENT, **suits, **_login(settings), **theirs, **promised, **address}


def _login(settings: Settings) -> Conf:
    login = {"security.protocol": settings.kafka_security}
    if settings.kafka_security.endswith("ssl") and settings.kafka_ca_file is not None:
        login["ssl.ca.location"] = str(settings.kafka_ca_file)
    if settings.kafka_security.startswith("sasl"):
        # The settings refuse SASL without user or password.
        password = settings.kafka_password.get_secret_value() if settings.kafka_password else ""
        login |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_user or "",
            "sasl.password": password,
        }
    return login
