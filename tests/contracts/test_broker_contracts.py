from collections.abc import Callable
from typing import Any

import pytest

from oms.adapters.memory import MemoryLog, WorkerKilled
from oms.ports.errors import Permanent
from oms.ports.messages import Outgoing
from oms.testing.contracts.broker import BrokerContract
from tests.contracts.labs import SqliteLogs


class TestMemoryLog(BrokerContract):
    can_evict = True

    @pytest.fixture
    def new_broker(self) -> Callable[[], Any]:
        return MemoryLog

    def evict(self, broker: Any, subscription: object) -> None:
        broker.evict("worker")

    def append_foreign(self, broker: Any, message: Outgoing) -> None:
        broker.append(message.topic, message.value, message.key, message.headers)


class TestMemoryLogThatHoldsBack(TestMemoryLog):
    can_hold_back = True

    @pytest.fixture
    def new_broker(self) -> Callable[[], Any]:
        return lambda: MemoryLog(holds_back=True)


class TestSqliteLog(SqliteLogs, BrokerContract):
    pass


def test_a_message_that_is_too_large_is_refused_alone() -> None:
    first, second = MemoryLog().publish([Outgoing("t", None, b"x" * 2**21), Outgoing("t", None, b"y")])
    assert isinstance(first, Permanent)
    assert second is None


def test_a_foreign_producer_sends_anything() -> None:
    log = MemoryLog(partitions=2)
    for value in (None, b"\xff", b""):
        log.append("t", value)
    log.append("t", b"v", b"key", (("h", b"1"),))
    records = {record.value: record for record in log.subscribe("g", ["t"]).poll(10)}
    assert set(records) == {None, b"\xff", b"", b"v"}
    assert records[b"v"].headers == (("h", b"1"),)
    assert {records[None].partition, records[b"\xff"].partition} == {0, 1}


def test_a_killed_workers_partitions_go_to_the_others() -> None:
    log = MemoryLog(owner="a")
    log.subscribe("g", ["t"])
    other = log.worker("b").subscribe("g", ["t"])
    log.kill("a")
    log.append("t", b"v")
    assert len(other.poll(10)) == 1


def test_the_partitions_of_a_death_that_nobody_noticed_wait() -> None:
    log = MemoryLog(partitions=1, owner="a")
    log.subscribe("g", ["t"])
    other = log.worker("b").subscribe("g", ["t"])
    log.append("t", b"v")
    log.kill("a", noticed=False)
    assert list(other.poll(10)) == []
    log.evict("a")
    assert len(other.poll(10)) == 1


def test_a_killed_worker_publishes_nothing() -> None:
    log = MemoryLog(owner="a")
    log.kill("a")
    with pytest.raises(WorkerKilled):
        log.publish([Outgoing("t", None, b"v")])
    assert list(log.all_records()) == []


def test_the_partition_of_a_key_is_the_same_in_every_run() -> None:
    log = MemoryLog(partitions=8)
    keys = [f"order-{number}".encode() for number in range(6)]
    log.publish([Outgoing("t", key, b"v") for key in keys])
    places = {record.key: record.partition for record in log.all_records()}
    assert [places[key] for key in keys] == [1, 7, 5, 3, 0, 6]
