"""Counts the processes that died while they read the next record of a partition, and reads carefully after a death.

A compressed message may need more memory than its process has, so that the process dies before `poll` returns. The
store therefore holds a note of each newly assigned partition and its offset before the first poll. The notes are rows
of the batch attempts, under the bitwise complement of the partition's number, which no partition has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from oms.engine.offsets import place
from oms.engine.poison_guard import MAX_DEATHS, SuspectPartitions
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.clock import Clock
from oms.ports.errors import PortError
from oms.ports.messages import Record
from oms.ports.stores.store import Store
from oms.ports.telemetry import Telemetry

A = TypeVar("A")

PROVEN = timedelta(seconds=10)
"""A process that has run for this time with a partition removes its note."""

LOOK_AGAIN = timedelta(milliseconds=20)
"""How soon the log is polled again while a partition is read carefully."""


class ReadingGuard:
    """Opens the partitions that a subscription holds back, each after its note is in the store.

    Partitions that an earlier process died reading are suspects, which `SuspectPartitions` decides about. The notes of
    suspects that wait for their turn are removed, because this process can't die reading them.
    """

    def __init__(
        self, store: Store, group: str, subscription: Subscription, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._store, self._group, self._subscription = store, group, subscription
        self._clock, self._telemetry = clock, telemetry
        self._active = subscription.hold_back()
        self._noted: dict[TopicPartition, datetime] = {}
        self._suspects = SuspectPartitions()
        self._is_reading = False
        """Also after a poll or wait that raised: a record may end the process by an exception for lack of memory."""
        self._unsure: set[TopicPartition] = set()
        """Partitions whose note may be in the store although writing it failed."""

    def before_poll(self) -> Sequence[Record]:
        """Open the partitions that wait. Returns records to be parked as `Unread`: place only, no content.

        Raises `Retryable` and `OutcomeUnknown` as log and store do; partitions that aren't open yet then stay closed.
        """
        if not self._active:
            return ()
        self._remove_proven()
        held = self._subscription.held_back()
        if not held:
            return ()
        deaths = self._open_fresh({at: offset for at, offset in held.items() if at not in self._suspects})
        suspect = self._suspects.turn()
        if suspect is None or suspect not in held:
            return ()
        return self._read_on(suspect, held[suspect], deaths.get(suspect))

    def next_due(self) -> datetime | None:
        """When to poll again, because partitions are read carefully."""
        return self._clock.steady() + LOOK_AGAIN if self._suspects else None

    def poll(self, max_records: int) -> Sequence[Record]:
        """Poll the subscription, and note that reading succeeded.

        Once the suspect's record has arrived, its handler causes a later death, which the consumer counts.
        """
        records = self._while_reading(lambda: self._subscription.poll(max_records))
        if self._suspects.current is not None:
            arrived = self._suspects.arrived({place(record) for record in records})
            if arrived is not None:
                self._remove([arrived])
        return records

    def wait(self, timeout_s: float) -> bool:
        """As `Subscription.wait`, in which a record may arrive as well."""
        return self._while_reading(lambda: self._subscription.wait(timeout_s))

    def forget(self, lost: Collection[TopicPartition]) -> None:
        """Remove the notes of partitions that this process lost alive."""
        self._suspects.forget(lost)
        self._remove(self._noted.keys() & lost)

    def stop(self) -> None:
        """Remove all notes, because this process ends in good order; not if it ends because it can't read."""
        if not self._is_reading:
            self._remove(self._noted.keys())

    def _while_reading(self, read: Callable[[], A]) -> A:
        self._is_reading = True
        try:
            result = read()
        except PortError:
            self._is_reading = False
            raise
        self._is_reading = False
        return result

    def _open_fresh(self, fresh: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """Note newly assigned partitions and open those without deaths; returns the deaths of the others."""
        if not fresh:
            return {}
        deaths = self._note(fresh)
        died = {at: offset for at, offset in fresh.items() if deaths[at]}
        suspects = {at: deaths[at] for at in self._subscription.with_records(died)} if died else {}
        for at, number in sorted(suspects.items()):
            where = {"topic": at.topic, "partition": at.partition, "offset": fresh[at]}
            self._telemetry.alert("processes died reading a partition", deaths=number, group=self._group, **where)
        self._suspects.add(suspects)
        self._remove(died.keys() - {self._suspects.current})
        self._subscription.open({at: offset for at, offset in fresh.items() if at not in suspects})
        return suspects

    def _read_on(self, at: TopicPartition, offset: int, deaths: int | None) -> Sequence[Record]:
        """Open the suspect for its next record. `deaths` is None unless they were counted just now."""
        if self._suspects.is_cleared(offset):
            self._remove([at])
            self._suspects.clear_current()
            self._subscription.open({at: offset})
            return ()
        unread: list[Record] = []
        if deaths is None:
            deaths = self._note({at: offset})[at]
        if deaths >= MAX_DEATHS:
            unread.append(Record(at.topic, at.partition, offset, None, None))
            offset += 1
            self._note({at: offset})
        self._subscription.open({at: offset}, careful=True)
        self._suspects.opened(offset)
        return unread

    def _note(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Write the notes; returns how many processes died at these offsets."""
        self._remove(self._unsure & offsets.keys())
        self._unsure |= offsets.keys()
        tries = self._store.start_attempts(self._group, {_key(at): offset for at, offset in offsets.items()})
        self._unsure -= offsets.keys()
        self._noted |= dict.fromkeys(offsets, self._clock.steady())
        return {at: tries[_key(at)] - 1 for at in offsets}

    def _remove_proven(self) -> None:
        now = self._clock.steady()
        self._remove(
            [at for at, noted in self._noted.items() if noted + PROVEN <= now and at != self._suspects.current]
        )

    def _remove(self, places: Collection[TopicPartition]) -> None:
        gone = sorted(places)
        if gone:
            self._store.clear_attempts(self._group, [_key(at) for at in gone])
        for at in gone:
            self._noted.pop(at, None)
            self._unsure.discard(at)


def _key(at: TopicPartition) -> TopicPartition:
    return TopicPartition(at.topic, ~at.partition)
