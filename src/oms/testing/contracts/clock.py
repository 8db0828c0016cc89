"""Time, order ids and lease tokens. A subclass defines the fixture `clock` or `ids`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oms.domain.values import checked_id


class ClockContract:
    """The contract of `Clock`."""

    @pytest.fixture
    def clock(self) -> Any:
        """The clock to test."""
        raise NotImplementedError("a contract suite needs the fixture `clock`")

    def test_the_time_is_timezone_aware_and_in_utc(self, clock: Any) -> None:
        assert clock.now().utcoffset() == timedelta(0)

    def test_two_readings_differ_by_less_than_a_minute(self, clock: Any) -> None:
        first = clock.now()
        assert clock.now() - first < timedelta(minutes=1)

    def test_the_monotonic_time_never_steps_back(self, clock: Any) -> None:
        times = [clock.steady() for _ in range(100)]
        assert times == sorted(times)
        assert times[0].utcoffset() == timedelta(0)


class IdsContract:
    """The contract of `Ids`."""

    @pytest.fixture
    def ids(self) -> Any:
        """The generator of order ids and tokens to test."""
        raise NotImplementedError("a contract suite needs the fixture `ids`")

    def test_order_ids_are_valid_and_unique(self, ids: Any) -> None:
        made = [ids.order_id() for _ in range(2000)]
        assert len(set(made)) == len(made)
        assert all(checked_id(order, name="orderId") == order for order in made)

    def test_order_ids_sort_by_time(self, ids: Any) -> None:
        made = [ids.order_id() for _ in range(2000)]
        assert made == sorted(made)

    def test_tokens_are_short_and_unique(self, ids: Any) -> None:
        made = [ids.token() for _ in range(2000)]
        assert len(set(made)) == len(made)
        assert all(0 < len(token) <= 36 for token in made)
