"""Messages on their way through the consumer, and the batches of them that wait."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import attrs

from oms.engine.offsets import place, runs
from oms.ports.broker import TopicPartition
from oms.ports.messages import Message, MessageId


@attrs.frozen
class ReceivedMessage:
    """A message that was polled and has neither taken effect nor been parked yet."""

    message: Message
    inbox_id: MessageId
    attempts: int = 1
    """Counts towards `MAX_ATTEMPTS`: tries that ended in `Retryable` are left out."""

    fault: Exception | None = None
    """The reason to park the message instead of handling it."""

    is_bare: bool = False
    """Whether the store refused its dead letter, so that it is parked without headers and error text."""

    runs: int = 1
    """How often its handler has run, including the tries that ended in `Retryable`."""


@attrs.frozen
class WaitingBatch:
    """Messages that wait until `due_at`, in steady time."""

    due_at: datetime
    messages: Sequence[ReceivedMessage]
    failures: int = 0
    is_noted: bool = True
    """Whether the store's note that this batch began is written, or isn't needed."""

    def without(self, lost: Collection[TopicPartition]) -> WaitingBatch | None:
        """Return the batch without the messages of lost partitions; None if no message is left."""
        messages = [one for one in self.messages if place(one.message.record) not in lost]
        return attrs.evolve(self, messages=messages) if messages else None


def first_offsets(messages: Sequence[ReceivedMessage]) -> dict[TopicPartition, int]:
    """Return the lowest offset of each partition."""
    first: dict[TopicPartition, int] = {}
    for partition, some in runs(one.message.record for one in messages):
        offset = min(record.offset for record in some)
        first[partition] = min(offset, first.get(partition, offset))
    return first
