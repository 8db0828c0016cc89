"""Owners of leases: which leases a restarted process may release. Part of every store's suite."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oms.domain.tasks import TaskKind
from oms.ports.stores.rows import Delivery, Postponed
from oms.testing.contracts.samples import flush, owe, request, row, start
from oms.testing.contracts.stores import StoreLab

LONG_S = 3600.0
HOST = "host-1"


class RegistrationContract(StoreLab):
    """The contract of a store for processes that register as owners of leases.

    A subclass defines `process(store)`, which returns the same tables as another process has them, and `end(process)`,
    which kills that process. `solitary` is True if only one process at a time can open the tables, so that it owns
    every lease.
    """

    solitary = False
    """Whether only one process at a time can open the tables."""

    def process(self, store: Any) -> Any:
        """Return the same tables as another process opens them."""
        raise NotImplementedError("this suite needs `process`")

    def end(self, process: Any) -> None:
        """Kill a process."""
        raise NotImplementedError("this suite needs `end`")

    def test_a_successor_releases_what_its_predecessor_left(self, store: Any) -> None:
        first = self._with_leases(store, "a")
        self.end(first)
        second = self.process(store)
        assert second.register(HOST) == 2
        self.advance(0.1)
        (task,) = second.claim_tasks([TaskKind.CHARGE], 10, LONG_S)
        assert (task.key, task.repeat) == ("a", True), "the call may have gone out"
        assert [one.id for one in second.claim_outbox(10, LONG_S)] == ["a"]

    def test_swept_rows_and_tasks_claimed_again_are_the_last_claimers(self, store: Any) -> None:
        start(store, request("a"))
        owe(store, [row("a")])
        first = self.process(store)
        first.register(HOST)
        assert len(first.claim_tasks([TaskKind.CHARGE], 10, LONG_S)) == len(first.claim_outbox(10, LONG_S)) == 1
        self.end(first)
        assert self.process(store).register(HOST) == 2

    def test_only_leases_are_released(self, store: Any) -> None:
        start(store, request("later", self.now() + timedelta(seconds=LONG_S)), request("postponed"), request("done"))
        first = self.process(store)
        first.register(HOST)
        tasks = {task.key: task for task in first.claim_tasks([TaskKind.CHARGE], 10, LONG_S)}
        due_at = self.now() + timedelta(seconds=LONG_S)
        flush(first, Delivery(postponed=[Postponed(tasks["postponed"], due_at)], ended=[tasks["done"].id]))
        self.end(first)
        second = self.process(store)
        assert second.register(HOST) == 0
        assert list(second.claim_tasks([TaskKind.CHARGE], 10, LONG_S)) == []

    def test_a_living_process_of_the_same_instance_keeps_its_leases(self, store: Any) -> None:
        self._needs_siblings()
        first, second = self._with_leases(store, "a"), self._with_leases(store, "b")
        assert self.process(store).register(HOST) == 0
        self.end(first)
        successor = self.process(store)
        assert successor.register(HOST) == 2
        assert [task.key for task in successor.claim_tasks([TaskKind.CHARGE], 10, LONG_S)] == ["a"]
        assert [one.id for one in successor.claim_outbox(10, LONG_S)] == ["a"]
        self.end(second)
        self.end(successor)
        assert self.process(store).register(HOST) == 4

    def test_another_instance_releases_nothing(self, store: Any) -> None:
        self._needs_siblings()
        self.end(self._with_leases(store, "a"))
        assert self.process(store).register("host-2") == 0
        assert self.process(store).register(HOST) == 2

    def test_leases_of_a_process_that_is_not_registered_lapse_by_time(self, store: Any) -> None:
        self._needs_siblings()
        first = self.process(store)
        start(first, request("a"))
        assert len(first.claim_tasks([TaskKind.CHARGE], 10, LONG_S)) == 1
        self.end(first)
        assert self.process(store).register(HOST) == 0

    def test_a_process_stays_registered(self, store: Any) -> None:
        first = self._with_leases(store, "a")
        first.keep_registration()
        self.end(first)
        assert self.process(store).register(HOST) == 2

    def _with_leases(self, store: Any, name: str) -> Any:
        """Return a registered process that has leased a task and an outbox row."""
        process = self.process(store)
        process.register(HOST)
        start(process, request(name))
        (task,) = process.claim_tasks([TaskKind.CHARGE], 10, LONG_S)
        assert (task.key, task.repeat) == (name, False)
        owe(process, [row(name, self.now() + timedelta(seconds=LONG_S))])
        return process

    def _needs_siblings(self) -> None:
        if self.solitary:
            pytest.skip("only one process at a time can open this store")
