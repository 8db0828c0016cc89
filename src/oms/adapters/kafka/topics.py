"""Creates topics, and reports problems of existing ones."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta

import attrs
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.clients import new_admin_client
from oms.adapters.kafka.conf import FRAME_BYTES, conf_of
from oms.ports.broker import log_kept
from oms.ports.errors import Permanent, PortError, Retryable
from oms.ports.findings import Finding, warning
from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.settings.records import KafkaConfig

ASK_S = 5.0
"""Time limit of one request to the cluster, in seconds."""

REASON_S = 0.2
"""How long after a request has timed out the client may still report the cause, in seconds."""

ENSURE_S = 30.0
"""Time limit of `ensure_topics`, in seconds: Kafka shows a change only after a while."""

LOOK_EVERY_S = 0.05
SEGMENTS = 6
"""Segments per retention period. Kafka deletes whole segments, so a message may stay a sixth of the period longer."""

SAFE_COPIES = 3
"""From this replication factor on, a write needs a majority of the replicas; with fewer, no replica could fail."""


SIZE_LIMITS = {"max.message.bytes": str(MAX_MESSAGE_BYTES + FRAME_BYTES), "compression.type": "uncompressed"}
"""Settings of every topic. A broker checks the size of a batch as it was sent, compressed; with this `compression.type`
it decompresses each batch and checks the size again before it appends."""


@attrs.frozen
class TopicsReport:
    """What `ensure_topics` did, by topic; `kept` had enough partitions already, `limited` got the size limits."""

    created: Sequence[str]
    widened: Sequence[str]
    kept: Sequence[str]
    limited: Sequence[str] = attrs.Factory(list)


def ensure_topics(config: KafkaConfig, names: Collection[str]) -> TopicsReport:
    """Create missing topics, add partitions up to `OMS_PARTITIONS`, and set the size limits of existing topics.

    Safe to repeat, and from several hosts at once. Other properties of a topic that exists stay as they are, and so do
    the size limits where this user may not change them; `check_topics` then warns. Raises `Permanent` where Kafka
    refuses, `Retryable` where it can't be reached in time.
    """
    admin, until = _admin(config), time.monotonic() + ENSURE_S
    wanted, created, widened = sorted(set(names)), set[str](), set[str]()
    while True:
        have = _partitions(admin)
        missing = [name for name in wanted if name not in have]
        narrow = [name for name in wanted if have.get(name, config.partitions) < config.partitions]
        if not missing and not narrow:
            limited = _limit_sizes(admin, sorted(set(wanted) - created), config, until)
            return TopicsReport(sorted(created), sorted(widened), sorted(set(wanted) - created - widened), limited)
        if time.monotonic() > until:
            raise Retryable(f"topic {(missing + narrow)[0]}: Kafka doesn't show it as it was created")
        if missing:
            created |= _done(admin.create_topics([_new(config, name) for name in missing]), config)
        if narrow:
            more = [NewPartitions(name, config.partitions) for name in narrow]
            widened |= _done(admin.create_partitions(more), config)
        time.sleep(LOOK_EVERY_S)


def check_topics(config: KafkaConfig, names: Collection[str]) -> Sequence[Finding]:
    """Return one finding for each problem of these topics."""
    errors: list[KafkaError] = []
    try:
        admin = _admin(config, errors)
        have = _partitions(admin)
    except PortError as error:
        reason = next((driver_errors.describe(seen) for seen in errors if driver_errors.names_cause(seen)), str(error))
        return [Finding(f"Kafka can't be reached at {config.bootstrap}: {reason.removeprefix('Kafka: ')}")]
    wanted = sorted(set(names))
    return [
        *map(Finding, _problems(have, config.partitions, wanted)),
        *_unlimited(admin, [name for name in wanted if name in have]),
    ]


def _problems(have: Mapping[str, int], wanted: int, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        found = have.get(name)
        if found is None:
            yield f"topic {name} is missing: `oms setup` makes it"
        elif found < wanted:
            number = f"{found} partition" if found == 1 else f"{found} partitions"
            yield f"topic {name} has {number}, OMS_PARTITIONS is {wanted}: `oms setup` adds them"


def _unlimited(admin: AdminClient, names: Sequence[str]) -> Iterator[Finding]:
    """A warning for all topics that accept messages of any decompressed size, and one for those that can't be read."""
    found, unreadable = _size_settings(admin, names)
    open_topics = [name for name, values in found.items() if values != SIZE_LIMITS]
    if open_topics:
        wanted = ", ".join(f"{key}={value}" for key, value in SIZE_LIMITS.items())
        yield warning(
            f"a compressed message of any size can end its consumers: {', '.join(open_topics)}"
            f" lack {wanted}; `oms setup` sets them"
        )
    if unreadable:
        reason = driver_errors.describe(next(iter(unreadable.values())))
        yield warning(f"the size limits of {', '.join(unreadable)} can't be checked: {reason}")


def _size_settings(
    admin: AdminClient, names: Sequence[str]
) -> tuple[Mapping[str, Mapping[str, str]], Mapping[str, KafkaError]]:
    """The present values of `SIZE_LIMITS` by topic, and why those of other topics can't be read."""
    if not names:
        return {}, {}
    found: dict[str, Mapping[str, str]] = {}
    unreadable: dict[str, KafkaError] = {}
    futures = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=ASK_S
    )
    for resource, future in futures.items():
        try:
            values = future.result()
            found[resource.name] = {key: values[key].value for key in SIZE_LIMITS}
        except KafkaException as error:
            unreadable[resource.name] = driver_errors.error_in(error)
    return found, unreadable


def _limit_sizes(admin: AdminClient, names: Sequence[str], config: KafkaConfig, until: float) -> Sequence[str]:
    """Set the size limits of the topics that lack them, wait until Kafka shows them, and return those topics."""
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in SIZE_LIMITS.items()
    ]
    limited, forbidden = set[str](), set[str]()
    while True:
        found, _ = _size_settings(admin, [name for name in names if name not in forbidden])
        lacking = [name for name, values in found.items() if values != SIZE_LIMITS]
        if not lacking:
            return sorted(limited)
        if time.monotonic() > until:
            raise Retryable(f"topic {lacking[0]}: Kafka doesn't show its size limits as they were set")
        resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries) for name in lacking]
        for resource, future in admin.incremental_alter_configs(resources, request_timeout=ASK_S).items():
            try:
                future.result()
                limited.add(resource.name)
            except KafkaException as error:
                if driver_errors.is_forbidden(driver_errors.error_in(error)):
                    forbidden.add(resource.name)
                else:
                    _check(driver_errors.error_in(error), resource.name, config)
        time.sleep(LOOK_EVERY_S)


def _admin(config: KafkaConfig, errors: list[KafkaError] | None = None) -> AdminClient:
    noticed = errors.append if errors is not None else _ignore
    return new_admin_client(conf_of(config), error_cb=noticed)


def _ignore(_error: KafkaError) -> None:
    """Ignored: the error of the request itself reports the failure."""


def _partitions(admin: AdminClient) -> Mapping[str, int]:
    """The number of partitions of each existing topic."""
    try:
        topics = admin.list_topics(timeout=ASK_S).topics
    except KafkaException as error:
        admin.poll(REASON_S)
        raise driver_errors.unreachable(error) from None
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}


def _new(config: KafkaConfig, name: str) -> NewTopic:
    kept = log_kept(config.retention_days)
    entries = {
        **SIZE_LIMITS,
        "retention.ms": _ms(kept),
        "segment.ms": _ms(kept / SEGMENTS),
    }
    if config.replication >= SAFE_COPIES:
        entries["min.insync.replicas"] = str(config.replication // 2 + 1)
    return NewTopic(name, config.partitions, config.replication, config=entries)


def _ms(time: timedelta) -> str:
    return str(time // timedelta(milliseconds=1))


def _done(futures: Mapping[str, Future[None]], config: KafkaConfig) -> set[str]:
    """The topics that were changed; not those that another process changed first, or that have to be tried again.

    The caller must keep its client: the futures of a destroyed client fail.
    """
    done = set()
    for name, future in futures.items():
        try:
            future.result()
            done.add(name)
        except KafkaException as error:
            _check(driver_errors.error_in(error), name, config)
    return done


def _check(error: KafkaError, name: str, config: KafkaConfig) -> None:
    if driver_errors.is_done_already(error) or driver_errors.is_transient(error):
        return
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        raise Permanent(f"OMS_KAFKA_REPLICATION is {config.replication}: {driver_errors.describe(error)}")
    raise Permanent(f"topic {name}: {driver_errors.describe(error)}")
