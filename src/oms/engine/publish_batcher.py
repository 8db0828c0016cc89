"""Where new orders leave the order service: in groups, so that all others can take each group as one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from oms.engine.outbox import QUEUE_LIMIT, Relay
from oms.ports.stores.rows import OutboxRow


class PublishBatcher:
    """Holds rows that were just committed until it is run, and hands them to the relay together.

    Who runs it pauses between two groups; what else the relay has to send doesn't wait for that. Whatever is lost
    here with its process is found by a sweeper, as are rows that a relay had.
    """

    def __init__(self, relay: Relay, woken: Callable[[], None]) -> None:
        self._relay, self._woken = relay, woken
        self._rows: deque[OutboxRow] = deque()

    def offer(self, rows: Sequence[OutboxRow]) -> None:
        """Rows of the next group; may be told on any thread. What doesn't fit is left to the sweeper."""
        self._rows.extend(rows[: QUEUE_LIMIT - len(self._rows)])
        if rows:
            self._woken()

    def run_once(self) -> int:
        """Hand over what there is; answers how many rows that were."""
        group = [self._rows.popleft() for _ in range(len(self._rows))]
        self._relay.offer(group)
        return len(group)
