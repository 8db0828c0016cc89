"""Outside calls: their number and duration are limited, and each result is collected once.

A subclass defines the fixtures `new_calls` (a function that makes a call executor for a given number of calls at once)
and `limited_calls` (a call executor for three calls at once with a time limit of `LIMIT_S`), and the method `outlast`,
which takes longer than that. For an executor whose calls end later, set `patience_s` above 0 (seconds).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oms.ports.call_executor import CallAbandoned, Ended

LIMIT = 3
LIMIT_S = 0.1


class CallsContract:
    """The contract of `CallExecutor`."""

    patience_s = 0.0

    @pytest.fixture
    def new_calls(self) -> Callable[[int], Any]:
        """A function that makes a call executor; its argument is the maximum number of calls at once."""
        raise NotImplementedError("a contract suite needs the fixture `new_calls`")

    @pytest.fixture
    def calls(self, new_calls: Callable[[int], Any]) -> Any:
        """A call executor for three calls at once."""
        return new_calls(LIMIT)

    @pytest.fixture
    def limited_calls(self) -> Any:
        """A call executor for three calls at once, each with a time limit of `LIMIT_S`."""
        raise NotImplementedError("a contract suite needs the fixture `limited_calls`")

    def outlast(self) -> None:
        """Take longer than `LIMIT_S`, by the clock of the call executor."""
        raise NotImplementedError("a contract suite needs `outlast`")

    def test_a_call_beyond_its_time_limit_is_abandoned(self, limited_calls: Any) -> None:
        limited_calls.submit("quick", lambda: 42)
        limited_calls.submit("slow", self.outlast)
        ended = {one.token: one for one in self.collect(limited_calls, 2)}
        assert ended["quick"] == Ended("quick", 42)
        assert ended["slow"].answer is None
        assert isinstance(ended["slow"].error, CallAbandoned)

    def test_slots_of_abandoned_calls_are_reused_and_late_answers_are_dropped(self, limited_calls: Any) -> None:
        for number in range(LIMIT):
            limited_calls.submit(number, self.outlast)
        self.collect(limited_calls, LIMIT)
        assert limited_calls.room() == LIMIT
        assert not limited_calls.blocked()
        limited_calls.submit("next", lambda: 42)
        assert list(self.collect(limited_calls, 1)) == [Ended("next", 42)]
        time.sleep(self.patience_s and 4 * LIMIT_S)
        assert list(limited_calls.collect()) == []

    def test_a_result_is_collected_once(self, calls: Any) -> None:
        calls.submit("a", lambda: 42)
        assert list(self.collect(calls, 1)) == [Ended("a", 42)]
        assert list(calls.collect()) == []

    def test_an_exception_is_a_result(self, calls: Any) -> None:
        error = ZeroDivisionError("no")

        def fail() -> object:
            raise error

        calls.submit("a", fail)
        (ended,) = self.collect(calls, 1)
        assert (ended.token, ended.answer, ended.error) == ("a", None, error)

    def test_no_submitted_call_is_lost(self, calls: Any) -> None:
        for number in range(LIMIT):
            calls.submit(number, lambda number=number: number * 10)
        found = self.collect(calls, LIMIT)
        assert sorted((ended.token, ended.answer) for ended in found) == [(0, 0), (1, 10), (2, 20)]

    def test_capacity_is_bounded_and_released(self, calls: Any) -> None:
        assert calls.room() == LIMIT
        for number in range(LIMIT):
            calls.submit(number, lambda: None)
        assert calls.room() <= LIMIT
        self.collect(calls, LIMIT)
        assert calls.room() == LIMIT

    def test_no_call_is_accepted_after_close(self, calls: Any) -> None:
        calls.close()
        calls.close()
        assert list(calls.collect()) == []

    def collect(self, calls: Any, number: int) -> Sequence[Ended[Any]]:
        """Collect calls that have ended until there are `number` of them."""
        found: list[Ended[Any]] = []
        until = time.monotonic() + self.patience_s
        while len(found) < number:
            found += calls.collect()
            assert len(found) >= number or time.monotonic() <= until, f"{len(found)} of {number} calls ended"
        return found
