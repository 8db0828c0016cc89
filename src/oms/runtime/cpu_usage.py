"""How much is used of what a process lives on: the machine's cores, and the one core that Python's threads share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import attrs

LOOKED_S = 0.1
"""How often somebody looks, who is asked more often."""

STAT = Path("/proc/stat")
USER_TO_STEAL = slice(1, 9)
IDLE, IOWAIT = 3, 4
"""Fields of its first line, see proc(5): clock ticks of all cores; guests are in `user` already."""

Ticks = tuple[int, int]


def machine_ticks() -> Ticks | None:
    """(busy, all) clock ticks of the machine's cores since its start; None where the system doesn't say so."""
    try:
        with STAT.open("rb") as stat:
            ticks = [int(field) for field in stat.readline().split()[USER_TO_STEAL]]
        total = sum(ticks)
        return total - ticks[IDLE] - ticks[IOWAIT], total
    except (OSError, ValueError, IndexError):
        return None


@attrs.frozen
class Look:
    """What had been used at a moment."""

    wall_s: float
    cpu_s: float
    ticks: Ticks | None


class Usage:
    """The share of the scarcer of both that is in use, from 0 to 1; what was seen one look before counts half.

    A service has all that it can get when either is used up: others on the machine leave it no more, or one core
    is all that Python's threads can use at once. May be asked on any thread.
    """

    def __init__(
        self,
        wall_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
        ticks: Callable[[], Ticks | None] = machine_ticks,
    ) -> None:
        self._wall_s, self._cpu_s, self._ticks = wall_s, cpu_s, ticks
        self._seen = Look(wall_s(), cpu_s(), ticks())
        self._own = self._machine = 0.0

    def __call__(self) -> float:
        """The share of late."""
        before, now_s = self._seen, self._wall_s()
        if now_s >= before.wall_s + LOOKED_S:
            self._seen = now = Look(now_s, self._cpu_s(), self._ticks())
            self._own = (self._own + (now.cpu_s - before.cpu_s) / (now_s - before.wall_s)) / 2
            self._machine = (self._machine + _busy(before.ticks, now.ticks)) / 2
        return min(1.0, max(self._own, self._machine))


def _busy(before: Ticks | None, now: Ticks | None) -> float:
    """The share of the ticks between; 0 where nobody knows, or none has passed."""
    if before is None or now is None or now[1] <= before[1]:
        return 0.0
    return (now[0] - before[0]) / (now[1] - before[1])
