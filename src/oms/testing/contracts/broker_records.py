"""Records: a broker keeps bytes and headers unchanged and each key in order, and refuses oversized messages."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

import pytest

from oms.ports.errors import Permanent
from oms.ports.limits import MAX_KEY_BYTES, MAX_MESSAGE_BYTES
from oms.ports.messages import Outgoing, Oversized, Record
from oms.testing.contracts.broker_suite import (
    A,
    B,
    BrokerSuite,
    publish_keys,
)
from oms.testing.contracts.samples import ODD_HEADERS


class RecordsContract(BrokerSuite):
    """Publishing and reading records."""

    def test_a_published_message_is_read(self, broker: Any) -> None:
        publish_keys(broker, A, "k1", "k2", "k3")
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
        publish_keys(broker, A, *(f"k{number}" for number in range(30)))
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
        publish_keys(broker, A, *keys)
        by_key: dict[bytes | None, list[Record]] = {}
        for record in self.read(broker.subscribe("g", [A]), 70):
            by_key.setdefault(record.key, []).append(record)
        assert len(by_key) == 7
        for records in by_key.values():
            assert len({record.partition for record in records}) == 1
            values = [int(record.value or b"") for record in records]
            assert values == sorted(values)

    def test_offsets_are_unique_and_increase(self, broker: Any) -> None:
        publish_keys(broker, A, *["k1", "k2", "k3"] * 5)
        last: dict[int, int] = {}
        for record in self.read(broker.subscribe("g", [A]), 15):
            assert record.offset > last.get(record.partition, -1)
            last[record.partition] = record.offset

    def test_messages_without_a_key_are_spread_over_the_partitions(self, broker: Any) -> None:
        broker.publish([Outgoing(A, None, str(number).encode()) for number in range(20)])
        assert len(self.read(broker.subscribe("g", [A]), 20)) == 20
