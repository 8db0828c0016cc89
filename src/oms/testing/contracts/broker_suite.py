"""The fixtures, flags and helpers of the broker suites: how they make a broker, read, commit and wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest

from oms.ports.broker import Subscription, TopicPartition
from oms.ports.messages import Outgoing, Record

NewBroker = Callable[[], Any]
A, B = "topic.a", "topic.b"
QUIET_POLLS = 3
KEYS = tuple(f"k{number}" for number in range(20))
"""Enough keys that each of a few partitions gets some."""


class BrokerSuite:
    """The fixtures, flags and helpers that all broker suites share; `oms.testing.contracts.broker` describes them."""

    partitions = 4
    """The number of partitions of each topic."""

    patience_s = 0.0
    """The longest time until a call takes effect, in seconds."""

    quiet_s = 0.0
    """No further record is expected when none has arrived for this time, in seconds."""

    survives_restart = False
    """Whether the log survives a crash of the process."""

    can_evict = False
    """Whether a test can make the broker evict a member."""

    can_hold_back = False
    """Whether a subscription can hold new partitions back."""

    tells_offsets = True
    """Whether the broker can report the committed offsets of a group."""

    @pytest.fixture
    def new_broker(self) -> NewBroker:
        """A function that makes a new, empty broker on each call."""
        raise NotImplementedError("a contract suite needs the fixture `new_broker`")

    @pytest.fixture
    def broker(self, new_broker: NewBroker) -> Any:
        """An empty broker."""
        return new_broker()

    def reopen(self, broker: Any) -> Any:
        """Return the same log as a new process opens it after a crash."""
        raise NotImplementedError("a broker that survives a restart needs `reopen`")

    def evict(self, broker: Any, subscription: Subscription) -> None:
        """Make the broker remove this live member from its group."""
        raise NotImplementedError("a broker that can evict a member needs `evict`")

    def append_foreign(self, broker: Any, message: Outgoing) -> None:
        """Write a message as another system's producer does, without the limits of `publish`."""
        raise NotImplementedError("a contract suite of a broker needs `append_foreign`")

    def begin_in_part(
        self,
        broker: Any,
        group: str,
        starts: Mapping[TopicPartition, int],
        part: Collection[TopicPartition],
    ) -> Any:
        """Return the log after a member with start offsets `starts` has died and committed only those of `part`."""
        member = broker.subscribe(group, {at.topic for at in starts}, {at: starts[at] for at in part})
        self.settle(member)
        member.poll(0)
        member.close()
        return broker

    def settle(self, *members: Subscription) -> None:
        """Wait until the group's partitions are assigned to these members; they are all members of the group."""

    def read(self, subscription: Subscription, number: int, *, keep_alive: Subscription | None = None) -> list[Record]:
        """Read at least `number` records; fail if they don't arrive within `patience_s` seconds.

        Meanwhile poll the member `keep_alive`, so that the broker doesn't evict it.
        """
        found: list[Record] = []
        until = time.monotonic() + self.patience_s
        while len(found) < number:
            records = subscription.poll(100)
            found += records
            if keep_alive is not None:
                keep_alive.poll(0)
            assert records or time.monotonic() <= until, f"{len(found)} of {number} records came"
            if not records:
                time.sleep(self.patience_s / 2000)
        return found

    def _holding(self, broker: Any) -> Any:
        """Subscribe a member that holds new partitions back."""
        self._without_holding_back()
        member = broker.subscribe("g", [A])
        assert member.hold_back()
        return member

    def _without_holding_back(self) -> None:
        if not self.can_hold_back:
            pytest.skip("reading this log never ends a process, so it holds no partitions back")

    def held(self, subscription: Any, number: int) -> dict[TopicPartition, int]:
        """Wait until `number` partitions are held back, and return their start offsets."""
        until = time.monotonic() + self.patience_s
        while len(held := subscription.held_back()) < number:
            assert time.monotonic() <= until, f"only {held} are held back"
            assert list(subscription.poll(100)) == []
            time.sleep(self.patience_s / 2000)
        return dict(held)

    def is_new(self, subscription: Any) -> bool:
        """Wait until the member knows whether its group was new, and return that."""
        until = time.monotonic() + self.patience_s
        while (found := subscription.is_new()) is None:
            assert time.monotonic() <= until, "nobody knows whether the group is new"
            subscription.poll(0)
            time.sleep(self.patience_s / 2000)
        return bool(found)

    def read_both(self, first: Subscription, second: Subscription, number: int) -> tuple[list[Record], list[Record]]:
        """Read the next records of two members until there are `number` of them in total."""
        ours, theirs = list(first.poll(100)), list(second.poll(100))
        until = time.monotonic() + self.patience_s
        while len(ours) + len(theirs) < number:
            for member in (first, second):
                member.lost()  # a partition that was revoked and assigned again is read only after a call of `lost()`
            ours += first.poll(100)
            theirs += second.poll(100)
            assert len(ours) + len(theirs) >= number or time.monotonic() <= until
        return ours, theirs

    def lost(self, subscription: Subscription, *, wait: bool = True) -> set[TopicPartition]:
        """Return the partitions that a member has lost, by default as soon as there are any."""
        until = time.monotonic() + self.patience_s
        while True:
            lost = set(subscription.lost())
            if lost or not wait or time.monotonic() > until:
                return lost
            subscription.poll(0)

    def commit(self, subscription: Subscription, records: Collection[Record]) -> None:
        """Commit the offsets after these records, which were read without a gap."""
        offsets: dict[TopicPartition, int] = {}
        for record in records:
            offsets[place_of(record)] = max(offsets.get(place_of(record), 0), record.offset + 1)
        subscription.commit(offsets)

    def assert_quiet(self, subscription: Subscription) -> None:
        """Fail if another record arrives within `quiet_s` seconds."""
        for _ in range(QUIET_POLLS):
            assert list(subscription.poll(10)) == []
            time.sleep(self.quiet_s / QUIET_POLLS)


def publish_keys(broker: Any, topic: str, *keys: str) -> None:
    """Publish one message for each key; fail unless all are accepted."""
    messages = [Outgoing(topic, key.encode(), str(number).encode()) for number, key in enumerate(keys)]
    assert list(broker.publish(messages)) == [None] * len(keys)


def place_of(record: Record) -> TopicPartition:
    """Return the partition of a record."""
    return TopicPartition(record.topic, record.partition)


def places_of(records: Collection[Record]) -> list[tuple[str, int, int]]:
    """Return the topic, partition and offset of each record, sorted."""
    return sorted((record.topic, record.partition, record.offset) for record in records)
