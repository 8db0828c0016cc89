"""Runs tasks: claims them by lease, calls outside of any transaction, and finishes them by compare-and-set in groups.

An expired lease means that the outcome of the call is unknown: the next claim marks the task as a repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, cast

from oms.domain.text import storable_text
from oms.engine.call_health import CallHealth
from oms.engine.dependencies import ServiceDependencies
from oms.engine.health import ServiceHealth
from oms.engine.parking import Failure, task_letter, write_letter
from oms.engine.retries import Failed, Succeeded, bisect
from oms.engine.service import NOT_CALLED, Executor, NotAppliedYet, Runnable, W
from oms.engine.unit_of_work import UnitOfWorkFactory
from oms.ports.call_executor import CallExecutor, Ended, Withdrawn
from oms.ports.errors import OutcomeUnknown, PortError, Retryable
from oms.ports.messages import Cause
from oms.ports.stores.rows import DeadLetter, Delivery, Postponed, Task

GRACE_S = 0.5
"""How long a stopping process waits for calls under way, in seconds; most return sooner."""

Calls = Mapping[str, Callable[[], object]]
"""The outside call of each task, by the task's key."""


class TaskRunner(Runnable, Generic[W]):
    """Runs one service's tasks."""

    def __init__(
        self,
        units: UnitOfWorkFactory[W],
        calls: CallExecutor[Task],
        shared: ServiceDependencies,
        health: ServiceHealth,
        woken: Callable[[], None] = lambda: None,
    ) -> None:
        self._units, self._calls, self._clock, self._ids = units, calls, shared.clock, shared.ids
        self._service = units.service
        self._health = CallHealth(units.service.extension, units.telemetry, health)
        self._lease_s, self._batch, self._look_every_s = shared.task_lease_s, shared.batch, shared.look_every_s
        self._woken = woken
        self._look_at: datetime | None = None
        self._is_woken = False
        self._unfinished: list[Ended[Task]] = []

    def wake(self) -> None:
        """Note that there are new tasks, on any thread."""
        self._is_woken = True
        self._woken()

    def unfinished(self) -> Sequence[Ended[Task]]:
        """Return the calls that ended and whose outcome isn't committed yet."""
        return tuple(self._unfinished)

    def claims_at(self, now: datetime) -> bool:
        """Whether a run at this time (steady time) looks for due tasks in the store."""
        return self._is_woken or self._look_at is None or now >= self._look_at

    def next_look(self) -> datetime | None:
        """When to look for due tasks unless woken before, in steady time; None means at the next run."""
        return self._look_at

    def run_once(self) -> int:
        """Finish the tasks whose calls ended, claim and start those that are due; returns how many of both."""
        if not self._service.executors:
            return 0
        self._health.look(blocked=self._calls.blocked())
        self._unfinished += self._calls.collect()
        tasks = self._claim()
        for kind, executor in self._service.executors.items():
            self._start(executor, [task for task in tasks if task.kind is kind])
        self._unfinished += self._calls.collect()
        return len(tasks) + self._settle_all()

    def give_back(self) -> None:
        """Settle the calls that ended, and release the other tasks, because the process stops.

        A task whose call wasn't made is due at once, and isn't a repeat. A task whose call is under way falls due when
        the call's time limit has passed.
        """
        withdrawn = self._calls.withdraw(GRACE_S)
        self._unfinished += self._calls.collect()
        try:
            self._settle_all()
        finally:
            self._return(withdrawn)

    def _return(self, withdrawn: Sequence[Withdrawn[Task]]) -> None:
        now = self._clock.now()
        later = [Postponed(one.token, now, afresh=not one.token.repeat) for one in withdrawn if one.left_s is None]
        left_s = [one.left_s for one in withdrawn if one.left_s is not None]
        if left_s and math.isfinite(longest_s := max(left_s)):
            returned_at = now + timedelta(seconds=longest_s)
            later += [Postponed(one.token, returned_at) for one in withdrawn if one.left_s is not None]
        if later:
            with self._service.store.begin() as transaction:
                transaction.flush(Delivery(postponed=later))
                transaction.commit()

    def _settle_all(self) -> int:
        finished = 0
        while self._unfinished:
            batch = self._unfinished[: self._batch]
            self._settle(batch)
            del self._unfinished[: len(batch)]
            finished += len(batch)
        return finished

    def _claim(self) -> Sequence[Task]:
        now = self._clock.steady()
        limit = min(self._batch, self._calls.room())
        if limit <= 0 or not self.claims_at(now):
            return ()
        self._is_woken = False  # before the look: a commit from now on is found by the next one
        tasks = self._service.store.claim_tasks(list(self._service.executors), limit, self._lease_s)
        self._look_at = None if len(tasks) == limit else now + timedelta(seconds=self._look_every_s)
        return tasks

    def _start(self, executor: Executor[W], tasks: Sequence[Task]) -> None:
        """Submit the calls of one kind of task; a single task whose call can't be made is parked."""
        for outcome in bisect(tasks, partial(_calls, executor)) if tasks else ():
            match outcome:
                case Succeeded(items, (calls, outage)):
                    self._submit(items, calls, outage)
                case Failed(item, error):
                    self._park(Ended(item, error=error), error)

    def _submit(self, tasks: Sequence[Task], calls: Calls, outage: PortError | None) -> None:
        for task in tasks:
            call = calls.get(task.key)
            if outage is not None:
                self._unfinished.append(Ended(task, error=outage))
            elif call is None:
                self._unfinished.append(Ended(task, answer=NOT_CALLED))
            else:
                self._calls.submit(task, call)

    def _settle(self, ended: Sequence[Ended[Task]]) -> None:
        for outcome in bisect(ended, self._unit):
            if isinstance(outcome, Failed):
                self._park(outcome.item, outcome.error)

    def _unit(self, ended: Sequence[Ended[Task]]) -> None:
        with self._units.open() as unit:
            ours = frozenset(unit.transaction.held_tasks([one.token for one in ended]))
            mine = [one for one in ended if one.token.id in ours]
            for kind, executor in self._service.executors.items():
                executor.load(unit.work, [one.token for one in mine if one.token.kind is kind])
            done = []
            outcomes: list[tuple[Ended[Task], datetime | None]] = []
            for one in mine:
                unit.work.changes.cause = Cause(traceparent=one.token.trace)
                outcome, postponed = self._finished(unit.work, one)
                if postponed is None:
                    done.append(one.token)
                else:
                    unit.work.changes.postponed.append(postponed)
                outcomes.append((outcome, postponed.due_at if postponed is not None else None))
            unit.transaction.finish_tasks(done)
        for one, next_try_at in outcomes:
            self._health.ended(one, next_try_at)
        if unit.work.changes.postponed:
            self._expect(min(one.due_at for one in unit.work.changes.postponed))

    def _finished(self, work: W, one: Ended[Task]) -> tuple[Ended[Task], Postponed | None]:
        """Apply an outcome. If the shop's own code can't apply it yet, the task counts as a failed call."""
        executor = self._service.executors[one.token.kind]
        try:
            return one, executor.finish(work, one)
        except NotAppliedYet as wait:
            failed = Ended(one.token, error=cast("Exception", wait.__cause__))
            return failed, executor.finish(work, failed)

    def _expect(self, due_at: datetime) -> None:
        """Look for tasks at `due_at`, if that is sooner than the next look."""
        if self._look_at is not None:
            self._look_at = min(self._look_at, self._clock.steady() + (due_at - self._clock.now()))

    def _park(self, ended: Ended[Task], error: Exception) -> None:
        """Park a task whose outcome can't be applied: an operator may redrive it."""
        self._health.parked(ended, error)
        task = ended.token
        outcome = ended.error if ended.answer is None else ended.answer
        detail = f"{storable_text(error, 250)} (outcome: {storable_text(outcome, 230)})"
        failure = Failure(error, task.attempts, self._clock.now(), detail)
        letter = task_letter(task, failure, self._service.group, self._ids.token())
        write_letter(letter, partial(self._write, task))

    def _write(self, task: Task, letter: DeadLetter) -> None:
        with self._units.open() as unit:
            if not unit.transaction.finish_tasks([task]):
                return  # the lease was lost: another process has the task
            unit.work.changes.parked.append(letter)
            fields = {"task": task.kind.value, "key": task.key, "cause": letter.cause}
            unit.work.changes.alerts.append(("task parked", fields))


def _calls(executor: Executor[W], tasks: Sequence[Task]) -> tuple[Calls, PortError | None]:
    """Return the calls of some tasks, or the error that is the outcome of all of them."""
    try:
        return executor.calls(tasks), None
    except (Retryable, OutcomeUnknown) as error:
        return {}, error
