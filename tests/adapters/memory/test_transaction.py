"""What the simulated store adds to the contract: points, deaths, deadlocks, and the same run every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from greenlet import greenlet

from oms.adapters.memory import CountedIds, ManualClock, MemoryInventoryStore, MemoryOrderStore, WorkerKilled
from oms.domain.stock import Stock
from oms.domain.values import OrderId, Sku
from oms.ports.errors import Retryable
from oms.ports.messages import MessageId
from oms.ports.stores.rows import Delivery, StoredResponse
from oms.testing.contracts.samples import request, row, start

A, B = Sku("a"), Sku("b")


class Turns:
    """Workers in greenlets that take turns: each runs until it is blocked or ends."""

    def __init__(self) -> None:
        self.trace: list[str] = []
        self._main = greenlet.getcurrent()
        self._workers: dict[str, greenlet] = {}

    def blocked(self, what: str) -> None:
        self.trace.append(f"blocked at {what}")
        self._main.switch()

    def pause(self) -> None:
        self._main.switch()

    def start(self, name: str, work: Callable[[], object]) -> None:
        self._workers[name] = greenlet(work)

    def run(self) -> None:
        while any(not worker.dead for worker in self._workers.values()):
            for worker in self._workers.values():
                if not worker.dead:
                    worker.switch()


def _orders(**hooks: Any) -> MemoryOrderStore:
    return MemoryOrderStore(ManualClock(), CountedIds(), **hooks)


def test_a_call_has_a_point_before_and_one_after() -> None:
    points: list[str] = []
    store = _orders(point=points.append)
    with store.begin() as transaction:
        transaction.claim_inbox("g", [MessageId("a")])
        transaction.commit()
    assert points == [
        f"orders.{call}:{side}" for call in ("begin", "claim_inbox", "commit") for side in ("before", "after")
    ]


def test_a_rollback_has_points_only_where_there_is_something_to_roll_back() -> None:
    points: list[str] = []
    store = _orders(point=points.append)
    with store.begin():
        points.clear()
    assert points == ["orders.rollback:before", "orders.rollback:after"]
    with store.begin() as transaction:
        transaction.commit()
        points.clear()
    assert points == []


@pytest.mark.parametrize(("at", "applied"), [("orders.commit:before", False), ("orders.commit:after", True)])
def test_a_fault_before_a_call_undoes_it_and_one_after_it_loses_the_answer(at: str, applied: bool) -> None:
    def point(place: str) -> None:
        if place == at:
            raise Retryable("fault")

    store = _orders(point=point)
    with store.begin() as transaction:
        transaction.claim_inbox("g", [MessageId("a")])
        with pytest.raises(Retryable):
            transaction.commit()
    assert bool(list(store.all_inbox())) is applied


def test_waiting_where_nobody_else_runs_says_so() -> None:
    store = _orders()
    with store.begin() as first, store.worker("other").begin() as second:
        first.claim_inbox("g", [MessageId("a")])
        with pytest.raises(RuntimeError, match="deadlock: no other worker can run"):
            second.claim_inbox("g", [MessageId("a")])


def test_a_circle_of_waits_ends_one_of_them() -> None:
    turns = Turns()
    store = MemoryInventoryStore(ManualClock(), CountedIds(), blocked=turns.blocked)
    with store.begin() as transaction:
        transaction.introduce_stock({A: 10, B: 10})
        transaction.commit()
    ended: list[str] = []

    def work(name: str, first: Sku, second: Sku) -> None:
        try:
            with store.worker(name, blocked=turns.blocked).begin() as transaction:
                transaction.lock_stock([first])
                turns.pause()
                transaction.lock_stock([second])
                transaction.commit()
            ended.append(f"{name} committed")
        except Retryable as error:
            ended.append(f"{name}: {error}")

    turns.start("one", lambda: work("one", A, B))
    turns.start("two", lambda: work("two", B, A))
    turns.run()
    assert ended == ["two: deadlock detected at stock a", "one committed"]


def test_a_shared_lock_waits_for_nobody_who_shares_and_for_whoever_has_it_alone() -> None:
    turns = Turns()
    store = MemoryInventoryStore(ManualClock(), CountedIds(), blocked=turns.blocked)
    seen: list[int] = []

    def take(name: str) -> None:
        with store.worker(name, blocked=turns.blocked).begin() as transaction:
            seen.append(transaction.gate_epoch())
            turns.pause()
            transaction.commit()

    def rebuild() -> None:
        with store.worker("rebuild", blocked=turns.blocked).begin() as transaction:
            transaction.set_gate_epoch(transaction.lock_gate() + 1)
            turns.pause()
            transaction.commit()

    turns.start("one", lambda: take("one"))
    turns.start("two", lambda: take("two"))
    turns.start("rebuild", rebuild)
    turns.run()
    turns.start("three", lambda: take("three"))
    turns.run()
    assert seen == [0, 0, 1]
    assert turns.trace == ["blocked at gate gate"]


def test_the_death_of_a_worker_rolls_its_transactions_back_and_frees_its_locks() -> None:
    store = _orders()
    other = store.worker("other")
    transaction = other.begin()
    transaction.claim_inbox("g", [MessageId("a")])
    store.kill("other")
    with pytest.raises(WorkerKilled):
        transaction.commit()
    with pytest.raises(WorkerKilled):
        other.ping()
    with store.begin() as mine:
        assert list(mine.claim_inbox("g", [MessageId("a")])) == ["a"]


def test_dropping_a_dead_worker_runs_no_durable_effect() -> None:
    turns = Turns()
    store = _orders()
    other = store.worker("other")

    def work() -> None:
        try:
            with other.begin() as transaction:
                transaction.claim_inbox("g", [MessageId("a")])
                turns.pause()
                transaction.commit()
        finally:
            other.mark_sent(["r"])

    with store.begin() as transaction:
        transaction.flush(Delivery(outbox=[row("r")]))
        transaction.commit()
    worker = greenlet(work)
    worker.switch()
    store.kill("other")
    with pytest.raises(WorkerKilled):
        worker.throw()
    assert list(store.all_inbox()) == []
    assert [owed.id for owed in store.all_outbox()] == ["r"]


def test_a_worker_that_is_killed_while_it_waits_gets_nothing() -> None:
    store = _orders()
    killer = store.worker("killer")
    waiting = store.worker("victim", blocked=lambda _what: killer.kill("victim"))
    with store.begin() as first:
        first.claim_inbox("g", [MessageId("a")])
        with pytest.raises(WorkerKilled), waiting.begin() as second:
            second.claim_inbox("g", [MessageId("a")])
        first.commit()
    assert list(store.all_inbox()) == [("g", "a")]


def test_an_error_ends_the_transaction() -> None:
    store = MemoryInventoryStore(ManualClock(), CountedIds())
    with store.begin() as transaction:
        transaction.introduce_stock({A: 1})
        transaction.save_responses([_stored_response("k")])
        with pytest.raises(Retryable):
            transaction.save_responses([_stored_response("k")])
        with pytest.raises(Retryable):
            transaction.commit()
    assert store.stock([A]) == {}


def test_a_task_that_a_transaction_holds_is_not_claimed() -> None:
    clock = ManualClock()
    store = MemoryOrderStore(clock, CountedIds())
    start(store, request("a"), request("b"))
    kinds = [request("a").kind]
    first = list(store.claim_tasks(kinds, 10, 1))
    clock.advance(timedelta(seconds=2))
    with store.begin() as transaction:
        transaction.held_tasks(first[:1])
        assert [task.key for task in store.claim_tasks(kinds, 10, 1)] == ["b"]
    assert [task.key for task in store.claim_tasks(kinds, 10, 1)] == ["a"]


def test_a_lease_of_no_time_is_over_at_once() -> None:
    store = _orders()
    start(store, request("a"))
    kinds = [request("a").kind]
    assert [len(store.claim_tasks(kinds, 10, 0)) for _ in range(3)] == [1, 1, 1]


def test_a_lock_on_what_is_not_committed_waits_for_nobody() -> None:
    store = MemoryInventoryStore(ManualClock(), CountedIds())
    with store.begin() as first, store.begin() as second:
        first.introduce_stock({A: 10})
        assert second.lock_stock([A]) == {}
        assert first.lock_stock([A]) == {A: Stock(A, 10)}
        assert second.lock_reservations([OrderId("o")]) == {}


def _stored_response(key: str) -> Any:
    return StoredResponse("scope", key, "fingerprint", "{}")


_RUN = """
from oms.adapters.memory import CountedIds, ManualClock, MemoryLog, MemoryOrderStore
from oms.domain.tasks import TaskKind, TaskRequest
from oms.ports.stores.rows import Delivery

names = {f"m{number}" for number in range(50)}
store, log = MemoryOrderStore(ManualClock(), CountedIds(), point=print), MemoryLog()
with store.begin() as transaction:
    print(transaction.claim_inbox("g", names))
    transaction.flush(Delivery(tasks=[TaskRequest(kind, "k") for kind in set(TaskKind)]))
    transaction.commit()
print(store.claim_tasks(set(TaskKind), 10, 5), store.all_tasks(), store.all_inbox())
members = [log.subscribe("g", {"a", "b", "c"}) for _ in range(3)]
print([sorted(member.lost()) for member in members])
for name in sorted(names):
    log.append(name[0], b"v", name.encode())
print(log.all_records())
"""


def test_a_run_is_the_same_whatever_the_seed_of_the_hashes() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", _RUN], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout
    assert runs[0].stdout == runs[1].stdout
