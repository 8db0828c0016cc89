"""Random commands must give the same results on a store and on plain dictionaries. Part of the order suite."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.domain.tasks import TaskKey, TaskKind
from oms.ports.stores.rows import Delivery, Postponed, Task
from oms.testing.contracts.samples import SUITE_CHECKS, owe, request, row, start
from oms.testing.contracts.stores import NewStore, StoreLab, ids

LEASE_S = 60.0
NAMES = st.sampled_from(["a", "b", "c", "d"])
COMMANDS = st.one_of(
    st.tuples(st.just("claim_inbox"), st.lists(NAMES, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("request"), NAMES, st.sampled_from([0, 90])),
    st.tuples(st.just("claim"), st.integers(0, 3)),
    st.tuples(st.just("finish"), st.integers(0, 9)),
    st.tuples(st.just("postpone"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("end"), NAMES),
    st.tuples(st.just("owe"), NAMES),
    st.tuples(st.just("sweep"), st.integers(0, 3)),
    st.tuples(st.just("sent"), NAMES),
    st.tuples(st.just("return"), NAMES),
    st.tuples(st.just("advance"), st.sampled_from([1, 30, 61])),
)


@attrs.define
class _Row:
    """A task or an outbox row of the model; its due time is in seconds."""

    due: float
    lease: int = 0
    attempts: int = 0
    called: bool = False


@attrs.define
class _Model:
    """A model of a store, in plain dictionaries."""

    at: float = 0.0
    inbox: set[str] = attrs.field(factory=set)
    tasks: dict[str, _Row] = attrs.field(factory=dict)
    outbox: dict[str, float] = attrs.field(factory=dict)
    claims: list[tuple[str, int, Task]] = attrs.field(factory=list)
    leases: int = 0
    sent: int = 0


class ModelContract(StoreLab):
    """Compares a store with the model."""

    @settings(max_examples=40, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(st.lists(COMMANDS, max_size=25))
    def test_any_sequence_of_commands_matches_the_model(self, new_store: NewStore, commands: list[Any]) -> None:
        if not self.controls_time:
            pytest.skip("this suite can't set the clock of this store")
        store, model = new_store(), _Model()
        for name, *arguments in commands:
            getattr(self, f"_do_{name}")(store, model, *arguments)
        assert {message for _, message in store.all_inbox()} == model.inbox
        assert {task.key for task in store.all_tasks()} == set(model.tasks)
        assert {owed.id for owed in store.all_outbox()} == set(model.outbox)

    def _do_claim_inbox(self, store: Any, model: _Model, names: list[str], commit: bool) -> None:  # noqa: FBT001
        with store.begin() as transaction:
            assert set(transaction.claim_inbox("g", ids(*names))) == set(names) - model.inbox
            if commit:
                transaction.commit()
                model.inbox |= set(names)

    def _do_request(self, store: Any, model: _Model, name: str, later: int) -> None:
        start(store, request(name, self.now() + timedelta(seconds=later)))
        model.tasks.setdefault(name, _Row(model.at + later))

    def _do_claim(self, store: Any, model: _Model, limit: int) -> None:
        due = sorted(row.due for row in model.tasks.values() if row.due <= model.at)[:limit]
        claimed = list(store.claim_tasks(list(TaskKind), limit, LEASE_S))
        assert sorted(model.tasks[task.key].due for task in claimed) == due
        for task in claimed:
            row = model.tasks[task.key]
            assert (task.attempts, task.repeat) == (row.attempts + 1, row.called)
            model.leases += 1
            row.due, row.lease, row.attempts, row.called = model.at + LEASE_S, model.leases, row.attempts + 1, True
            model.claims.append((task.key, model.leases, task))

    def _do_finish(self, store: Any, model: _Model, index: int) -> None:
        if index >= len(model.claims):
            return
        key, lease, task = model.claims[index]
        ours = key in model.tasks and model.tasks[key].lease == lease
        with store.begin() as transaction:
            assert set(transaction.finish_tasks([task])) == ({task.id} if ours else set())
            transaction.commit()
        if ours:
            del model.tasks[key]

    def _do_postpone(self, store: Any, model: _Model, index: int, afresh: bool) -> None:  # noqa: FBT001
        if index >= len(model.claims):
            return
        key, lease, task = model.claims[index]
        with store.begin() as transaction:
            transaction.flush(Delivery(postponed=[Postponed(task, self.now() + timedelta(seconds=45), afresh)]))
            transaction.commit()
        if key in model.tasks and model.tasks[key].lease == lease:
            row = model.tasks[key]
            row.due, row.lease, row.called = model.at + 45, 0, not afresh

    def _do_end(self, store: Any, model: _Model, name: str) -> None:
        with store.begin() as transaction:
            transaction.flush(Delivery(ended=[TaskKey(TaskKind.CHARGE, name)]))
            transaction.commit()
        model.tasks.pop(name, None)

    def _do_owe(self, store: Any, model: _Model, name: str) -> None:
        model.sent += 1
        owe(store, [row(f"{name}{model.sent}", self.now() + timedelta(seconds=10))])
        model.outbox[f"{name}{model.sent}"] = model.at + 10

    def _do_sweep(self, store: Any, model: _Model, limit: int) -> None:
        free = sum(until <= model.at for until in model.outbox.values())
        swept = [owed.id for owed in store.claim_outbox(limit, LEASE_S)]
        assert len(swept) == len(set(swept)) == min(limit, free)
        for name in swept:
            assert model.outbox[name] <= model.at
            model.outbox[name] = model.at + LEASE_S

    def _do_sent(self, store: Any, model: _Model, name: str) -> None:
        mine = [owed for owed in model.outbox if owed.startswith(name)]
        store.mark_sent(mine)
        for owed in mine:
            del model.outbox[owed]

    def _do_return(self, store: Any, model: _Model, name: str) -> None:
        mine = [owed for owed in model.outbox if owed.startswith(name)]
        store.return_outbox(mine)
        model.outbox.update(dict.fromkeys(mine, model.at))

    def _do_advance(self, store: Any, model: _Model, seconds: int) -> None:  # noqa: ARG002 - commands share their parameters
        self.advance(seconds)
        model.at += seconds
