"""Translates librdkafka's errors; the only module that knows their codes.

The texts hold librdkafka's own messages and names of topics and settings, never the value of a setting.

librdkafka's own error codes have names with an underscore, as in its C interface; they are public all the same.
"""

from __future__ import annotations

import re
from typing import cast

from confluent_kafka import KafkaError, KafkaException

from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable, SettingsError

_MESSAGE_REFUSED = frozenset({
    KafkaError.INVALID_RECORD,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError._INVALID_ARG,
})  # fmt: skip
_NOT_APPENDED = frozenset({
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
"""Another record of the batch was refused; confluent-kafka's type stubs lack the name."""

_STALE_MEMBER_EPOCH = 113
"""As ILLEGAL_GENERATION, of groups that Kafka runs itself (KIP-848); confluent-kafka's type stubs lack the name."""

_BATCH_REFUSED = frozenset({
    KafkaError.INVALID_RECORD,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    _INVALID_DIFFERENT_RECORD,
})  # fmt: skip
_STOPS_READING = frozenset({
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
"""An instance id in use, in groups that Kafka runs itself (KIP-848); confluent-kafka's type stubs lack the name."""

_KIP_848_CODES = (110, _UNRELEASED_INSTANCE_ID, 112)
"""A fenced epoch, an instance id in use, an unknown assignor; confluent-kafka's type stubs lack the names."""

_REFUSES_MEMBER = frozenset({
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.GROUP_MAX_SIZE_REACHED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INVALID_SESSION_TIMEOUT,
    *_KIP_848_CODES,
})  # fmt: skip
"""The group refuses a member, or has removed it. Some of these errors end by themselves, when other members leave."""

_STUCK = frozenset({
    KafkaError._BAD_COMPRESSION,
    KafkaError._BAD_MSG,
    KafkaError._NOT_IMPLEMENTED,
})  # fmt: skip
_MISSING = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
})  # fmt: skip
# Names of settings whose values librdkafka may quote when it can't read them.
_SECRET = re.compile(r"(sasl|key|keystore)\.password|ssl\.(key|certificate|ca)\.pem|client\.secret|oauthbearer")


def describe(error: KafkaError) -> str:
    """Librdkafka's message of an error, and its name."""
    return f"{_without_secrets(error.str())} ({error.name()})"


def error_in(error: KafkaException) -> KafkaError:
    """The error that an exception carries."""
    return cast(KafkaError, error.args[0])


def undelivered(error: KafkaError, topic: str) -> PortError:
    """Why a message wasn't delivered. `OutcomeUnknown` unless the error proves that it isn't in the log."""
    text = f"{topic}: {describe(error)}"
    if error.code() in _MESSAGE_REFUSED:
        return Permanent(text)
    return Retryable(text) if error.code() in _NOT_APPENDED else OutcomeUnknown(text)


def refuses_a_batch(error: KafkaError) -> bool:
    """Whether Kafka refuses whole batches with this error, so that other messages of the batch may be to blame."""
    return error.code() in _BATCH_REFUSED


def is_missing(error: KafkaError) -> bool:
    """Whether a topic doesn't exist."""
    return error.code() in _MISSING


def is_done_already(error: KafkaError) -> bool:
    """Whether another process created the topic, or its partitions, first."""
    return error.code() in (KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.INVALID_PARTITIONS)


def is_forbidden(error: KafkaError) -> bool:
    """Whether this user has no right to a change of the topic."""
    return error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def is_transient(error: KafkaError) -> bool:
    """Whether a repeated request may succeed; also for the client's own errors, which don't say."""
    return error.retriable() or error.code() < 0


def names_cause(error: KafkaError) -> bool:
    """Whether an error says more than that there is no connection."""
    return error.code() != KafkaError._ALL_BROKERS_DOWN


def is_fatal(error: KafkaError) -> bool:
    """Whether the client can't be used after this error, so that another one has to be made."""
    return error.fatal() or error.code() == KafkaError._FATAL


def is_instance_taken(error: KafkaError) -> bool:
    """Whether another member of the group has the same `group.instance.id`.

    A consumer gets a fatal error under the code `_FATAL`; only its text names the cause.
    """
    causes = (KafkaError(code) for code in (KafkaError.FENCED_INSTANCE_ID, _UNRELEASED_INSTANCE_ID))
    return any(error.code() == cause.code() or (is_fatal(error) and cause.str() in error.str()) for cause in causes)


def has_members(error: KafkaError) -> bool:
    """Whether a group refuses offsets from outside because it has members."""
    return error.code() in (
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        _STALE_MEMBER_EPOCH,
    )


def is_partition_end(error: KafkaError) -> bool:
    """Whether this isn't an error, but the event that a partition has been read to its end."""
    return error.code() == KafkaError._PARTITION_EOF


def is_stuck(error: KafkaError) -> bool:
    """Whether librdkafka can't get past a batch: it fetches the same one again and again."""
    return error.code() in _STUCK


def stops_reading(error: KafkaError) -> PortError | None:
    """`Retryable` for an error that keeps a consumer from reading; None if librdkafka recovers by itself."""
    if is_fatal(error) or error.code() in _STOPS_READING:
        return Retryable(f"Kafka: {describe(error)}")
    return None


def refuses_member(error: KafkaError) -> bool:
    """Whether the group refuses this member."""
    return is_fatal(error) or error.code() in _REFUSES_MEMBER


def refuses_topic(error: KafkaError) -> bool:
    """Whether a topic is missing, or this user may not read it."""
    return is_missing(error) or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def refuses_group(error: KafkaError) -> bool:
    """Whether this user may not use a group."""
    return error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def unreachable(error: KafkaException) -> Retryable:
    """The error of a request that failed or timed out."""
    return Retryable(f"Kafka: {describe(error_in(error))}")


def refused_settings(error: KafkaException) -> SettingsError:
    """The error for settings that librdkafka refuses."""
    return SettingsError(f"Kafka's settings: {_without_secrets(error_in(error).str())}")


def _without_secrets(text: str) -> str:
    return "a secret or a certificate can't be used" if _SECRET.search(text) else text
