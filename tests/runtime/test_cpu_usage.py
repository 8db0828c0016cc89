"""What is used of the machine, and of the one core that Python's threads share."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from oms.runtime import cpu_usage
from oms.runtime.cpu_usage import Ticks, Usage, machine_ticks

CORES = 2


class Host:
    """A machine of two cores with a clock of its own."""

    def __init__(self, *, has_statistics: bool = True) -> None:
        self.has_statistics = has_statistics
        self.wall_s, self.cpu_s, self.busy_s = 100.0, 7.0, 50.0
        self.used = Usage(lambda: self.wall_s, lambda: self.cpu_s, self.ticks)

    def ticks(self) -> Ticks | None:
        return (round(self.busy_s * 100), round(self.wall_s * 100 * CORES)) if self.has_statistics else None

    def after(self, own_s: float, others_s: float = 0.0, wall_s: float = 0.1) -> float:
        self.wall_s += wall_s
        self.cpu_s += own_s
        self.busy_s += own_s + others_s
        return self.used()


def test_it_is_the_share_of_the_machine_where_others_use_most() -> None:
    host = Host()
    assert [host.after(0.02, 0.18) for _ in range(3)] == pytest.approx([0.5, 0.75, 0.875])
    assert host.after(0.0, 0.0) == pytest.approx(0.4375)


def test_it_is_the_share_of_one_core_where_the_machine_has_more() -> None:
    host = Host()
    assert [host.after(0.1) for _ in range(3)] == pytest.approx([0.5, 0.75, 0.875])


def test_it_never_is_more_than_all() -> None:
    host = Host()
    assert max(host.after(0.2) for _ in range(5)) == 1.0


def test_two_looks_in_a_row_are_one() -> None:
    host = Host()
    first = host.after(0.05)
    assert host.after(0.05, wall_s=0.01) == first


def test_a_machine_that_does_not_tell_leaves_what_the_process_uses() -> None:
    host = Host(has_statistics=False)
    assert host.after(0.02, 0.18) == pytest.approx(0.1)


@pytest.mark.parametrize("text", [None, "", "cpu  1 2 3\n", "cpu a b c d e f g h\n"])
def test_what_cannot_be_read_is_not_known(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    monkeypatch.setattr(cpu_usage, "STAT", stat)
    assert machine_ticks() is None


def test_ticks_are_those_of_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 1 20 300 40 5 6 7 8 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    monkeypatch.setattr(cpu_usage, "STAT", stat)
    assert machine_ticks() == (10 + 1 + 20 + 5 + 6 + 7, 389)


@pytest.mark.skipif(not cpu_usage.STAT.exists(), reason="only Linux reports the CPU utilisation of the machine")
def test_this_machine_counts_its_ticks() -> None:
    seen = [machine_ticks()]
    for _ in range(3):
        time.sleep(0.02)
        seen.append(machine_ticks())
    assert all(before[0] <= now[0] and before[1] <= now[1] for before, now in pairwise(seen) if before and now)
    assert None not in seen
