"""The log between the services."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple, Protocol

from oms.ports.errors import Permanent, PortError
from oms.ports.messages import Outgoing, Record


def log_kept(retention_days: float) -> timedelta:
    """How long a log keeps its records, where stores keep inboxes for so many days.

    Three quarters of that. Logs forget late, Kafka by up to the length of a segment, and a record must never be there
    without its inbox row: whoever read it again would do again what it asks for.
    """
    return timedelta(days=retention_days) * 3 / 4


class TopicPartition(NamedTuple):
    """One ordered part of a topic. A tuple, because it is the key of everything that is kept for each message."""

    topic: str
    partition: int


NO_STARTS: Mapping[TopicPartition, int] = MappingProxyType({})


class Broker(Protocol):
    """A durable, partitioned log: messages of a key keep their order within a topic."""

    @abstractmethod
    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        """Append all and wait until each is durable or refused; one answer a message, in their order.

        None is the broker's delivery report. `Retryable` and `OutcomeUnknown` mean: send it again (a second
        copy is harmless). `Permanent` means that this message can't ever be sent.
        """

    @abstractmethod
    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        """Join a consumer group.

        The group goes on at its committed offset in each partition. Where it has committed none, it begins at the
        offset in `starts`, which is committed before the first poll returns; without one, or where the partition ends
        before it, at the earliest record.

        Each partition is read by one member of the group at a time, but a member that was paused may not know
        yet that it lost one.
        """

    def check(self, topics: Collection[str], groups: Collection[str]) -> None:  # noqa: ARG002 - of those who can
        """Raise unless the log answers now, can be written and lets this process read the topics with the groups.

        `Permanent` means that it answers, and refuses one of them. Called on a thread of its own, about once a second.
        """
        return

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:  # noqa: ARG002 - of those who can
        """The offset of the next record of each partition of these topics; topics that don't exist are left out.

        Raises `Retryable` if the log doesn't answer, `Permanent` if it can't tell.
        """
        raise Permanent("this log can't tell where its partitions end")

    def knows(self, group: str, topics: Collection[str]) -> bool:  # noqa: ARG002 - as above
        """Whether the group has committed an offset of any of these topics; `Retryable` if the log doesn't answer."""
        return False


class Subscription(Protocol):
    """One member of a consumer group. Not for use by two threads at once."""

    @abstractmethod
    def poll(self, max_records: int) -> Sequence[Record]:
        """The next records, at most `max_records`, each partition's in the order of offsets; doesn't wait.

        A record is given out once by a member while it keeps the partition; again after a restart or a
        rebalance unless its offset was committed. `poll(0)` only says "still alive".
        """

    def wait(self, timeout_s: float) -> bool:  # noqa: ARG002 - of those who can
        """Wait until there may be records, at most so long; False, at once, where it can't be waited for.

        That is also so where records have come already that the polls before didn't want. Only for whoever drives
        this alone on a thread: everything else moves by `poll`.
        """
        return False

    def refusal(self) -> str | None:
        """Why the log lets this member read nothing, on one line; None where it reads, or nothing is known.

        As of the last poll. It stays until there is evidence of the contrary.
        """
        return None

    def hold_back(self) -> bool:
        """From now on, give out records of a newly assigned partition only once `open` was called for it.

        Returns False, and changes nothing, for a log in which reading a record can't end the process.
        """
        return False

    def held_back(self) -> Mapping[TopicPartition, int]:
        """The partitions that wait for `open`, with the offset of their next record.

        Raises `Retryable` if the log doesn't answer.
        """
        return {}

    def with_records(self, offsets: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        """Those of these held partitions that hold a record at or after the given offset; `Retryable` as above."""
        return offsets.keys()

    def open(self, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:  # noqa: ARG002 - as above
        """Give out the records of these partitions from these offsets on.

        With `careful`, which takes one partition at a time, the log reads as little at once as it can. It gives out the
        next record and holds the partition back again; at the partition's end, it does so without a record.
        """
        raise Permanent("this log holds no partition back")

    @abstractmethod
    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember the next offset to read of each partition; may be lost in a crash (records come again).

        Offsets of partitions that this member lost meanwhile are ignored.
        """

    def is_new(self) -> bool | None:
        """Whether the group had committed no offset of its topics when this member joined; None while it isn't known.

        `Retryable` if the log doesn't answer.
        """
        return False

    @abstractmethod
    def lost(self) -> Collection[TopicPartition]:
        """The partitions taken away since the last call: forget their records, commit nothing of them."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group, giving the partitions back. Commits nothing."""
