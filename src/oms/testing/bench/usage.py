"""What processes have used, from /proc: CPU seconds are right also on a machine that is busy with other things."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@attrs.frozen
class Usage:
    """CPU seconds (user and system), and the most memory that was resident, in MiB."""

    cpu_s: float = 0.0
    memory_mb: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_s + other.cpu_s, self.memory_mb + other.memory_mb)

    def since(self, before: Usage) -> Usage:
        """The CPU time since then; memory is a peak and stays."""
        return Usage(self.cpu_s - before.cpu_s, self.memory_mb)


def usage_of(pid: int, *, tree: bool = False) -> Usage:
    """One process, or all that it started, directly or not, with those that have ended and were waited for.

    Memory shared by processes of a tree (PostgreSQL's buffers) counts once: shares, not sizes, are added.
    """
    if not tree:
        return Usage(_cpu_s(pid, ended=False), _peak_mb(pid))
    pids = _tree(pid)
    return Usage(sum(_cpu_s(one, ended=True) for one in pids), sum(_share_mb(one) for one in pids))


def resident_mb(pid: int) -> float:
    """What a process has in memory now, in MiB; nothing of one that has ended."""
    return _kb(_PROC / str(pid) / "status", "VmRSS:") / 1024


def _fields(pid: int) -> list[str]:
    # The name in brackets may hold anything; what follows it is numbers.
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
