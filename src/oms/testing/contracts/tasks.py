"""Tasks: a claim leases a task, only the lease's holder can finish it, and an expired lease makes it a repeat.

Part of every store's suite.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import attrs

from oms.domain.tasks import TaskKey, TaskKind, composite_key
from oms.ports.stores.rows import Delivery, Postponed, Task
from oms.testing.contracts.samples import flush, request, start
from oms.testing.contracts.stores import StoreLab

LEASE_S = 0.5
LAPSED_S = 0.6
ALL = tuple(TaskKind)


class TaskContract(StoreLab):
    """The contract of a store for tasks."""

    def test_a_task_is_due_at_once_unless_it_has_a_due_time(self, store: Any) -> None:
        start(store, request("now"), request("later", self.now() + timedelta(seconds=LAPSED_S)))
        assert [task.key for task in _claim(store)] == ["now"]
        self.advance(LAPSED_S)
        assert "later" in [task.key for task in _claim(store)]

    def test_a_claimed_task_has_all_its_fields(self, store: Any) -> None:
        before = self.now()
        start(store, request("a", payload="pay ✓", kind=TaskKind.NOTIFY))
        (task,) = _claim(store)
        assert (task.kind, task.key, task.payload) == (TaskKind.NOTIFY, "a", "pay ✓")
        assert (task.attempts, task.repeat) == (1, False)
        assert task.id == TaskKey(TaskKind.NOTIFY, "a")
        assert abs(task.created_at - before) < timedelta(seconds=5)
        assert abs(task.called_at - before) < timedelta(seconds=5)

    def test_the_longest_composite_keys_are_distinct_and_can_be_finished(self, store: Any) -> None:
        keys = [composite_key("é" * 64, order, "f" * 16, 10**6) for order in ("a:b" * 21, '"],\\{}' + "x" * 57)]
        start(store, *(request(key, kind=TaskKind.CALL) for key in (*keys, keys[0])))
        tasks = _claim(store)
        assert sorted(task.key for task in tasks) == sorted(keys)
        assert sorted(one.key for one in _finish(store, tasks)) == sorted(keys)

    def test_a_postponed_task_keeps_its_trace(self, store: Any) -> None:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        start(store, attrs.evolve(request("a"), trace=trace), request("b"))
        claimed = _claim(store)
        assert {task.key: task.trace for task in claimed} == {"a": trace, "b": None}
        flush(store, Delivery(postponed=[Postponed(task, self.now()) for task in claimed]))
        assert {task.key: task.trace for task in _claim(store)} == {"a": trace, "b": None}

    def test_only_the_requested_kinds_are_claimed(self, store: Any) -> None:
        start(store, request("a", kind=TaskKind.CHARGE), request("a", kind=TaskKind.VOID))
        assert [task.kind for task in _claim(store, kinds={TaskKind.VOID})] == [TaskKind.VOID]
        assert list(_claim(store, kinds=())) == []

    def test_a_claim_returns_the_longest_due_first_and_at_most_its_limit(self, store: Any) -> None:
        now = self.now()
        start(store, *(request(f"t{age}", now - timedelta(seconds=age)) for age in (2, 9, 4, 7)))
        assert [task.key for task in _claim(store, limit=2)] == ["t9", "t7"]
        assert [task.key for task in _claim(store, limit=2)] == ["t4", "t2"]

    def test_a_leased_task_cannot_be_claimed(self, store: Any) -> None:
        start(store, request("a"))
        assert len(_claim(store)) == 1
        assert list(_claim(store)) == []

    def test_a_task_with_an_expired_lease_is_claimed_as_a_repeat(self, store: Any) -> None:
        start(store, request("a"))
        (first,) = _claim(store, lease_s=LEASE_S)
        self.advance(LAPSED_S)
        (second,) = _claim(store, lease_s=LEASE_S)
        assert (second.repeat, second.attempts) == (True, 2)
        assert second.called_at == first.called_at
        assert second.created_at == first.created_at
        assert second.lease != first.lease

    def test_a_finished_task_is_removed(self, store: Any) -> None:
        start(store, request("a"), request("b"))
        tasks = _claim(store)
        assert _finish(store, tasks) == {task.id for task in tasks}
        assert list(store.all_tasks()) == []

    def test_a_task_cannot_be_finished_without_its_lease(self, store: Any) -> None:
        start(store, request("a"))
        (first,) = _claim(store, lease_s=LEASE_S)
        self.advance(LAPSED_S)
        (second,) = _claim(store)
        assert _finish(store, [first]) == set()
        assert _finish(store, [second]) == {second.id}
        assert _finish(store, [second]) == set()

    def test_an_expired_lease_that_no_other_process_took_is_still_valid(self, store: Any) -> None:
        start(store, request("a"))
        (task,) = _claim(store, lease_s=LEASE_S)
        self.advance(LAPSED_S)
        assert _finish(store, [task]) == {task.id}

    def test_a_rolled_back_finish_has_no_effect(self, store: Any) -> None:
        start(store, request("a"))
        (task,) = _claim(store)
        with store.begin() as transaction:
            assert set(transaction.finish_tasks([task])) == {task.id}
        assert _finish(store, [task]) == {task.id}

    def test_held_tasks_are_those_with_a_valid_lease_and_they_stay(self, store: Any) -> None:
        start(store, request("a"), request("b"))
        mine, stale = _claim(store)
        stale = attrs.evolve(stale, lease="somebody-elses")
        with store.begin() as transaction:
            assert set(transaction.held_tasks([mine, stale])) == {mine.id}
            transaction.commit()
        assert len(list(store.all_tasks())) == 2

    def test_a_second_request_of_the_same_task_is_ignored(self, store: Any) -> None:
        start(store, request("a", payload="first"))
        start(store, request("a", self.now() + timedelta(days=1), payload="second"), request("b"))
        assert {task.key: task.payload for task in _claim(store)} == {"a": "first", "b": ""}

    def test_a_second_request_does_not_affect_a_call_in_progress(self, store: Any) -> None:
        start(store, request("a"))
        (task,) = _claim(store)
        start(store, request("a"))
        assert list(_claim(store)) == []
        assert _finish(store, [task]) == {task.id}

    def test_a_finished_task_can_be_requested_again(self, store: Any) -> None:
        start(store, request("a"))
        _finish(store, _claim(store))
        start(store, request("a"))
        (task,) = _claim(store)
        assert (task.repeat, task.attempts) == (False, 1)

    def test_a_transaction_can_finish_a_task_and_request_it_again(self, store: Any) -> None:
        start(store, request("a", payload="old"))
        claimed = _claim(store)
        with store.begin() as transaction:
            transaction.finish_tasks(claimed)
            transaction.flush(Delivery(tasks=[request("a", payload="new")]))
            transaction.commit()
        assert [task.payload for task in _claim(store)] == ["new"]

    def test_a_postponed_task_is_claimed_as_a_repeat(self, store: Any) -> None:
        first, second = self._postponed(store, afresh=False)
        assert (second.repeat, second.attempts) == (True, 2)
        assert second.called_at == first.called_at

    def test_a_task_postponed_as_new_counts_as_not_called(self, store: Any) -> None:
        first, second = self._postponed(store, afresh=True)
        assert (second.repeat, second.attempts) == (False, 2)
        assert second.called_at > first.called_at

    def test_a_task_cannot_be_postponed_without_its_lease(self, store: Any) -> None:
        start(store, request("a"))
        (first,) = _claim(store, lease_s=LEASE_S)
        self.advance(LAPSED_S)
        (second,) = _claim(store)
        flush(store, Delivery(postponed=[Postponed(first, self.now(), afresh=True)]))
        assert list(_claim(store)) == []
        assert _finish(store, [second]) == {second.id}

    def test_an_ended_task_is_removed_even_if_it_is_leased(self, store: Any) -> None:
        start(store, request("a"), request("b"), request("c", self.now() + timedelta(days=1)))
        claimed = {task.key: task for task in _claim(store)}
        charge = TaskKind.CHARGE
        flush(store, Delivery(ended=[TaskKey(charge, "a"), TaskKey(charge, "c"), TaskKey(charge, "unknown")]))
        assert [task.key for task in store.all_tasks()] == ["b"]
        assert _finish(store, [claimed["a"]]) == set()

    def test_a_transaction_can_end_a_task_and_start_it_again(self, store: Any) -> None:
        start(store, request("a", payload="old"))
        flush(store, Delivery(tasks=[request("a", payload="new")], ended=[TaskKey(TaskKind.CHARGE, "a")]))
        assert [(task.payload, task.attempts) for task in _claim(store)] == [("new", 1)]

    def test_next_due_is_the_earliest_task_or_lease(self, store: Any) -> None:
        assert store.next_due() is None
        due = self.now() + timedelta(hours=2)
        start(store, request("a", due), request("b", due + timedelta(hours=1), kind=TaskKind.DEADLINE))
        assert store.next_due() == due
        start(store, request("c", due - timedelta(hours=3)))
        assert store.next_due() == due - timedelta(hours=3)
        _claim(store, lease_s=600)
        assert self.now() < store.next_due() < due

    def test_the_backlog_counts_due_tasks(self, store: Any) -> None:
        start(store, request("a"), request("b"), request("later", self.now() + timedelta(hours=1)))
        assert store.backlog().tasks_due == 2
        _claim(store, limit=1)
        assert store.backlog().tasks_due == 1

    def _postponed(self, store: Any, *, afresh: bool) -> tuple[Task, Task]:
        start(store, request("a"))
        (first,) = _claim(store)
        due = self.now() + timedelta(seconds=LEASE_S)
        flush(store, Delivery(postponed=[Postponed(first, due, afresh=afresh, note="try later")]))
        assert list(_claim(store)) == []
        self.advance(LAPSED_S)
        (second,) = _claim(store)
        return first, second


def _claim(store: Any, *, kinds: Collection[TaskKind] = ALL, limit: int = 100, lease_s: float = 60.0) -> list[Task]:
    return list(store.claim_tasks(kinds, limit, lease_s))


def _finish(store: Any, tasks: list[Task]) -> set[TaskKey]:
    with store.begin() as transaction:
        done = set(transaction.finish_tasks(tasks))
        transaction.commit()
    return done
