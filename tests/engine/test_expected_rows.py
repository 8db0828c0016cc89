"""The relay looks often for rows that a caller is about to commit, and for a second at most."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

import pytest

from oms.adapters.memory import CountedIds, ManualClock, MemoryLog, MemoryOrderStore
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.wire.codec import JsonCodec
from oms.domain.money import Currency
from oms.engine.dependencies import ServiceDependencies
from oms.engine.outbox import OutboxWriter
from oms.engine.relay import EXPECTED_S, LOOK_EVERY_S, Relay
from oms.ports.stores.rows import OutboxRow
from oms.testing.contracts.samples import owe, row


class Counted(MemoryOrderStore):
    looks = 0

    def claim_outbox(self, limit: int, lease_s: float, without: Collection[str] = ()) -> Sequence[OutboxRow]:
        self.looks += 1
        return super().claim_outbox(limit, lease_s, without)


class Lab:
    def __init__(self) -> None:
        self.clock, self.woken = ManualClock(), 0
        self.store = Counted(self.clock, CountedIds())
        self.log = MemoryLog(4)
        shared = ServiceDependencies(
            self.log, JsonCodec(Currency.of("USD")), self.clock, CountedIds(), RecordingTelemetry()
        )
        outbox = OutboxWriter(shared, "order.dlq")
        self.relay = Relay(self.store, "order-group", outbox, shared, shared.health.of("order"), woken=self._wake)
        self.relay.run_once()  # a sweep, so that the next one is due in a second

    def _wake(self) -> None:
        self.woken += 1

    def pass_time(self, seconds: float) -> int:
        """Run whenever the relay says that something is due; how much was sent."""
        sent, until = self.relay.run_once(), self.clock.now() + timedelta(seconds=seconds)
        while (due := self.relay.next_due()) is not None and due <= until:
            self.clock.advance(max(timedelta(0), due - self.clock.now()))
            sent += self.relay.run_once()
        self.clock.advance(max(timedelta(0), until - self.clock.now()))
        return sent


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_an_expected_row_is_sent_soon_after_its_commit(lab: Lab) -> None:
    lab.relay.expect([row("r")])
    assert lab.woken == 1
    assert lab.pass_time(0.1) == 0, "it isn't committed yet"
    owe(lab.store, [row("r")])
    assert lab.pass_time(LOOK_EVERY_S) == 1
    looks = lab.store.looks
    assert lab.pass_time(0.5) == 0
    assert lab.store.looks == looks, "it was found, so there is nothing left to look for"


def test_a_row_that_nobody_announced_waits_for_the_sweeper(lab: Lab) -> None:
    owe(lab.store, [row("r")])
    assert lab.pass_time(0.9) == 0
    assert lab.pass_time(0.2) + lab.relay.run_once() == 1


def test_rows_that_never_come_are_looked_for_a_bounded_number_of_times(lab: Lab) -> None:
    lab.relay.expect([row("r")])
    lab.pass_time(60)
    assert lab.store.looks <= 2 + EXPECTED_S / LOOK_EVERY_S
    assert lab.relay.next_due() is None


def test_an_expected_row_comes_before_what_waits_in_memory(lab: Lab) -> None:
    lab.relay.expect([row("r")])
    owe(lab.store, [row("r")])
    lab.relay.offer([row(f"m{number}", lab.clock.now() + timedelta(seconds=10)) for number in range(1200)])
    lab.relay.run_once()
    assert list(lab.store.all_outbox()) == []
