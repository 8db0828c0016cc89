"""Decides what to do about messages that may have killed a process. Takes facts, returns decisions, and does no I/O.

A process can die while it handles a batch (`plan_batch`) or already while it reads a record (`SuspectPartitions`). The
consumer and `ReadingGuard` read the facts from the store, and carry the decisions out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from oms.domain.errors import OmsError
from oms.engine.deliveries import ReceivedMessage, first_offsets
from oms.engine.offsets import place
from oms.ports.broker import TopicPartition

MAX_ATTEMPTS = 5
"""Tries of a message whose handler fails for an unclear reason, or that kills its process, before it is parked."""

CAREFUL_READS = 100
"""Records that are read one by one after a death, before the partition is read in batches again."""

MAX_DEATHS = 3
"""A record is parked unread after this number of processes have died reading it, all but the first carefully."""


@attrs.frozen
class BatchPlan:
    """Which messages of a batch to handle now, which ones later, and which partitions' counters to clear first."""

    now: Sequence[ReceivedMessage]
    later: Sequence[ReceivedMessage] = ()
    cleared: Sequence[TopicPartition] = ()


def plan_batch(messages: Sequence[ReceivedMessage], tries: Mapping[TopicPartition, int], failures: int) -> BatchPlan:
    """Decide how much of a batch to handle, by how often a batch began at its first offsets.

    `tries` counts those beginnings, this one included, of each noted partition; `failures` are beginnings of this
    process that failed without a death, but may have been counted. Each death halves the batch. A single message is
    parked at its fifth try. The counters of partitions that the smaller batch leaves out are cleared: their messages
    were only in the same batch as the message that kills.
    """
    suspect = max(sorted(tries), key=lambda partition: tries[partition])
    worst = max(1, tries[suspect] - failures)
    if worst == 1:
        return BatchPlan(messages)
    ordered = sorted(messages, key=lambda one: place(one.message.record) != suspect)
    size = max(1, len(ordered) >> (worst - 1))
    now = ordered[:size]
    if size == 1 and worst >= MAX_ATTEMPTS:
        died = OmsError(f"the process died {worst - 1} times while it was handled")
        now = [attrs.evolve(now[0], fault=died, attempts=worst)]
    return BatchPlan(now, ordered[size:], sorted(tries.keys() - first_offsets(now).keys()))


class SuspectPartitions:
    """The partitions that earlier processes died reading. They are read one after the other, record by record."""

    def __init__(self) -> None:
        self._reads_left: dict[TopicPartition, int] = {}
        self._current: TopicPartition | None = None
        self._opened_at: int | None = None
        """The offset from which the current partition was opened last, until its record arrives."""

    def __bool__(self) -> bool:
        return bool(self._reads_left)

    def __contains__(self, at: TopicPartition) -> bool:
        return at in self._reads_left

    @property
    def current(self) -> TopicPartition | None:
        """The partition that is read at present."""
        return self._current

    def add(self, deaths: Mapping[TopicPartition, int]) -> None:
        """Add partitions, with the number of processes that died reading each; the worst of them is read first."""
        self._reads_left |= dict.fromkeys(sorted(deaths), CAREFUL_READS)
        if self._current is None and deaths:
            self._current = max(sorted(deaths), key=lambda at: deaths[at])

    def turn(self) -> TopicPartition | None:
        """Return the partition to read now; None if there is no suspect."""
        if self._current is None:
            self._current = next(iter(self._reads_left), None)
        return self._current

    def is_cleared(self, offset: int) -> bool:
        """Whether the current partition, which is at `offset`, needs no more care: enough was read, or all of it."""
        return self._current is None or self._reads_left[self._current] <= 0 or self._opened_at == offset

    def clear_current(self) -> None:
        """Take the current partition off the list."""
        if self._current is not None:
            del self._reads_left[self._current]
        self._current = self._opened_at = None

    def opened(self, offset: int) -> None:
        """Note that the current partition is open for one careful read from `offset` on."""
        if self._current is not None:
            self._reads_left[self._current] -= 1
        self._opened_at = offset

    def arrived(self, places: Collection[TopicPartition]) -> TopicPartition | None:
        """Return the current partition if its record has arrived: its handler causes a later death."""
        if self._current is None or self._current not in places:
            return None
        self._opened_at = None
        return self._current

    def forget(self, lost: Collection[TopicPartition]) -> None:
        """Drop partitions that another process reads now."""
        for at in lost:
            self._reads_left.pop(at, None)
        if self._current in lost:
            self._current = self._opened_at = None
