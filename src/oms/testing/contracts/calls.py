"""Calls to the outside: bounded, each end collected once.

A subclass gives the fixture `new_calls`: a function that makes calls with room for `limit`, here 3. Calls that end
after a while have a `patience_s` above 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oms.ports.calls import Ended

LIMIT = 3


class CallsContract:
    """What `Calls` promises."""

    patience_s = 0.0

    @pytest.fixture
    def new_calls(self) -> Callable[[int], Any]:
        """A function that makes calls with room for so many."""
        raise NotImplementedError("a contract suite needs the fixture `new_calls`")

    @pytest.fixture
    def calls(self, new_calls: Callable[[int], Any]) -> Any:
        """Calls with room for three."""
        return new_calls(LIMIT)

    def test_an_end_is_collected_once(self, calls: Any) -> None:
        calls.submit("a", lambda: 42)
        assert list(self.collect(calls, 1)) == [Ended("a", 42)]
        assert list(calls.collect()) == []

    def test_an_exception_is_an_end(self, calls: Any) -> None:
        error = ZeroDivisionError("no")

        def fail() -> object:
            raise error

        calls.submit("a", fail)
        (ended,) = self.collect(calls, 1)
        assert (ended.token, ended.answer, ended.error) == ("a", None, error)

    def test_nothing_that_was_submitted_is_lost(self, calls: Any) -> None:
        for number in range(LIMIT):
            calls.submit(number, lambda number=number: number * 10)
        found = self.collect(calls, LIMIT)
        assert sorted((ended.token, ended.answer) for ended in found) == [(0, 0), (1, 10), (2, 20)]

    def test_room_is_bounded_and_comes_back(self, calls: Any) -> None:
        assert calls.room() == LIMIT
        for number in range(LIMIT):
            calls.submit(number, lambda: None)
        assert calls.room() <= LIMIT
        self.collect(calls, LIMIT)
        assert calls.room() == LIMIT

    def test_after_close_there_is_no_call(self, calls: Any) -> None:
        calls.close()
        calls.close()
        assert list(calls.collect()) == []

    def collect(self, calls: Any, number: int) -> Sequence[Ended[Any]]:
        """The next ends, as soon as there are so many."""
        found: list[Ended[Any]] = []
        until = time.monotonic() + self.patience_s
        while len(found) < number:
            found += calls.collect()
            assert len(found) >= number or time.monotonic() <= until, f"{len(found)} of {number} calls ended"
        return found
