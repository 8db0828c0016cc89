"""The message log between the services."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple, Protocol

from oms.ports.errors import Permanent, PortError
from oms.ports.messages import Outgoing, Record


def log_kept(retention_days: float) -> timedelta:
    """Return how long a log keeps its records if the stores keep inbox rows for `retention_days` days.

    It is three quarters of that time. A record must never outlive its inbox row, because a consumer that reads it again
    would apply its effect twice, and logs delete late: Kafka by up to the length of a segment.
    """
    return timedelta(days=retention_days) * 3 / 4


class TopicPartition(NamedTuple):
    """One ordered part of a topic. A tuple, because the consumer hashes it for each message and tuples hash fast."""

    topic: str
    partition: int


NO_STARTS: Mapping[TopicPartition, int] = MappingProxyType({})


class Broker(Protocol):
    """A durable, partitioned log. Messages with the same key keep their order within a topic."""

    @abstractmethod
    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        """Append the messages, and wait until each is durable or refused. Return one result for each, in their order.

        None means that the message is durable. After `Retryable` and `OutcomeUnknown` the caller sends the message
        again; a second copy is harmless. `Permanent` means that this message can never be sent.
        """

    @abstractmethod
    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        """Join a consumer group.

        In each partition the group continues at its committed offset. If it has committed none, it begins at the offset
        in `starts`, which is committed before the first poll returns. If `starts` names no offset, or one beyond the
        partition's end, the group begins at the earliest record.

        One member of the group reads each partition at a time, but a member that was paused may not know yet that it
        has lost a partition.
        """

    def check(self, topics: Collection[str], groups: Collection[str]) -> None:  # noqa: ARG002 - for subclasses
        """Raise unless the log responds, accepts writes and lets this process read `topics` as a member of `groups`.

        Raises `Permanent` if the log responds and refuses one of them, `Retryable` if it doesn't respond. By default,
        does nothing. The caller is a separate thread, about once a second.
        """
        return

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:  # noqa: ARG002 - for subclasses
        """Return the offset of the next record to be written in each partition; topics that don't exist are left out.

        Raises `Retryable` if the log doesn't respond, `Permanent` if this log has no such function (the default).
        """
        raise Permanent("this log can't tell where its partitions end")

    def knows(self, group: str, topics: Collection[str]) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether the group has committed an offset in any of `topics`.

        Raises `Retryable` if the log doesn't respond. By default, returns False.
        """
        return False


class Subscription(Protocol):
    """One member of a consumer group. Not thread-safe."""

    @abstractmethod
    def poll(self, max_records: int) -> Sequence[Record]:
        """Return at most `max_records` next records, in order of offset within each partition. Doesn't wait.

        A member returns each record once while it keeps the partition. After a restart or a rebalance, records whose
        offset wasn't committed come again. `poll(0)` returns nothing and only keeps the membership alive.
        """

    def wait(self, timeout_s: float) -> bool:  # noqa: ARG002 - for subclasses
        """Wait until there may be records, for at most `timeout_s` seconds, and return True.

        Return False at once if this subscription can't wait (the default), or if it has buffered records that earlier
        polls left. Only for a thread that drives nothing but this subscription; other callers use `poll`.
        """
        return False

    def refusal(self) -> str | None:
        """Return one line that says why the log refuses this member's reads; None if it reads, or if that isn't known.

        The text is as of the last poll, and stays until there is evidence that this member can read again.
        """
        return None

    def hold_back(self) -> bool:
        """From now on, hold each newly assigned partition: `poll` returns its records only after `open`.

        Returns False, and changes nothing, for a log in which reading a record can't kill the process (the default).
        """
        return False

    def held_back(self) -> Mapping[TopicPartition, int]:
        """Return the held partitions, which wait for `open`, with the offset of their next record.

        Raises `Retryable` if the log doesn't respond.
        """
        return {}

    def with_records(self, offsets: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        """Return those of the held partitions that have a record at or after the given offset.

        Raises `Retryable` if the log doesn't respond.
        """
        return offsets.keys()

    def open(self, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:  # noqa: ARG002 - for subclasses
        """Let `poll` return the records of these partitions, from the given offsets on.

        With `careful`, `offsets` names one partition, and the log reads as little at once as it can: `poll` returns one
        record, after which the partition is held again. At the partition's end, it is held again without a record.
        Raises `Permanent` for a log that holds no partitions (the default).
        """
        raise Permanent("this log holds no partition back")

    @abstractmethod
    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the next offset to read in each partition. A crash may lose it, and the records come again.

        Ignores offsets of partitions that this member has lost meanwhile.
        """

    def is_new(self) -> bool | None:
        """Return whether the group had no committed offset in its topics when this member joined; None while unknown.

        Raises `Retryable` if the log doesn't respond.
        """
        return False

    @abstractmethod
    def lost(self) -> Collection[TopicPartition]:
        """Return the partitions that this member has lost since the last call.

        The caller drops their records and doesn't commit their offsets.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the group and release the partitions. Commits nothing."""
