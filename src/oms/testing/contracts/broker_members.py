"""Members of a group: they join, leave, are evicted, and hold partitions back; the broker assigns the partitions."""

from __future__ import annotations

from typing import Any

import pytest

from oms.ports.messages import Record
from oms.testing.contracts.broker_suite import (
    A,
    BrokerSuite,
    place_of,
    places_of,
    publish_keys,
)


class MembersContract(BrokerSuite):
    """Groups of several members, and partitions that a member holds back."""

    def test_two_members_share_the_partitions(self, broker: Any) -> None:
        first, second = broker.subscribe("g", [A]), broker.subscribe("g", [A])
        self.settle(first, second)
        publish_keys(broker, A, *[f"k{number}" for number in range(60)])
        ours, theirs = self.read_both(first, second, 60)
        assert ours
        assert theirs
        assert not {record.partition for record in ours} & {record.partition for record in theirs}

    def test_a_new_member_takes_over_some_partitions(self, broker: Any) -> None:
        publish_keys(broker, A, *[f"k{number}" for number in range(60)])
        first = broker.subscribe("g", [A])
        before = self.read(first, 60)
        second = broker.subscribe("g", [A])
        taken_over = place_of(self.read(second, 1, keep_alive=first)[0])
        lost = self.lost(first)
        assert taken_over in lost  # and possibly others, which may be assigned to it again
        assert lost <= {place_of(record) for record in before}
        assert self.lost(first, wait=False) == set()

    def test_a_commit_of_lost_partitions_is_ignored(self, broker: Any) -> None:
        publish_keys(broker, A, *[f"k{number}" for number in range(60)])
        first = broker.subscribe("g", [A])
        before = self.read(first, 60)
        second = broker.subscribe("g", [A])
        self.read(second, 1, keep_alive=first)
        self.commit(first, before)  # `first` hasn't called `lost()` yet
        lost = self.lost(first)
        second.close()
        first.close()
        uncommitted = [record for record in before if place_of(record) in lost]
        third = broker.subscribe("g", [A])
        assert places_of(self.read(third, len(uncommitted))) == places_of(uncommitted)
        self.assert_quiet(third)

    def test_the_partitions_of_a_leaving_member_are_reassigned(self, broker: Any) -> None:
        first, second = broker.subscribe("g", [A]), broker.subscribe("g", [A])
        self.settle(first, second)
        second.close()
        publish_keys(broker, A, *[f"k{number}" for number in range(40)])
        found: dict[bytes | None, Record] = {}
        while len(found) < 40:  # `first` may lose a partition, get it back and read its records again
            self.lost(first, wait=False)
            found |= {record.value: record for record in self.read(first, 1)}

    def test_a_member_that_was_evicted_cannot_commit(self, broker: Any) -> None:
        if not self.can_evict:
            pytest.skip("this broker has no way to evict a member")
        publish_keys(broker, A, *["k"] * 6)
        zombie = broker.subscribe("g", [A])
        before = self.read(zombie, 6)
        self.evict(broker, zombie)
        self.commit(zombie, before)
        other = broker.subscribe("g", [A])
        assert len(self.read(other, 6)) == 6
        other.close()

    def test_a_member_that_was_evicted_can_rejoin(self, broker: Any) -> None:
        if not self.can_evict:
            pytest.skip("this broker has no way to evict a member")
        publish_keys(broker, A, *["k"] * 6)
        zombie = broker.subscribe("g", [A])
        before = self.read(zombie, 6)
        self.evict(broker, zombie)
        zombie.poll(0)
        assert place_of(before[0]) in self.lost(zombie)
        assert places_of(self.read(zombie, 6)) == places_of(before)

    def test_a_subscription_declares_that_it_cannot_hold_partitions_back(self, broker: Any) -> None:
        member = broker.subscribe("g", [A])
        assert member.hold_back() is self.can_hold_back
        if not self.can_hold_back:
            publish_keys(broker, A, "k1")
            assert member.held_back() == {}
            assert len(self.read(member, 1)) == 1

    def test_new_partitions_are_held_back_until_they_are_opened(self, broker: Any) -> None:
        publish_keys(broker, A, *["k"] * 4)
        member = self._holding(broker)
        held = self.held(member, self.partitions)
        assert set(held.values()) == {0}
        (full,) = {place_of(record) for record in broker.all_records()}
        assert list(member.with_records(held)) == [full]
        assert list(member.with_records({full: 3})) == [full]
        assert list(member.with_records({full: 4})) == []
        self.assert_quiet(member)
        member.open(held)
        assert member.held_back() == {}
        records = self.read(member, 4)
        publish_keys(broker, A, "k")
        records += self.read(member, 1)
        assert [record.offset for record in records] == [0, 1, 2, 3, 4]

    def test_a_held_partition_begins_at_the_committed_offset(self, broker: Any) -> None:
        self._without_holding_back()
        publish_keys(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        records = self.read(first, 5)
        place = place_of(records[0])
        first.commit({place: 3})
        first.close()
        member = self._holding(broker)
        held = self.held(member, self.partitions)
        assert held[place] == 3
        member.open(held)
        assert [record.offset for record in self.read(member, 2)] == [3, 4]

    def test_a_partition_in_careful_mode_returns_one_record_and_is_held_again(self, broker: Any) -> None:
        publish_keys(broker, A, *["k"] * 4)
        member = self._holding(broker)
        held = self.held(member, self.partitions)
        place = next(place_of(record) for record in broker.all_records())
        member.open({at: offset for at, offset in held.items() if at != place})
        for offset in (0, 1, 3):  # offset 2 is skipped
            member.open({place: offset}, careful=True)
            (record,) = self.read(member, 1)
            assert (place_of(record), record.offset) == (place, offset)
            self.assert_quiet(member)
            self.commit(member, [record])
            assert self.held(member, 1) == {place: offset + 1}
        member.open({place: 4}, careful=True)
        self.assert_quiet(member)
        assert self.held(member, 1) == {place: 4}, "at its end it closes without a record"
        member.open({place: 4})
        publish_keys(broker, A, "k", "k")
        assert [record.offset for record in self.read(member, 2)] == [4, 5]

    def test_a_held_partition_can_be_reassigned(self, broker: Any) -> None:
        self._without_holding_back()
        publish_keys(broker, A, *[f"k{number}" for number in range(20)])
        member = self._holding(broker)
        self.held(member, self.partitions)
        member.close()
        assert len(self.read(broker.subscribe("g", [A]), 20)) == 20
