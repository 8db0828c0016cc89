"""The message log: records of one key stay in order, groups are independent, and a record is delivered until committed.

A subclass defines

- the fixture `new_broker`: a function that makes a new, empty broker on each call. Its topics have `partitions`
  partitions and needn't be created first;
- `reopen(broker)`, if `survives_restart` is True: the same log after a crash of the process;
- `tells_offsets = False`, if the broker can't report the committed offsets of a group;
- `begin_in_part(broker, group, starts, part)`, if a member commits an offset for each partition when it joins;
- `append_foreign(broker, message)`: writes a message as another system's producer does, without `publish`'s limits;
- `can_hold_back = True`, if a subscription can hold new partitions back until they are opened;
- `evict(broker, subscription)`, if `can_evict` is True: the broker removes a live member from its group.

For a broker whose calls take effect later, also set `patience_s` (above 0; the longest time that any effect takes),
`quiet_s` (a test concludes that no record follows when none has arrived for that long) and `settle`, which waits until
a group has assigned its partitions. All times are in seconds.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.ports.broker import TopicPartition
from oms.ports.messages import Outgoing
from oms.testing.contracts.broker_members import MembersContract
from oms.testing.contracts.broker_offsets import OffsetsContract
from oms.testing.contracts.broker_records import RecordsContract
from oms.testing.contracts.broker_suite import (
    A,
    B,
    NewBroker,
    place_of,
    publish_keys,
)
from oms.testing.contracts.samples import SUITE_CHECKS


class BrokerContract(RecordsContract, OffsetsContract, MembersContract):
    """The contract of `Broker`, `Subscription` and `LogEvidence`."""

    def test_the_log_survives_a_crash(self, broker: Any) -> None:
        if not self.survives_restart:
            pytest.skip("this log loses its data at a restart")
        publish_keys(broker, A, *["k"] * 5)
        first = broker.subscribe("g", [A])
        self.commit(first, self.read(first, 5)[:3])
        again = self.reopen(broker)
        assert len(self.read(again.subscribe("g", [A]), 2)) == 2
        assert len(list(again.all_records())) == 5

    def test_verification_reads_every_record(self, broker: Any) -> None:
        publish_keys(broker, A, "k1", "k2")
        publish_keys(broker, B, "k1")
        records = list(broker.all_records())
        assert sorted((record.topic, record.value or b"") for record in records) == [(A, b"0"), (A, b"1"), (B, b"0")]

    def test_verification_reads_group_offsets_if_the_broker_has_them(self, broker: Any) -> None:
        publish_keys(broker, A, "k", "k", "k")
        if not self.tells_offsets:
            pytest.skip("this broker can't report a group's offsets")
        member = broker.subscribe("g", [A])
        records = self.read(member, 3)
        place = place_of(records[0])
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
                    open_records[number][place_of(record)] = record.offset + 1
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
