import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oms.adapters.memory import CountedIds, ManualClock, RecordingTelemetry, SequentialCallExecutor
from oms.adapters.system.clock import SystemClock, SystemIds
from oms.ports.errors import Permanent
from oms.ports.telemetry import Telemetry
from oms.runtime.call_executor import ThreadPoolCallExecutor
from oms.testing.contracts.calls import LIMIT, LIMIT_S, CallsContract
from oms.testing.contracts.clock import ClockContract, IdsContract


class TestSequentialCallExecutor(CallsContract):
    @pytest.fixture
    def new_calls(self) -> Callable[[int], Any]:
        return SequentialCallExecutor

    @pytest.fixture
    def limited_calls(self) -> Any:
        self.clock = ManualClock()
        return SequentialCallExecutor(LIMIT, clock=self.clock, limit_s=LIMIT_S)

    def outlast(self) -> None:
        self.clock.advance(timedelta(seconds=2 * LIMIT_S))


class TestThreadPoolCallExecutor(CallsContract):
    patience_s = 5.0

    @pytest.fixture
    def new_calls(self) -> Callable[[int], Any]:
        return lambda limit: ThreadPoolCallExecutor(limit, lambda: None)

    @pytest.fixture
    def limited_calls(self) -> Any:
        return ThreadPoolCallExecutor(LIMIT, lambda: None, limit_s=LIMIT_S)

    def outlast(self) -> None:
        time.sleep(3 * LIMIT_S)


class TestManualClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Any:
        return ManualClock()


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Any:
        return SystemClock()


class TestCountedIds(IdsContract):
    @pytest.fixture
    def ids(self) -> Any:
        return CountedIds()


class TestSystemIds(IdsContract):
    @pytest.fixture
    def ids(self) -> Any:
        return SystemIds()


def test_calls_are_made_at_once_and_collected_in_order() -> None:
    made: list[str] = []
    calls: SequentialCallExecutor[str] = SequentialCallExecutor(2)
    calls.submit("b", lambda: made.append("b"))
    calls.submit("a", lambda: made.append("a"))
    assert made == ["b", "a"]
    with pytest.raises(Permanent):
        calls.submit("c", lambda: None)
    assert [ended.token for ended in calls.collect()] == ["b", "a"]


def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    before = clock.now()
    assert clock.now() == before
    assert clock.advance(timedelta(seconds=3)) == before + timedelta(seconds=3)
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2020, 1, 1, tzinfo=UTC)


def test_two_sources_share_no_names() -> None:
    first, second = CountedIds(1), CountedIds(2)
    assert first.order_id() != second.order_id()
    assert first.token() != second.token()
    assert CountedIds(1).order_id() == CountedIds(1).order_id()


def test_signals_without_a_method_for_failures_write_a_note() -> None:
    class Older(RecordingTelemetry):
        failure = Telemetry.failure

    telemetry = Older()
    telemetry.failure("call failed", ValueError("half \ud83d"), attempt=1)
    fields = {"error": "ValueError", "detail": "half \ufffd", "attempt": 1}
    assert [(line.event, line.fields) for line in telemetry.notes] == [("call failed", fields)]


def test_signals_are_kept() -> None:
    telemetry = RecordingTelemetry()
    telemetry.count("handled", 2, group="g")
    telemetry.count("handled", group="h")
    telemetry.note("Inventory reserved", order_id="o1")
    telemetry.alert("message parked", topic="t")
    telemetry.failure("call failed", ValueError("no"), attempt=1)
    assert [(one.event, str(one.error), one.fields) for one in telemetry.failures] == [
        ("call failed", "no", {"attempt": 1})
    ]
    assert telemetry.total("handled") == 3
    assert telemetry.total("handled", group="g") == 2
    assert [(line.event, line.fields) for line in telemetry.notes] == [("Inventory reserved", {"order_id": "o1"})]
    assert [line.event for line in telemetry.alerts] == ["message parked"]
