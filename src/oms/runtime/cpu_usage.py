"""CPU utilisation: of the machine's cores, and of the one core that the threads of a Python process share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import attrs

LOOKED_S = 0.1
"""Least time between two measurements, in seconds; a call in between returns the last result."""

STAT = Path("/proc/stat")
USER_TO_STEAL = slice(1, 9)
IDLE, IOWAIT = 3, 4
"""Fields of the first line of `STAT`, see proc(5): clock ticks of all cores; `user` includes guests."""

Ticks = tuple[int, int]


def machine_ticks() -> Ticks | None:
    """Return (busy, all) clock ticks of all cores since boot; None if the operating system doesn't provide them."""
    try:
        with STAT.open("rb") as stat:
            ticks = [int(field) for field in stat.readline().split()[USER_TO_STEAL]]
        total = sum(ticks)
        return total - ticks[IDLE] - ticks[IOWAIT], total
    except (OSError, ValueError, IndexError):
        return None


@attrs.frozen
class Look:
    """A measurement: wall time and CPU time of the process, in seconds, and clock ticks of the machine."""

    wall_s: float
    cpu_s: float
    ticks: Ticks | None


class Usage:
    """The larger of the two utilisations, from 0 to 1, smoothed: each measurement counts as much as all before it.

    When either reaches 1, a service can't get more CPU: the machine has none left, or Python's threads fully use their
    one core. Callable from any thread.
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
        """Return the current utilisation, from 0 to 1."""
        before, now_s = self._seen, self._wall_s()
        if now_s >= before.wall_s + LOOKED_S:
            self._seen = now = Look(now_s, self._cpu_s(), self._ticks())
            self._own = (self._own + (now.cpu_s - before.cpu_s) / (now_s - before.wall_s)) / 2
            self._machine = (self._machine + _busy(before.ticks, now.ticks)) / 2
        return min(1.0, max(self._own, self._machine))


def _busy(before: Ticks | None, now: Ticks | None) -> float:
    """Return the busy share of the ticks between two measurements; 0 if unknown, or if none has passed."""
    if before is None or now is None or now[1] <= before[1]:
        return 0.0
    return (now[0] - before[0]) / (now[1] - before[1])
