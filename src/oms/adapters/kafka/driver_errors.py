"""What librdkafka's errors mean to us: the only place that knows their codes.

A text made here holds librdkafka's own words and names of topics and settings, never the value of a setting.
"""

from __future__ import annotations

import re
from typing import cast

from confluent_kafka import KafkaError, KafkaException

from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable, SettingsError

_UNSENDABLE = frozenset({
    KafkaError.INVALID_RECORD,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError._INVALID_ARG,
})  # fmt: skip
_NOT_TAKEN = frozenset({
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._PURGE_QUEUE,
    KafkaError._QUEUE_FULL,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
})  # fmt: skip
_INVALID_DIFFERENT_RECORD = -138
"""A neighbour in the batch was refused; the library's type stubs don't have the name."""

_STALE_MEMBER_EPOCH = 113
"""As ILLEGAL_GENERATION, of groups that Kafka runs itself (KIP-848); the library's type stubs don't have the name."""

_OF_THE_WHOLE_BATCH = frozenset({
    KafkaError.INVALID_RECORD,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    _INVALID_DIFFERENT_RECORD,
})  # fmt: skip
_STOPS_ALL = frozenset({
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._UNKNOWN_TOPIC,
})  # fmt: skip
_UNRELEASED_INSTANCE_ID = 111
"""An instance id in use, in groups that Kafka runs itself (KIP-848); the library's type stubs don't have the name."""

_OF_THE_NEW_PROTOCOL = (110, _UNRELEASED_INSTANCE_ID, 112)
"""A fenced epoch, an instance id in use, an unknown assignor; the library's type stubs don't have the names."""

_REFUSES_MEMBER = frozenset({
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.GROUP_MAX_SIZE_REACHED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INVALID_SESSION_TIMEOUT,
    *_OF_THE_NEW_PROTOCOL,
})  # fmt: skip
"""A group doesn't take, or no longer has, a member. Some end by themselves, when other members leave."""

_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
# Words of settings whose values librdkafka may repeat when it can't read them.
_SECRET = re.compile(r"(sasl|key|keystore)\.password|ssl\.(key|certificate|ca)\.pem|client\.secret|oauthbearer")


def said(error: KafkaError) -> str:
    """An error in librdkafka's words, with its name."""
    return f"{_discreet(error.str())} ({error.name()})"


def of(error: KafkaException) -> KafkaError:
    """What a raised exception is about."""
    return cast(KafkaError, error.args[0])


def undelivered(error: KafkaError, topic: str) -> PortError:
    """Why a message has no place in the log. What isn't known to be refused may have been taken."""
    text = f"{topic}: {said(error)}"
    if error.code() in _UNSENDABLE:
        return Permanent(text)
    return Retryable(text) if error.code() in _NOT_TAKEN else OutcomeUnknown(text)


def refuses_a_batch(error: KafkaError) -> bool:
    """Whether Kafka refuses whole batches for this, so that a message may suffer for its neighbours."""
    return error.code() in _OF_THE_WHOLE_BATCH


def is_missing(error: KafkaError) -> bool:
    """Whether there is no such topic."""
    return error.code() in _MISSING


def is_done_already(error: KafkaError) -> bool:
    """Whether somebody else made the topic, or its partitions, first."""
    return error.code() in (KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.INVALID_PARTITIONS)


def is_forbidden(error: KafkaError) -> bool:
    """Whether this user may not do it to this topic."""
    return error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def is_passing(error: KafkaError) -> bool:
    """Whether the cluster may answer otherwise when it is asked again; the client's own errors say nothing of it."""
    return error.retriable() or error.code() < 0


def is_telling(error: KafkaError) -> bool:
    """Whether this says more than that there is no connection."""
    return error.code() != KafkaError._ALL_BROKERS_DOWN


def is_fatal(error: KafkaError) -> bool:
    """Whether a client is of no use after this: another one has to be made."""
    return error.fatal() or error.code() == KafkaError._FATAL


def is_instance_taken(error: KafkaError) -> bool:
    """Whether another member of the group has the same `group.instance.id`.

    A consumer gets a fatal error under the code `_FATAL`; only its text names the cause.
    """
    causes = (KafkaError(code) for code in (KafkaError.FENCED_INSTANCE_ID, _UNRELEASED_INSTANCE_ID))
    return any(error.code() == cause.code() or (is_fatal(error) and cause.str() in error.str()) for cause in causes)


def has_members(error: KafkaError) -> bool:
    """Whether a group takes no offsets from outside, because it has members."""
    return error.code() in (
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        _STALE_MEMBER_EPOCH,
    )


def is_partition_end(error: KafkaError) -> bool:
    """Whether this only says that a partition has been read to its end."""
    return error.code() == KafkaError._PARTITION_EOF


def is_stuck(error: KafkaError) -> bool:
    """Whether librdkafka can't get past a batch: it reads the same one again and again."""
    return error.code() in (KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError._NOT_IMPLEMENTED)


def stops_reading(error: KafkaError) -> PortError | None:
    """What a reader has to wait for; None where the others of the cluster, or librdkafka itself, get over it."""
    if is_fatal(error) or error.code() in _STOPS_ALL:
        return Retryable(f"Kafka: {said(error)}")
    return None


def refuses_member(error: KafkaError) -> bool:
    """Whether a group lets this member read nothing."""
    return is_fatal(error) or error.code() in _REFUSES_MEMBER


def refuses_topic(error: KafkaError) -> bool:
    """Whether a topic is missing, or not for this user to read."""
    return is_missing(error) or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def refuses_group(error: KafkaError) -> bool:
    """Whether a group isn't for this user to read with."""
    return error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def unreachable(error: KafkaException) -> Retryable:
    """Why a question to the cluster got no answer."""
    return Retryable(f"Kafka: {said(of(error))}")


def refused_settings(error: KafkaException) -> SettingsError:
    """Why librdkafka doesn't make a client of its settings."""
    return SettingsError(f"Kafka's settings: {_discreet(of(error).str())}")


def _discreet(text: str) -> str:
    return "a secret or a certificate can't be used" if _SECRET.search(text) else text
