"""The broker of a process that only writes to stores: it publishes nothing and reads nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from oms.ports.broker import NO_STARTS, Broker, Subscription, TopicPartition
from oms.ports.errors import PortError, Retryable
from oms.ports.messages import Outgoing, Record


class NoLog(Broker):
    """Refuses every message, so that the outbox keeps its rows for the services, and returns no records."""

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        """`Retryable` for every message: the rows stay in the outbox."""
        return [Retryable("this process publishes nothing") for _ in messages]

    def subscribe(
        self,
        group: str,  # noqa: ARG002 - the port's names
        topics: Collection[str],  # noqa: ARG002
        starts: Mapping[TopicPartition, int] = NO_STARTS,  # noqa: ARG002
    ) -> Subscription:
        return _NoRecords()


class _NoRecords(Subscription):
    def poll(self, max_records: int) -> Sequence[Record]:  # noqa: ARG002
        return ()

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """There is nothing to commit."""

    def lost(self) -> Collection[TopicPartition]:
        return ()

    def close(self) -> None:
        """There is nothing to leave."""
