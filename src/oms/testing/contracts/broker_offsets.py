"""Offsets of groups: start offsets, commits, and redelivery of the records after the committed offset."""

from __future__ import annotations

import time
from typing import Any

from oms.ports.broker import TopicPartition
from oms.ports.messages import Outgoing, Record
from oms.testing.contracts.broker_suite import (
    KEYS,
    A,
    B,
    BrokerSuite,
    place_of,
    places_of,
    publish_keys,
)


class OffsetsContract(BrokerSuite):
    """The offsets of a group that has one member."""

    def test_a_new_group_starts_at_the_earliest(self, broker: Any) -> None:
        publish_keys(broker, A, "k1", "k2")
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 2))
        assert len(self.read(broker.subscribe("h", [A]), 2)) == 2

    def test_a_new_group_begins_at_its_start_offsets(self, broker: Any) -> None:
        publish_keys(broker, A, *KEYS)
        member = broker.subscribe("g", [A], broker.ends([A]))
        broker.publish([Outgoing(A, b"k1", b"new"), Outgoing(A, b"k2", b"new")])
        assert [record.value for record in self.read(member, 2)] == [b"new", b"new"]
        self.assert_quiet(member)

    def test_start_offsets_are_committed_before_anything_is_read(self, broker: Any) -> None:
        publish_keys(broker, A, *KEYS)
        first = broker.subscribe("g", [A], broker.ends([A]))
        self.settle(first)
        first.poll(0)
        first.close()
        broker.publish([Outgoing(A, b"k1", b"new"), Outgoing(A, b"k2", b"new")])
        assert [record.value for record in self.read(broker.subscribe("g", [A]), 2)] == [b"new", b"new"]

    def test_start_offsets_change_nothing_in_a_group_with_committed_offsets(self, broker: Any) -> None:
        publish_keys(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 5)[:2])
        first.close()
        assert [record.offset for record in self.read(broker.subscribe("g", [A], broker.ends([A])), 3)] == [2, 3, 4]

    def test_a_partition_without_a_start_offset_is_read_from_its_beginning(self, broker: Any) -> None:
        """For example, a partition that was added to the topic after the group began."""
        publish_keys(broker, A, *KEYS)
        every = list(broker.all_records())
        known = {at: offset for at, offset in broker.ends([A]).items() if at.partition % 2}
        fresh = [record for record in every if place_of(record) not in known]
        assert 0 < len(fresh) < len(every)
        assert places_of(self.read(broker.subscribe("g", [A], known), len(fresh))) == places_of(fresh)

    def test_start_offsets_that_a_crash_left_uncommitted_are_committed_later(self, broker: Any) -> None:
        publish_keys(broker, A, *KEYS)
        given_ = broker.ends([A])
        broker = self.begin_in_part(broker, "g", given_, [at for at in given_ if at.partition % 2])
        publish_keys(broker, A, *KEYS)
        later = [record for record in broker.all_records() if record.offset >= given_[place_of(record)]]
        member = broker.subscribe("g", [A], given_)
        assert places_of(self.read(member, len(later))) == places_of(later)
        self.assert_quiet(member)

    def test_two_members_with_the_same_start_offsets_read_each_later_record(self, broker: Any) -> None:
        publish_keys(broker, A, *KEYS)
        given_ = broker.ends([A])
        first, second = broker.subscribe("g", [A], given_), broker.subscribe("g", [A], given_)
        self.settle(first, second)
        publish_keys(broker, A, *KEYS)
        ours, theirs = self.read_both(first, second, len(KEYS))
        later = [record for record in broker.all_records() if record.offset >= given_[place_of(record)]]
        assert {place_of(record) for record in ours} | {place_of(record) for record in theirs} == set(
            map(place_of, later)
        )
        assert set(places_of([*ours, *theirs])) == set(places_of(later))

    def test_a_start_offset_beyond_the_end_is_ignored(self, broker: Any) -> None:
        publish_keys(broker, A, *KEYS)
        beyond = {at: offset + 100 for at, offset in broker.ends([A]).items()}
        assert len(self.read(broker.subscribe("g", [A], beyond), len(KEYS))) == len(KEYS)

    def test_ends_are_the_offsets_of_the_next_records(self, broker: Any) -> None:
        publish_keys(broker, A, *KEYS)
        publish_keys(broker, B, "k")
        found = broker.ends([A])
        expected: dict[TopicPartition, int] = {}
        for record in broker.all_records():
            if record.topic == A:
                expected[place_of(record)] = max(expected.get(place_of(record), 0), record.offset + 1)
        assert {at: offset for at, offset in found.items() if offset} == expected
        assert not any(broker.ends(["no.such.topic"]).values())

    def test_a_group_is_new_until_it_commits_an_offset(self, broker: Any) -> None:
        publish_keys(broker, A, "k", "k")
        assert not broker.knows("g", [A])
        first = broker.subscribe("g", [A])
        records = self.read(first, 2)
        assert self.is_new(first)
        self.commit(first, records)
        first.close()
        assert broker.knows("g", [A])
        assert not broker.knows("g", [B])
        assert not broker.knows("another", [A])
        second = broker.subscribe("g", [A])
        assert not self.is_new(second)
        assert self.is_new(broker.subscribe("another", [A], broker.ends([A])))

    def test_groups_are_independent(self, broker: Any) -> None:
        g, h = broker.subscribe("g", [A]), broker.subscribe("h", [A])
        publish_keys(broker, A, "k1", "k2")
        self.commit(g, self.read(g, 2))
        assert len(self.read(h, 2)) == 2
        self.assert_quiet(g)

    def test_only_subscribed_topics_are_read(self, broker: Any) -> None:
        publish_keys(broker, A, "k1")
        publish_keys(broker, B, "k1", "k2")
        assert {record.topic for record in self.read(broker.subscribe("g", [A]), 1)} == {A}
        both = broker.subscribe("h", [A, B])
        assert sorted(record.topic for record in self.read(both, 3)) == [A, B, B]

    def test_a_poll_returns_at_most_its_limit(self, broker: Any) -> None:
        publish_keys(broker, A, *[f"k{number}" for number in range(40)])
        subscription = broker.subscribe("g", [A])
        found: list[Record] = []
        for _ in range(100):
            records = list(subscription.poll(7))
            assert len(records) <= 7
            found += records
            if len(found) == 40:
                break
            time.sleep(self.patience_s / 100)
        assert len({(record.partition, record.offset) for record in found}) == 40

    def test_a_poll_with_limit_zero_returns_nothing(self, broker: Any) -> None:
        publish_keys(broker, A, "k1")
        subscription = broker.subscribe("g", [A])
        assert list(subscription.poll(0)) == []
        assert len(self.read(subscription, 1)) == 1

    def test_a_record_is_returned_once(self, broker: Any) -> None:
        publish_keys(broker, A, "k1", "k2")
        subscription = broker.subscribe("g", [A])
        self.read(subscription, 2)
        self.assert_quiet(subscription)
        publish_keys(broker, A, "k3")
        assert len(self.read(subscription, 1)) == 1

    def test_an_uncommitted_record_is_delivered_again(self, broker: Any) -> None:
        publish_keys(broker, A, "k1", "k2", "k3")
        first = broker.subscribe("g", [A])
        before = self.read(first, 3)
        first.close()
        again = self.read(broker.subscribe("g", [A]), 3)
        assert places_of(again) == places_of(before)

    def test_a_committed_record_is_not_delivered_again(self, broker: Any) -> None:
        publish_keys(broker, A, "k1", "k2", "k3")
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 3))
        first.close()
        second = broker.subscribe("g", [A])
        self.assert_quiet(second)
        publish_keys(broker, A, "k4")
        assert len(self.read(second, 1)) == 1

    def test_the_records_after_the_committed_offset_are_delivered_again(self, broker: Any) -> None:
        publish_keys(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        records = self.read(first, 5)
        place = TopicPartition(A, records[0].partition)
        first.commit({place: records[2].offset})
        first.close()
        again = self.read(broker.subscribe("g", [A]), 3)
        assert [record.offset for record in again] == [record.offset for record in records[2:]]

    def test_closing_leaves_the_group_without_a_commit(self, broker: Any) -> None:
        publish_keys(broker, A, "k1")
        first = broker.subscribe("g", [A])
        self.read(first, 1)
        first.close()
        assert len(self.read(broker.subscribe("g", [A]), 1)) == 1
