"""The log: order per key, groups apart from each other, every record until it is committed.

A subclass gives

- the fixture `new_broker`: a function that makes an empty broker, another one each time it is called. It is made for
  `partitions` partitions a topic, and topics needn't be created first;
- `reopen(broker)`, where `survives_restart` is True: the same log after a crash of the process;
- `tells_offsets = False`, where nobody can ask it how far a group is;
- `begin_in_part(broker, group, starts, part)`, where a member commits an offset for each partition when it joins;
- `append_foreign(broker, message)`: writes a message of another system's producer, which no limit of ours stops;
- `can_hold_back = True`, where a subscription can keep new partitions closed until they are opened;
- `evict(broker, subscription)`, where `can_evict` is True: the broker takes a member for dead that isn't.

A broker that answers after a while has a `patience_s` above 0 (the longest that anything takes), a `quiet_s` (how long
nothing has to come until nothing is believed to come) and `settle`, which waits until a group has spread its
partitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.ports.broker import Subscription, TopicPartition
from oms.ports.errors import Permanent
from oms.ports.limits import MAX_KEY_BYTES, MAX_MESSAGE_BYTES
from oms.ports.messages import Outgoing, Oversized, Record
from oms.testing.contracts.samples import ODD_HEADERS, SUITE_CHECKS

NewBroker = Callable[[], Any]
A, B = "topic.a", "topic.b"
QUIET_POLLS = 3
KEYS = tuple(f"k{number}" for number in range(20))
"""Enough for each of a few partitions."""


class BrokerContract:
    """What `Broker`, `Subscription` and `LogEvidence` promise."""

    partitions = 4
    patience_s = 0.0
    quiet_s = 0.0
    survives_restart = False
    can_evict = False
    can_hold_back = False
    tells_offsets = True

    @pytest.fixture
    def new_broker(self) -> NewBroker:
        """A function that makes an empty broker."""
        raise NotImplementedError("a contract suite needs the fixture `new_broker`")

    @pytest.fixture
    def broker(self, new_broker: NewBroker) -> Any:
        """An empty broker."""
        return new_broker()

    def reopen(self, broker: Any) -> Any:
        """The same log in a new process."""
        raise NotImplementedError("a broker that survives a restart needs `reopen`")

    def evict(self, broker: Any, subscription: Subscription) -> None:
        """Take a member for dead that isn't."""
        raise NotImplementedError("a broker that can evict a member needs `evict`")

    def append_foreign(self, broker: Any, message: Outgoing) -> None:
        """Write a message as a producer of another system does, without the limits of `publish`."""
        raise NotImplementedError("a contract suite of a broker needs `append_foreign`")

    def begin_in_part(
        self,
        broker: Any,
        group: str,
        starts: Mapping[TopicPartition, int],
        part: Collection[TopicPartition],
    ) -> Any:
        """The log after the death of a member that was given `starts`, and had committed only those of `part`."""
        member = broker.subscribe(group, {at.topic for at in starts}, {at: starts[at] for at in part})
        self.settle(member)
        member.poll(0)
        member.close()
        return broker

    def settle(self, *members: Subscription) -> None:
        """Wait until a group's partitions are spread over these members, all it has."""

    def test_a_published_message_is_read(self, broker: Any) -> None:
        _publish(broker, A, "k1", "k2", "k3")
        records = self.read(broker.subscribe("g", [A]), 3)
        assert sorted(record.value or b"" for record in records) == [b"0", b"1", b"2"]
        assert {record.topic for record in records} == {A}
        assert all(0 <= record.partition < self.partitions for record in records)

    def test_each_message_has_its_own_publish_result(self, broker: Any) -> None:
        assert list(broker.publish([])) == []
        assert list(broker.publish([Outgoing(A, b"k", b"v"), Outgoing(B, None, b"")])) == [None, None]

    @pytest.mark.parametrize("key", [None, b"", b"order-1", b"\x00\xff"], ids=repr)
    @pytest.mark.parametrize(
        "value", [b"", b"{}", bytes(range(256)), b"x" * 100_000], ids=lambda value: f"{len(value)} bytes"
    )
    def test_bytes_and_headers_are_read_back_unchanged(self, broker: Any, key: bytes | None, value: bytes) -> None:
        assert list(broker.publish([Outgoing(A, key, value, ODD_HEADERS)])) == [None]
        (record,) = self.read(broker.subscribe("g", [A]), 1)
        assert (record.key, record.value, record.headers) == (key, value, ODD_HEADERS)

    @pytest.mark.parametrize(
        ("fits", "excess"),
        [
            (Outgoing(A, b"k", b"x" * MAX_MESSAGE_BYTES), Outgoing(A, b"k", b"x" * (MAX_MESSAGE_BYTES + 1))),
            (
                Outgoing(A, b"k", b"x", (("h", b"y" * (MAX_MESSAGE_BYTES - 2)),)),
                Outgoing(A, b"k", b"x", (("h", b"y" * (MAX_MESSAGE_BYTES - 1)),)),
            ),
            (Outgoing(A, b"k" * (MAX_KEY_BYTES - 100), b"x"), Outgoing(A, b"k" * (MAX_KEY_BYTES + 1), b"x")),
        ],
        ids=["value", "headers", "key"],
    )
    def test_an_oversized_message_is_refused_and_the_others_are_published(
        self, broker: Any, fits: Outgoing, excess: Outgoing
    ) -> None:
        reports = list(broker.publish([fits, excess, Outgoing(A, b"k", b"small")]))
        assert [type(report) for report in reports] == [type(None), Permanent, type(None)]
        assert len(self.read(broker.subscribe("g", [A]), 2)) == 2

    @pytest.mark.parametrize(
        "message",
        [
            Outgoing(A, b"k", b"x" * (2 * MAX_MESSAGE_BYTES), (("h", b"y"),)),
            Outgoing(A, b"k", b"x", (("h", b"y" * (2 * MAX_MESSAGE_BYTES)),)),
            Outgoing(A, b"k" * (2 * MAX_MESSAGE_BYTES), b"x"),
        ],
        ids=["value", "headers", "key"],
    )
    def test_an_oversized_foreign_message_is_returned_as_a_description(self, broker: Any, message: Outgoing) -> None:
        broker.publish([Outgoing(A, b"k", b"before")])
        self.append_foreign(broker, message)
        broker.publish([Outgoing(A, b"k", b"after")])
        records = self.read(broker.subscribe("g", [A]), 3)
        assert {record.value for record in records} == {b"before", b"after", None}
        (described,) = (record for record in records if record.value is None)
        size = (
            len(message.key or b"") + len(message.value) + sum(len(name) + len(text) for name, text in message.headers)
        )
        assert (described.key, described.headers) == (None, ())
        assert described.oversized == Oversized(size, len(message.value), sha256(message.value).hexdigest())
        assert described in list(broker.all_records())

    def test_a_waiting_consumer_gets_each_record_once(self, broker: Any) -> None:
        member = broker.subscribe("g", [A])
        _publish(broker, A, *(f"k{number}" for number in range(30)))
        read: list[Record] = []
        until = time.monotonic() + self.patience_s
        while len(read) < 30 and (member.wait(0.05) or time.monotonic() <= until or not self.patience_s):
            read += member.poll(7)
        member.wait(0.05)
        assert sorted(int(record.value or b"") for record in [*read, *member.poll(7)]) == list(range(30))

    def test_a_message_may_have_no_headers(self, broker: Any) -> None:
        broker.publish([Outgoing(A, b"k", b"v")])
        (record,) = self.read(broker.subscribe("g", [A]), 1)
        assert record.headers == ()

    def test_messages_of_one_key_stay_in_one_partition_and_in_order(self, broker: Any) -> None:
        keys = [f"k{number % 7}" for number in range(70)]
        _publish(broker, A, *keys)
        by_key: dict[bytes | None, list[Record]] = {}
        for record in self.read(broker.subscribe("g", [A]), 70):
            by_key.setdefault(record.key, []).append(record)
        assert len(by_key) == 7
        for records in by_key.values():
            assert len({record.partition for record in records}) == 1
            values = [int(record.value or b"") for record in records]
            assert values == sorted(values)

    def test_offsets_are_unique_and_increase(self, broker: Any) -> None:
        _publish(broker, A, *["k1", "k2", "k3"] * 5)
        last: dict[int, int] = {}
        for record in self.read(broker.subscribe("g", [A]), 15):
            assert record.offset > last.get(record.partition, -1)
            last[record.partition] = record.offset

    def test_messages_without_a_key_are_spread_over_the_partitions(self, broker: Any) -> None:
        broker.publish([Outgoing(A, None, str(number).encode()) for number in range(20)])
        assert len(self.read(broker.subscribe("g", [A]), 20)) == 20

    def test_a_new_group_starts_at_the_earliest(self, broker: Any) -> None:
        _publish(broker, A, "k1", "k2")
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 2))
        assert len(self.read(broker.subscribe("h", [A]), 2)) == 2

    def test_a_new_group_begins_at_its_start_offsets(self, broker: Any) -> None:
        _publish(broker, A, *KEYS)
        member = broker.subscribe("g", [A], broker.ends([A]))
        broker.publish([Outgoing(A, b"k1", b"new"), Outgoing(A, b"k2", b"new")])
        assert [record.value for record in self.read(member, 2)] == [b"new", b"new"]
        self.assert_quiet(member)

    def test_start_offsets_are_committed_before_anything_is_read(self, broker: Any) -> None:
        _publish(broker, A, *KEYS)
        first = broker.subscribe("g", [A], broker.ends([A]))
        self.settle(first)
        first.poll(0)
        first.close()
        broker.publish([Outgoing(A, b"k1", b"new"), Outgoing(A, b"k2", b"new")])
        assert [record.value for record in self.read(broker.subscribe("g", [A]), 2)] == [b"new", b"new"]

    def test_start_offsets_change_nothing_in_a_group_with_committed_offsets(self, broker: Any) -> None:
        _publish(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 5)[:2])
        first.close()
        assert [record.offset for record in self.read(broker.subscribe("g", [A], broker.ends([A])), 3)] == [2, 3, 4]

    def test_a_partition_without_a_start_offset_is_read_from_its_beginning(self, broker: Any) -> None:
        """Such as one that was added after the group began."""
        _publish(broker, A, *KEYS)
        every = list(broker.all_records())
        known = {at: offset for at, offset in broker.ends([A]).items() if at.partition % 2}
        fresh = [record for record in every if _place(record) not in known]
        assert 0 < len(fresh) < len(every)
        assert _places(self.read(broker.subscribe("g", [A], known), len(fresh))) == _places(fresh)

    def test_start_offsets_that_a_crash_left_uncommitted_are_committed_later(self, broker: Any) -> None:
        _publish(broker, A, *KEYS)
        given_ = broker.ends([A])
        broker = self.begin_in_part(broker, "g", given_, [at for at in given_ if at.partition % 2])
        _publish(broker, A, *KEYS)
        later = [record for record in broker.all_records() if record.offset >= given_[_place(record)]]
        member = broker.subscribe("g", [A], given_)
        assert _places(self.read(member, len(later))) == _places(later)
        self.assert_quiet(member)

    def test_two_members_with_the_same_start_offsets_read_each_later_record(self, broker: Any) -> None:
        _publish(broker, A, *KEYS)
        given_ = broker.ends([A])
        first, second = broker.subscribe("g", [A], given_), broker.subscribe("g", [A], given_)
        self.settle(first, second)
        _publish(broker, A, *KEYS)
        ours, theirs = self.read_both(first, second, len(KEYS))
        later = [record for record in broker.all_records() if record.offset >= given_[_place(record)]]
        assert {_place(record) for record in ours} | {_place(record) for record in theirs} == set(map(_place, later))
        assert set(_places([*ours, *theirs])) == set(_places(later))

    def test_a_start_offset_beyond_the_end_is_ignored(self, broker: Any) -> None:
        _publish(broker, A, *KEYS)
        beyond = {at: offset + 100 for at, offset in broker.ends([A]).items()}
        assert len(self.read(broker.subscribe("g", [A], beyond), len(KEYS))) == len(KEYS)

    def test_ends_are_the_offsets_of_the_next_records(self, broker: Any) -> None:
        _publish(broker, A, *KEYS)
        _publish(broker, B, "k")
        found = broker.ends([A])
        expected: dict[TopicPartition, int] = {}
        for record in broker.all_records():
            if record.topic == A:
                expected[_place(record)] = max(expected.get(_place(record), 0), record.offset + 1)
        assert {at: offset for at, offset in found.items() if offset} == expected
        assert not any(broker.ends(["no.such.topic"]).values())

    def test_a_group_is_new_until_it_commits_an_offset(self, broker: Any) -> None:
        _publish(broker, A, "k", "k")
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
        _publish(broker, A, "k1", "k2")
        self.commit(g, self.read(g, 2))
        assert len(self.read(h, 2)) == 2
        self.assert_quiet(g)

    def test_only_subscribed_topics_are_read(self, broker: Any) -> None:
        _publish(broker, A, "k1")
        _publish(broker, B, "k1", "k2")
        assert {record.topic for record in self.read(broker.subscribe("g", [A]), 1)} == {A}
        both = broker.subscribe("h", [A, B])
        assert sorted(record.topic for record in self.read(both, 3)) == [A, B, B]

    def test_a_poll_returns_at_most_its_limit(self, broker: Any) -> None:
        _publish(broker, A, *[f"k{number}" for number in range(40)])
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
        _publish(broker, A, "k1")
        subscription = broker.subscribe("g", [A])
        assert list(subscription.poll(0)) == []
        assert len(self.read(subscription, 1)) == 1

    def test_a_record_is_returned_once(self, broker: Any) -> None:
        _publish(broker, A, "k1", "k2")
        subscription = broker.subscribe("g", [A])
        self.read(subscription, 2)
        self.assert_quiet(subscription)
        _publish(broker, A, "k3")
        assert len(self.read(subscription, 1)) == 1

    def test_an_uncommitted_record_is_delivered_again(self, broker: Any) -> None:
        _publish(broker, A, "k1", "k2", "k3")
        first = broker.subscribe("g", [A])
        before = self.read(first, 3)
        first.close()
        again = self.read(broker.subscribe("g", [A]), 3)
        assert _places(again) == _places(before)

    def test_a_committed_record_is_not_delivered_again(self, broker: Any) -> None:
        _publish(broker, A, "k1", "k2", "k3")
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 3))
        first.close()
        second = broker.subscribe("g", [A])
        self.assert_quiet(second)
        _publish(broker, A, "k4")
        assert len(self.read(second, 1)) == 1

    def test_the_records_after_the_committed_offset_are_delivered_again(self, broker: Any) -> None:
        _publish(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        records = self.read(first, 5)
        place = TopicPartition(A, records[0].partition)
        first.commit({place: records[2].offset})
        first.close()
        again = self.read(broker.subscribe("g", [A]), 3)
        assert [record.offset for record in again] == [record.offset for record in records[2:]]

    def test_closing_leaves_the_group_without_a_commit(self, broker: Any) -> None:
        _publish(broker, A, "k1")
        first = broker.subscribe("g", [A])
        self.read(first, 1)
        first.close()
        assert len(self.read(broker.subscribe("g", [A]), 1)) == 1

    def test_two_members_share_the_partitions(self, broker: Any) -> None:
        first, second = broker.subscribe("g", [A]), broker.subscribe("g", [A])
        self.settle(first, second)
        _publish(broker, A, *[f"k{number}" for number in range(60)])
        ours, theirs = self.read_both(first, second, 60)
        assert ours
        assert theirs
        assert not {record.partition for record in ours} & {record.partition for record in theirs}

    def test_a_new_member_takes_over_some_partitions(self, broker: Any) -> None:
        _publish(broker, A, *[f"k{number}" for number in range(60)])
        first = broker.subscribe("g", [A])
        before = self.read(first, 60)
        second = broker.subscribe("g", [A])
        taken_over = _place(self.read(second, 1, beside=first)[0])
        lost = self.lost(first)
        assert taken_over in lost  # and maybe others, which it may get again
        assert lost <= {_place(record) for record in before}
        assert self.lost(first, wait=False) == set()

    def test_a_commit_of_lost_partitions_is_ignored(self, broker: Any) -> None:
        _publish(broker, A, *[f"k{number}" for number in range(60)])
        first = broker.subscribe("g", [A])
        before = self.read(first, 60)
        second = broker.subscribe("g", [A])
        self.read(second, 1, beside=first)
        self.commit(first, before)  # it hasn't asked yet
        lost = self.lost(first)
        second.close()
        first.close()
        uncommitted = [record for record in before if _place(record) in lost]
        third = broker.subscribe("g", [A])
        assert _places(self.read(third, len(uncommitted))) == _places(uncommitted)
        self.assert_quiet(third)

    def test_the_partitions_of_a_leaving_member_are_reassigned(self, broker: Any) -> None:
        first, second = broker.subscribe("g", [A]), broker.subscribe("g", [A])
        self.settle(first, second)
        second.close()
        _publish(broker, A, *[f"k{number}" for number in range(40)])
        found: dict[bytes | None, Record] = {}
        while len(found) < 40:  # what it had may be taken and given back, too: then it comes again
            self.lost(first, wait=False)
            found |= {record.value: record for record in self.read(first, 1)}

    def test_a_member_that_was_evicted_cannot_commit(self, broker: Any) -> None:
        if not self.can_evict:
            pytest.skip("this broker can't be told to evict a member")
        _publish(broker, A, *["k"] * 6)
        zombie = broker.subscribe("g", [A])
        before = self.read(zombie, 6)
        self.evict(broker, zombie)
        self.commit(zombie, before)
        other = broker.subscribe("g", [A])
        assert len(self.read(other, 6)) == 6
        other.close()

    def test_a_member_that_was_evicted_can_rejoin(self, broker: Any) -> None:
        if not self.can_evict:
            pytest.skip("this broker can't be told to evict a member")
        _publish(broker, A, *["k"] * 6)
        zombie = broker.subscribe("g", [A])
        before = self.read(zombie, 6)
        self.evict(broker, zombie)
        zombie.poll(0)
        assert _place(before[0]) in self.lost(zombie)
        assert _places(self.read(zombie, 6)) == _places(before)

    def test_a_subscription_declares_that_it_cannot_hold_partitions_back(self, broker: Any) -> None:
        member = broker.subscribe("g", [A])
        assert member.hold_back() is self.can_hold_back
        if not self.can_hold_back:
            _publish(broker, A, "k1")
            assert member.held_back() == {}
            assert len(self.read(member, 1)) == 1

    def test_new_partitions_are_held_back_until_they_are_opened(self, broker: Any) -> None:
        _publish(broker, A, *["k"] * 4)
        member = self._holding(broker)
        held = self.held(member, self.partitions)
        assert set(held.values()) == {0}
        (full,) = {_place(record) for record in broker.all_records()}
        assert list(member.with_records(held)) == [full]
        assert list(member.with_records({full: 3})) == [full]
        assert list(member.with_records({full: 4})) == []
        self.assert_quiet(member)
        member.open(held)
        assert member.held_back() == {}
        records = self.read(member, 4)
        _publish(broker, A, "k")
        records += self.read(member, 1)
        assert [record.offset for record in records] == [0, 1, 2, 3, 4]

    def test_a_held_partition_begins_at_the_committed_offset(self, broker: Any) -> None:
        self._without_holding_back()
        _publish(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        records = self.read(first, 5)
        place = _place(records[0])
        first.commit({place: 3})
        first.close()
        member = self._holding(broker)
        held = self.held(member, self.partitions)
        assert held[place] == 3
        member.open(held)
        assert [record.offset for record in self.read(member, 2)] == [3, 4]

    def test_a_partition_in_careful_mode_returns_one_record_and_is_held_again(self, broker: Any) -> None:
        _publish(broker, A, *["k"] * 4)
        member = self._holding(broker)
        held = self.held(member, self.partitions)
        place = next(_place(record) for record in broker.all_records())
        member.open({at: offset for at, offset in held.items() if at != place})
        for offset in (0, 1, 3):  # the third is skipped
            member.open({place: offset}, careful=True)
            (record,) = self.read(member, 1)
            assert (_place(record), record.offset) == (place, offset)
            self.assert_quiet(member)
            self.commit(member, [record])
            assert self.held(member, 1) == {place: offset + 1}
        member.open({place: 4}, careful=True)
        self.assert_quiet(member)
        assert self.held(member, 1) == {place: 4}, "at its end it closes without a record"
        member.open({place: 4})
        _publish(broker, A, "k", "k")
        assert [record.offset for record in self.read(member, 2)] == [4, 5]

    def test_a_held_partition_can_be_reassigned(self, broker: Any) -> None:
        self._without_holding_back()
        _publish(broker, A, *[f"k{number}" for number in range(20)])
        member = self._holding(broker)
        self.held(member, self.partitions)
        member.close()
        assert len(self.read(broker.subscribe("g", [A]), 20)) == 20

    def test_the_log_survives_a_crash(self, broker: Any) -> None:
        if not self.survives_restart:
            pytest.skip("this log keeps nothing after a restart")
        _publish(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 5)[:3])
        again = self.reopen(broker)
        assert len(self.read(again.subscribe("g", [A]), 2)) == 2
        assert len(list(again.all_records())) == 5

    def test_verification_reads_every_record(self, broker: Any) -> None:
        _publish(broker, A, "k1", "k2")
        _publish(broker, B, "k1")
        records = list(broker.all_records())
        assert sorted((record.topic, record.value or b"") for record in records) == [(A, b"0"), (A, b"1"), (B, b"0")]

    def test_verification_reads_group_offsets_if_the_broker_has_them(self, broker: Any) -> None:
        _publish(broker, A, "k", "k", "k")
        if not self.tells_offsets:
            pytest.skip("this broker can't report a group's offsets")
        member = broker.subscribe("g", [A])
        records = self.read(member, 3)
        place = _place(records[0])
        assert broker.offsets("g").get(place, 0) == 0
        self.commit(member, records[:2])
        until = time.monotonic() + self.patience_s
        while (found := broker.offsets("g").get(place)) != 2:
            assert time.monotonic() < until, f"the group is at {found}"
            time.sleep(self.patience_s / 2000)
        assert not broker.offsets("another")

    @settings(max_examples=20, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("publish"), st.integers(0, 5)),
                st.tuples(st.just("poll"), st.integers(0, 1)),
                st.tuples(st.just("commit"), st.integers(0, 1)),
                st.tuples(st.just("restart"), st.integers(0, 1)),
            ),
            max_size=25,
        )
    )
    def test_no_record_is_lost_while_members_join_and_leave(
        self, new_broker: NewBroker, steps: list[tuple[str, int]]
    ) -> None:
        broker = new_broker()
        members = [broker.subscribe("g", [A]), broker.subscribe("g", [A])]
        open_records: list[dict[TopicPartition, int]] = [{}, {}]
        published, read = 0, set()
        for step, number in steps:
            if step == "publish":
                broker.publish([Outgoing(A, f"k{number}".encode(), str(published).encode())])
                published += 1
            elif step == "poll":
                for place in members[number].lost():
                    open_records[number].pop(place, None)
                for record in members[number].poll(2):
                    read.add(record.value)
                    open_records[number][_place(record)] = record.offset + 1
            elif step == "commit":
                members[number].commit(open_records[number])
            else:
                members[number].close()
                members[number], open_records[number] = broker.subscribe("g", [A]), {}
        for member in members:
            member.close()
        last = broker.subscribe("g", [A])
        until = time.monotonic() + self.patience_s
        while (records := last.poll(100)) or (len(read) < published and time.monotonic() < until):
            read |= {record.value for record in records}
        last.close()
        assert {int(value) for value in read} == set(range(published))

    # -- how the suite gets at a broker

    def read(self, subscription: Subscription, number: int, *, beside: Subscription | None = None) -> list[Record]:
        """At least `number` records; fails where they don't come within the broker's patience.

        Meanwhile another member, `beside`, shows that it is alive.
        """
        found: list[Record] = []
        until = time.monotonic() + self.patience_s
        while len(found) < number:
            records = subscription.poll(100)
            found += records
            if beside is not None:
                beside.poll(0)
            assert records or time.monotonic() <= until, f"{len(found)} of {number} records came"
            if not records:
                time.sleep(self.patience_s / 2000)
        return found

    def _holding(self, broker: Any) -> Any:
        """A member that holds back."""
        self._without_holding_back()
        member = broker.subscribe("g", [A])
        assert member.hold_back()
        return member

    def _without_holding_back(self) -> None:
        if not self.can_hold_back:
            pytest.skip("reading this log can't end a process")

    def held(self, subscription: Any, number: int) -> dict[TopicPartition, int]:
        """The partitions that are held back, as soon as they are so many."""
        until = time.monotonic() + self.patience_s
        while len(held := subscription.held_back()) < number:
            assert time.monotonic() <= until, f"only {held} are held back"
            assert list(subscription.poll(100)) == []
            time.sleep(self.patience_s / 2000)
        return dict(held)

    def is_new(self, subscription: Any) -> bool:
        """Whether a member's group was new, as soon as that is known."""
        until = time.monotonic() + self.patience_s
        while (found := subscription.is_new()) is None:
            assert time.monotonic() <= until, "nobody knows whether the group is new"
            subscription.poll(0)
            time.sleep(self.patience_s / 2000)
        return bool(found)

    def read_both(self, first: Subscription, second: Subscription, number: int) -> tuple[list[Record], list[Record]]:
        """The next records of two members, `number` together."""
        ours, theirs = list(first.poll(100)), list(second.poll(100))
        until = time.monotonic() + self.patience_s
        while len(ours) + len(theirs) < number:
            for member in (first, second):
                member.lost()  # what was taken and given back comes only after it was asked for
            ours += first.poll(100)
            theirs += second.poll(100)
            assert len(ours) + len(theirs) >= number or time.monotonic() <= until
        return ours, theirs

    def lost(self, subscription: Subscription, *, wait: bool = True) -> set[TopicPartition]:
        """What a member lost, as soon as it knows."""
        until = time.monotonic() + self.patience_s
        while True:
            lost = set(subscription.lost())
            if lost or not wait or time.monotonic() > until:
                return lost
            subscription.poll(0)

    def commit(self, subscription: Subscription, records: Collection[Record]) -> None:
        """Commit these records, which were read without a gap."""
        offsets: dict[TopicPartition, int] = {}
        for record in records:
            offsets[_place(record)] = max(offsets.get(_place(record), 0), record.offset + 1)
        subscription.commit(offsets)

    def assert_quiet(self, subscription: Subscription) -> None:
        """Nothing more comes."""
        for _ in range(QUIET_POLLS):
            assert list(subscription.poll(10)) == []
            time.sleep(self.quiet_s / QUIET_POLLS)


def _publish(broker: Any, topic: str, *keys: str) -> None:
    messages = [Outgoing(topic, key.encode(), str(number).encode()) for number, key in enumerate(keys)]
    assert list(broker.publish(messages)) == [None] * len(keys)


def _place(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _places(records: Collection[Record]) -> list[tuple[str, int, int]]:
    return sorted((record.topic, record.partition, record.offset) for record in records)
