"""Pauses of busy lanes, which make batches larger, because the fixed cost of a batch equals that of many messages.

The order service forms groups of new orders when it publishes them. Each later lane keeps a group together: after its
first message, the lane waits briefly for the others and handles all in one batch. When the CPU is nearly used up, all
lanes except commands also pause after their batches. Lanes of a quiet system never pause.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

GROUP_S = 0.07
"""Seconds for which new orders gather for the next group, which each other lane handles as one batch."""

ANSWER_S, ENOUGH_REQUESTS = 0.02, 50
"""Seconds for which requests gather for the next commit, and the number of requests in a commit that needs no pause."""

GATHER_S = 0.01
"""Seconds within which a group arrives: Kafka answers a waiting fetch when the first partition has records."""

REST_S = 0.2
"""Seconds that a lane pauses after a batch that wasn't full, at a CPU utilisation of 1."""

BUSY = 3.0
"""Least number of recent messages of a busy lane; an order has three or four. Other lanes never pause."""

HALF_LIFE_S = 0.05
"""Half-life, in seconds, of a message in the count of recent messages."""

Pause = Callable[[float], float]
"""Maps CPU utilisation, 0 to 1 (`runtime.cpu_usage`), to a pause in seconds."""


def never(_used: float) -> float:
    """Return 0: no pause."""
    return 0.0


def group(used: float) -> float:
    """Return the pause between groups of new orders; it reaches `GROUP_S` at a utilisation of 0.5."""
    return max(GROUP_S * _half(used), rest(used))


def answer(used: float) -> float:
    """Return the pause between commits of requests."""
    return ANSWER_S * _half(used)


def gather(used: float) -> float:
    """Return the pause after the first message of a group."""
    return GATHER_S * _half(used)


def rest(used: float) -> float:
    """Return the pause after a batch: 3 ms at a utilisation of 0.7, 56 ms at 0.9."""
    return float(REST_S * used**12)


def _half(used: float) -> float:
    return min(1.0, 2 * used)


@attrs.define
class RecentCount:
    """Counts the recent messages of a lane, with exponential decay: a message counts half after `HALF_LIFE_S`."""

    moved: float = 0.0
    at: float = 0.0

    def add(self, moved: int, at: float) -> float:
        """Add messages at the time `at` (in seconds), and return the count."""
        self.moved = self.moved * 0.5 ** ((at - self.at) / HALF_LIFE_S) + moved
        self.at = at
        return self.moved
