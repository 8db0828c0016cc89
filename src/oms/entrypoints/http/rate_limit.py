"""Limits how many requests each caller may make: a token bucket for each."""

from __future__ import annotations

from collections import OrderedDict

MAX_CALLERS = 10_000
"""Most callers whose buckets are kept. Above it, the caller whose last request is oldest starts with a full bucket."""


class RateLimit:
    """Allows each caller `per_second` requests per second on average, and as many (at least one) in a burst.

    For each caller it stores the time at which the bucket would be full again (the "generic cell rate algorithm"),
    which is a token bucket without a timer.
    """

    def __init__(self, per_second: float, most_callers: int = MAX_CALLERS) -> None:
        self._interval_s = 1 / per_second
        self._burst_s = (max(1.0, per_second) - 1) * self._interval_s
        self._most_callers = most_callers
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, caller: str, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one; `now` is steady time in seconds."""
        full_at = max(self._full_at.get(caller, now), now)
        wait_s = full_at - now - self._burst_s
        if wait_s > 1e-9:  # rounding
            return wait_s
        self._full_at[caller] = full_at + self._interval_s
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self._most_callers:
            self._full_at.popitem(last=False)
        return 0.0
