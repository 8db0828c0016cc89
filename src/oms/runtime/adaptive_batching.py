"""When a lane pauses, so that messages share batches: a batch costs by itself as much as many messages.

Orders are grouped once, where they leave the order service. From there a group stays together: whoever is told of its
first message waits for a moment for the others, and hands them on together. Only where nearly all is in use that the
service lives on do all but commands rest after their batches. Nobody pauses in a quiet system: what comes there waits
for nobody.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

GROUP_S = 0.07
"""How long new orders gather for the next group, which all other lanes get as one batch each."""

ANSWER_S, ENOUGH_REQUESTS = 0.02, 50
"""How long requests gather for the next commit, unless so many went with the last: somebody waits for each answer."""

GATHER_S = 0.01
"""What was sent together arrives within this: Kafka answers a waiting fetch with the first partition that has news."""

REST_S = 0.2
"""How long a lane rests after a batch that wasn't full where nothing is left to use."""

BUSY = 3.0
"""A lane is busy when it has moved so much of late; of each order it moves three or four. Others never pause."""

OF_LATE_S = 0.05
"""What a lane moved so long ago counts half."""

Pause = Callable[[float], float]
"""From the share that is in use of what the service lives on (`adapters.system.usage`) to seconds."""


def never(_used: float) -> float:
    """No pause."""
    return 0.0


def group(used: float) -> float:
    """Between groups of new orders: all of it where half is in use, so that a fast machine has smaller groups."""
    return max(GROUP_S * _half(used), rest(used))


def answer(used: float) -> float:
    """Between commits of requests."""
    return ANSWER_S * _half(used)


def gather(used: float) -> float:
    """For the rest of a group, after its first message."""
    return GATHER_S * _half(used)


def rest(used: float) -> float:
    """After a batch, to save: 3 ms where seven tenths are in use, 56 at nine tenths."""
    return float(REST_S * used**12)


def _half(used: float) -> float:
    return min(1.0, 2 * used)


@attrs.define
class Late:
    """How much a lane has moved of late: what it moved `OF_LATE_S` ago counts half, and so on."""

    moved: float = 0.0
    at: float = 0.0

    def add(self, moved: int, at: float) -> float:
        """The sum now (`at`, in seconds)."""
        self.moved = self.moved * 0.5 ** ((at - self.at) / OF_LATE_S) + moved
        self.at = at
        return self.moved
