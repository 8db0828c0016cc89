"""CPU time and memory of processes, from /proc. CPU seconds are valid even on a machine with other work."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@attrs.frozen
class Usage:
    """CPU seconds (user and system), and the peak of resident memory in MiB."""

    cpu_s: float = 0.0
    memory_mb: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_s + other.cpu_s, self.memory_mb + other.memory_mb)

    def since(self, before: Usage) -> Usage:
        """Return the CPU time used since `before`; memory is the peak, unchanged."""
        return Usage(self.cpu_s - before.cpu_s, self.memory_mb)


def usage_of(pid: int, *, tree: bool = False) -> Usage:
    """Return the usage of a process; with `tree`, with all descendants, also those that have ended and were reaped.

    Memory that processes of a tree share (PostgreSQL's buffers) counts once, because proportional shares are added.
    """
    if not tree:
        return Usage(_cpu_s(pid, ended=False), _peak_mb(pid))
    pids = _tree(pid)
    return Usage(sum(_cpu_s(one, ended=True) for one in pids), sum(_share_mb(one) for one in pids))


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    return _kb(_PROC / str(pid) / "status", "VmRSS:") / 1024


def _fields(pid: int) -> list[str]:
    # The name in brackets may contain any characters; only numbers follow it.
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int, *, ended: bool) -> float:
    try:
        fields = _fields(pid)
    except OSError:  # it has ended
        return 0.0
    return sum(map(int, fields[11:15] if ended else fields[11:13])) / _TICKS


def _tree(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_fields(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _peak_mb(pid: int) -> float:
    return _kb(_PROC / str(pid) / "status", "VmHWM:") / 1024


def _share_mb(pid: int) -> float:
    return _kb(_PROC / str(pid) / "smaps_rollup", "Pss:") / 1024


def _kb(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
