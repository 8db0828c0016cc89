"""Lanes: the steps of a service on threads of their own lose no news, and know when to look again."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import pytest

from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.signals import RecordingSignals
from oms.adapters.system.bells import Bells
from oms.adapters.system.clock import SystemClock
from oms.application.worker import Worker
from oms.domain.tasks import TaskKind
from oms.entrypoints.runner import BUSY, REST_S, Driven, Late, Runner, Strain, driven_in_lanes
from oms.testing import Shop


class Counting:
    """A step that has something to do once for each time that it is told."""

    def __init__(self) -> None:
        self.todo, self.done = 0, 0

    def run_once(self) -> int:
        moved, self.todo = self.todo, 0
        self.done += moved
        return moved


def worker(*steps: Any) -> Worker:
    return Worker("w", steps, SystemClock(), RecordingSignals())


def runner(*driven: Driven, bells: Bells | None = None, failed: Any = lambda _name, _error: None) -> Runner:
    return Runner(driven, bells or Bells(), SystemClock(), failed, strain=lambda: 1.0)


def until(true: Any) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_bell_wakes_its_lane_alone() -> None:
    bells, one, other = Bells(), Counting(), Counting()
    running = runner(Driven({"one": worker(one)}), Driven({"other": worker(other)}), bells=bells)
    running.start()
    one.todo = 1
    bells.ring("one")
    until(lambda: one.done == 1)
    assert running.stop(5)
    assert not running.running


def test_a_lane_that_waits_for_the_log_is_driven_by_it_and_stops_in_time() -> None:
    news, step = threading.Event(), Counting()

    def wait(timeout_s: float) -> bool:
        if news.wait(timeout_s):
            step.todo = 1
            news.clear()
        return True

    running = runner(Driven({"consumer": worker(step)}, wait))
    running.start()
    news.set()
    until(lambda: step.done == 1)
    assert running.stop(2)


def test_what_fails_for_good_stops_every_lane() -> None:
    told: list[str] = []

    class Broken:
        def run_once(self) -> int:
            raise ZeroDivisionError

    running = runner(
        Driven({"good": worker(Counting())}),
        Driven({"bad": worker(Broken())}),
        failed=lambda name, _error: told.append(name),
    )
    hook, threading.excepthook = threading.excepthook, lambda _args: None
    try:
        running.start()
        until(lambda: running.failure is not None)
        assert running.stop(5)
    finally:
        threading.excepthook = hook
    assert told == ["bad"]


def test_a_worker_knows_what_its_steps_wait_for() -> None:
    clock = ManualClock()
    due = clock.now() + timedelta(seconds=3)

    class Waiting(Counting):
        def next_due(self) -> Any:
            return due

    assert worker(Counting()).next_due() is None
    assert Worker("w", [Counting(), Waiting()], clock, RecordingSignals()).next_due() == due


def test_a_task_that_is_owed_during_a_look_is_found_by_the_next_one(monkeypatch: Any) -> None:
    shop = Shop()
    part = shop.app.system.parts["payment"]
    looks: list[int] = []
    found = part.service.store.claim_tasks

    def claim(kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Any]:
        looks.append(1)
        if len(looks) == 1:
            part.tasks.wake()  # another thread commits a task while this one looks, and finds nothing
        return found(kinds, limit, lease_s)

    monkeypatch.setattr(part.tasks, "_look_every_s", 3600.0)
    monkeypatch.setattr(part.service.store, "claim_tasks", claim)
    for _ in range(3):
        part.tasks.run_once()
    assert len(looks) == 2


def test_the_lanes_of_a_service_are_all_of_its_steps() -> None:
    shop = Shop()
    for driven in (driven_in_lanes(shop.app.system.parts, Bells()),):
        names = [name for one in driven for name in one.workers]
        assert len(names) == len(set(names)) == 5 * len(shop.app.system.parts)
    for part in shop.app.system.parts.values():
        in_lanes = {id(step) for lane in part.lanes for step in lane.worker._steps}
        assert in_lanes == {id(step) for step in part.worker._steps}


class Endless:
    """A step that always finds so much to do; notes when it was asked."""

    def __init__(self, moves: int) -> None:
        self.moves = moves
        self.asked: list[float] = []

    def run_once(self) -> int:
        self.asked.append(time.monotonic())
        return self.moves if len(self.asked) < 6 else 0


def _gaps(moves: int, *, rest_s: float = REST_S, enough: int = 400) -> list[float]:
    step = Endless(moves)
    running = runner(Driven({"one": worker(step)}, rest_s=rest_s, enough=enough))
    running.start()
    until(lambda: len(step.asked) >= 6)
    assert running.stop(5)
    return [later - before for before, later in zip(step.asked, step.asked[1:5], strict=False)]


def test_a_busy_lane_rests_after_each_batch() -> None:
    assert min(_gaps(9)) >= REST_S


def test_a_lane_rests_once_it_has_become_busy() -> None:
    assert _gaps(3)[2] >= REST_S  # the third batch made nine


@pytest.mark.parametrize("moves", [1, 400, 500])
def test_a_lane_that_moves_one_or_enough_never_rests(moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oms.entrypoints.runner.BUSY", 0.5)
    _gaps(moves, rest_s=3600.0)


def test_a_lane_that_is_not_busy_never_rests() -> None:
    step = Endless(2)
    running = runner(Driven({"one": worker(step)}, rest_s=3600.0))
    running.start()
    until(lambda: len(step.asked) >= 4)  # before that it has moved six
    assert running.stop(5)


def test_a_lane_rests_the_less_the_less_its_process_does() -> None:
    step = Endless(9)
    running = Runner(
        [Driven({"one": worker(step)}, rest_s=3600.0)], Bells(), SystemClock(), lambda _, __: None, strain=lambda: 0.0
    )
    running.start()
    until(lambda: len(step.asked) >= 6)
    assert running.stop(5)


def test_strain_is_what_a_process_has_used_of_late() -> None:
    wall, cpu = [100.0], [7.0]
    strain = Strain(2, lambda: wall[0], lambda: cpu[0])
    seen = []
    for used_s in (0.0, 0.03, 0.03, 0.1, 0.1, 0.1, 0.0, 0.0):
        wall[0] += 0.1
        cpu[0] += used_s
        seen.append(strain())
    assert seen[:3] == pytest.approx([0, 0.5, 0.75])
    assert seen[3:6] == [1, 1, 1]
    assert seen[6] > seen[7] > 0


def test_what_was_moved_long_ago_makes_nobody_busy() -> None:
    late = Late()
    assert late.add(9, at=100.0) == 9
    assert late.add(1, at=100.0 + REST_S) == pytest.approx(5.5)
    assert late.add(1, at=101.0) < BUSY / 2
