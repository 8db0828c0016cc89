"""Lanes: the steps of a service on several threads lose no wake-up, and look again in time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import pytest

from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.system.clock import SystemClock
from oms.application.orders import OrderWork
from oms.domain.tasks import TaskKind
from oms.engine import relay
from oms.engine.assembly import ServiceAssembly, assemble
from oms.engine.dependencies import ServiceDependencies
from oms.engine.service import Runnable
from oms.engine.worker import Worker
from oms.runtime.adaptive_batching import (
    ANSWER_S,
    BUSY,
    GATHER_S,
    HALF_LIFE_S,
    REST_S,
    RecentCount,
    answer,
    gather,
    group,
    rest,
)
from oms.runtime.runner import Driven, Runner, driven_in_lanes
from oms.runtime.wakeups import Wakeups
from oms.testing import Shop


class Counting(Runnable):
    """A step with one unit of work for each wake-up."""

    def __init__(self) -> None:
        self.todo, self.done = 0, 0

    def run_once(self) -> int:
        moved, self.todo = self.todo, 0
        self.done += moved
        return moved


def worker(*steps: Any) -> Worker:
    return Worker("w", steps, SystemClock(), RecordingTelemetry())


def runner(*driven: Driven, wakeups: Wakeups | None = None, failed: Any = lambda _name, _error: None) -> Runner:
    return Runner(driven, wakeups or Wakeups(), SystemClock(), failed, used=lambda: 1.0)


def until(true: Any) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_bell_wakes_its_lane_alone() -> None:
    wakeups, one, other = Wakeups(), Counting(), Counting()
    running = runner(Driven({"one": worker(one)}), Driven({"other": worker(other)}), wakeups=wakeups)
    running.start()
    one.todo = 1
    wakeups.wake("one")
    until(lambda: one.done == 1)
    assert running.stop(5)
    assert not running.running


def test_a_lane_that_waits_for_the_log_is_driven_by_it_and_stops_in_time() -> None:
    wakeup, step = threading.Event(), Counting()

    def wait(timeout_s: float) -> bool:
        if wakeup.wait(timeout_s):
            step.todo = 1
            wakeup.clear()
        return True

    running = runner(Driven({"consumer": worker(step)}, wait))
    running.start()
    wakeup.set()
    until(lambda: step.done == 1)
    assert running.stop(2)


def test_what_fails_for_good_stops_every_lane() -> None:
    reported: list[str] = []

    class Broken(Runnable):
        def run_once(self) -> int:
            raise ZeroDivisionError

    running = runner(
        Driven({"good": worker(Counting())}),
        Driven({"bad": worker(Broken())}),
        failed=lambda name, _error: reported.append(name),
    )
    hook, threading.excepthook = threading.excepthook, lambda _args: None
    try:
        running.start()
        until(lambda: running.failure is not None)
        assert running.stop(5)
    finally:
        threading.excepthook = hook
    assert reported == ["bad"]


def test_a_worker_knows_what_its_steps_wait_for() -> None:
    clock = ManualClock()
    due = clock.now() + timedelta(seconds=3)

    class Waiting(Counting):
        def next_due(self) -> Any:
            return due

    assert worker(Counting()).next_due() is None
    assert Worker("w", [Counting(), Waiting()], clock, RecordingTelemetry()).next_due() == due


def test_a_task_that_is_owed_during_a_look_is_found_by_the_next_one(monkeypatch: Any) -> None:
    shop = Shop()
    assembly = shop.app.system.assemblies["payment"]
    looks: list[int] = []
    found = assembly.service.store.claim_tasks

    def claim(kinds: Collection[TaskKind], limit: int, lease_s: float) -> Sequence[Any]:
        looks.append(1)
        if len(looks) == 1:
            assembly.tasks.wake()  # another thread commits a task while this one looks, and finds nothing
        return found(kinds, limit, lease_s)

    monkeypatch.setattr(assembly.tasks, "_look_every_s", 3600.0)
    monkeypatch.setattr(assembly.service.store, "claim_tasks", claim)
    for _ in range(3):
        assembly.tasks.run_once()
    assert len(looks) == 2


def test_a_task_that_was_postponed_is_looked_for_when_it_is_due(monkeypatch: Any) -> None:
    shop = Shop()
    monkeypatch.setattr(shop.app.system.assemblies["payment"].tasks, "_look_every_s", 3600.0)
    shop.gateway.refuse_next(times=2)
    order = shop.place({"lamp": 1})
    shop.run()
    shop.expect(order).in_state("RESERVED")

    shop.advance(minutes=1)
    shop.expect(order).confirmed()


def test_the_lanes_of_a_service_are_all_of_its_steps() -> None:
    shop = Shop()
    for driven in (driven_in_lanes(shop.app.system.assemblies, Wakeups()),):
        names = [name for one in driven for name in one.workers]
        assert len(names) == len(set(names)) == 5 * len(shop.app.system.assemblies)
    for assembly in shop.app.system.assemblies.values():
        in_lanes = {id(step) for lane in assembly.lanes for step in lane.worker._steps}
        assert in_lanes == {id(step) for step in assembly.worker._steps}


class Endless(Runnable):
    """A step that always finds the same amount of work; records when it ran."""

    def __init__(self, moves: int) -> None:
        self.moves = moves
        self.run_at: list[float] = []

    def run_once(self) -> int:
        self.run_at.append(time.monotonic())
        return self.moves if len(self.run_at) < 6 else 0


def for_ever(_used: float) -> float:
    return 3600.0


def _gaps(moves: int, **pauses: Any) -> list[float]:
    step = Endless(moves)
    running = runner(Driven({"one": worker(step)}, **pauses))
    running.start()
    until(lambda: len(step.run_at) >= 6)
    assert running.stop(5)
    return [later - before for before, later in zip(step.run_at, step.run_at[1:5], strict=False)]


def test_a_busy_lane_rests_after_each_batch() -> None:
    assert min(_gaps(9, rest=rest)) >= REST_S


def test_a_lane_rests_once_it_has_become_busy() -> None:
    assert _gaps(2, rest=rest)[1] >= REST_S  # the second batch made four


@pytest.mark.parametrize("moves", [1, 400, 500])
def test_a_lane_that_moves_one_or_enough_never_rests(moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oms.runtime.runner.BUSY", 0.5)
    _gaps(moves, rest=for_ever, enough=400)


def test_a_lane_that_is_not_busy_never_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Endless(2)
    monkeypatch.setattr("oms.runtime.runner.BUSY", 8.0)
    running = runner(Driven({"one": worker(step)}, gather=for_ever, rest=for_ever))
    running.start()
    until(lambda: len(step.run_at) >= 4)  # before that it has moved six
    assert running.stop(5)


class BusyLog:
    """A log that has messages at every wait."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def wait(self, _timeout_s: float) -> bool:
        self.at.append(time.monotonic())
        return True


class Alternating(Runnable):
    """A step that finds work at every second run; records when it ran."""

    def __init__(self) -> None:
        self.run_at: list[float] = []

    def run_once(self) -> int:
        self.run_at.append(time.monotonic())
        return 9 * (len(self.run_at) % 2)


def test_a_busy_lane_gathers_when_there_is_news_and_hands_it_on_at_once() -> None:
    wakeup, step = BusyLog(), Alternating()
    running = runner(Driven({"one": worker(step)}, wakeup.wait, gather=gather))
    running.start()
    until(lambda: len(step.run_at) >= 6)
    assert running.stop(5)
    for woken_at, taken in zip(wakeup.at, step.run_at[2::2], strict=False):
        assert taken - woken_at >= GATHER_S


def test_a_quiet_lane_takes_news_at_once() -> None:
    step = Counting()
    running = runner(Driven({"one": worker(step)}, BusyLog().wait, gather=for_ever))
    running.start()
    step.todo = 1
    until(lambda: step.done == 1)
    assert running.stop(5)


def grouped(shop: Shop) -> ServiceAssembly[Any]:
    """The order service's assembly, as the distributed profile has them."""
    system = shop.app.system
    made, own = system.assemblies["order"], system.container
    world = ServiceDependencies(own.broker(), own.codec(), own.clock(), own.ids(), own.telemetry(), look_every_s=0.0)
    system.assemblies["order"] = assemble(made.service, world, made.calls, lock=OrderWork.lock, grouped=True)
    return system.assemblies["order"]


def test_orders_are_grouped_where_they_leave_and_gathered_where_they_arrive() -> None:
    shop = Shop()
    grouped(shop)
    assemblies = shop.app.system.assemblies
    pauses = {name: one for one in driven_in_lanes(assemblies, Wakeups()) for name in one.workers}
    assert {name for name, one in pauses.items() if one.rest is group} == {"order.publish_batcher"}
    assert {name.partition(".")[2] for name, one in pauses.items() if one.rest is answer} == {"commands"}
    assert {name for name, one in pauses.items() if one.gather is gather} == {
        lane.worker.name for assembly in assemblies.values() for lane in assembly.lanes if lane.wait is not None
    }


def test_new_orders_wait_for_their_group_and_nothing_else_does() -> None:
    shop = Shop()
    order_service = grouped(shop)
    assert order_service.publish_batcher is not None
    orders = [shop.place({"lamp": 1}) for _ in range(3)]
    assert order_service.relay.run_once() == 0, "nothing is sent while they wait"
    assert order_service.publish_batcher.run_once() == 3
    assert order_service.relay.run_once() == 3
    shop.place({"lamp": 1})
    for _ in range(9):
        for name, assembly in shop.app.system.assemblies.items():
            for step in assembly.worker.steps:
                if name != "order" or step is not assembly.publish_batcher:
                    step.run_once()
    sent = Counter(record.topic for record in shop.log.all_records())
    assert (sent["order.created"], sent["order.confirmed"]) == (3, 3)
    for order in orders:
        shop.expect(order).confirmed()
    assert order_service.publish_batcher.run_once() == 1


def test_a_group_that_grows_too_large_is_left_to_the_sweeper(monkeypatch: Any) -> None:
    monkeypatch.setattr(relay, "QUEUE_LIMIT", 2)
    shop = Shop()
    order_service = grouped(shop)
    assert order_service.publish_batcher is not None
    orders = [shop.place({"lamp": 1}) for _ in range(3)]
    assert order_service.publish_batcher.run_once() == 2
    shop.run()
    shop.expect(orders[2]).in_state("CREATED")

    shop.advance(seconds=11)
    shop.expect(orders[2]).confirmed()


def test_a_group_that_waits_is_given_back_by_a_process_that_stops() -> None:
    shop = Shop()
    order_service = grouped(shop)
    shop.place({"lamp": 1})
    order_service.stop()
    assert len(order_service.service.store.claim_outbox(9, 10.0)) == 1


def test_pauses_grow_with_what_is_used_and_are_none_where_nothing_is() -> None:
    for pause, longest_s in ((group, REST_S), (answer, ANSWER_S), (gather, GATHER_S), (rest, REST_S)):
        lengths = [pause(used / 10) for used in range(11)]
        assert lengths == sorted(lengths)
        assert (lengths[0], lengths[-1]) == (0.0, longest_s)


def test_a_lane_never_rests_where_nothing_is_used() -> None:
    step = Endless(9)
    running = Runner([Driven({"one": worker(step)}, rest=lambda used: used * 3600)], Wakeups(), SystemClock(),
                     lambda _, __: None, used=lambda: 0.0)  # fmt: skip
    running.start()
    until(lambda: len(step.run_at) >= 6)
    assert running.stop(5)


def test_what_was_moved_long_ago_makes_nobody_busy() -> None:
    late = RecentCount()
    assert late.add(9, at=100.0) == 9
    assert late.add(1, at=100.0 + HALF_LIFE_S) == pytest.approx(5.5)
    assert late.add(1, at=101.0) < BUSY / 2
