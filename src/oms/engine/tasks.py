"""Runs what is owed: claim by lease, call outside of any transaction, finish by compare-and-set in groups.

A lease that lapsed means that the call's outcome is unknown: whoever claims the task next knows that it repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Generic, cast

from oms.domain.text import storable_text
from oms.engine.call_health import CallHealth
from oms.engine.health import HealthRecord, ServiceHealth
from oms.engine.parking import last_resort, task_letter, without_texts
from oms.engine.service import NOT_CALLED, Executor, NotAppliedYet, W
from oms.engine.unit_of_work import UnitOfWorkFactory
from oms.ports.call_executor import CallExecutor, Ended, Withdrawn
from oms.ports.clock import Clock, Ids
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.ports.messages import Cause
from oms.ports.stores.rows import DeadLetter, Delivery, Postponed, Task

LOOK_EVERY_S = 1.0
"""How often to look for tasks that fell due and that nobody announced: deadlines, and others' lapsed leases."""


GRACE_S = 0.5
"""How long a stopping process waits for calls under way; most answer in less."""


class TaskRunner(Generic[W]):
    """One service's tasks."""

    def __init__(
        self,
        units: UnitOfWorkFactory[W],
        calls: CallExecutor[Task],
        clock: Clock,
        ids: Ids,
        *,
        lease_s: float = 30.0,
        batch: int = 500,
        look_every_s: float = LOOK_EVERY_S,
        woken: Callable[[], None] = lambda: None,
        health: ServiceHealth | None = None,
    ) -> None:
        self._units, self._calls, self._clock, self._ids = units, calls, clock, ids
        self._service = units.service
        health = health or HealthRecord(clock, units.telemetry).of(units.service.name)
        self._health = CallHealth(units.service.extension, units.telemetry, health)
        self._lease_s, self._batch, self._look_every_s = lease_s, batch, look_every_s
        self._woken = woken
        self._look_at: datetime | None = None
        self._news = False
        self._unfinished: list[Ended[Task]] = []

    def wake(self) -> None:
        """There are new tasks; may be told on any thread."""
        self._news = True
        self._woken()

    def run_once(self) -> int:
        """Finish what came back, claim and start what is due; answers how many tasks moved."""
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
        """The process stops: settle the calls that ended, and let another process have the other tasks.

        A task whose call wasn't made is due at once, and has called nobody. One whose call is under way falls due when
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
            over = now + timedelta(seconds=longest_s)
            later += [Postponed(one.token, over) for one in withdrawn if one.left_s is not None]
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
        if limit <= 0 or not (self._news or self._look_at is None or now >= self._look_at):
            return ()
        self._news = False  # before the look: whoever commits from now on is seen by the next one
        tasks = self._service.store.claim_tasks(list(self._service.executors), limit, self._lease_s)
        self._look_at = None if len(tasks) == limit else now + timedelta(seconds=self._look_every_s)
        return tasks

    def _start(self, executor: Executor[W], tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        try:
            calls = executor.calls(tasks)
        except (Retryable, OutcomeUnknown) as error:
            self._unfinished += [Ended(task, error=error) for task in tasks]
            return
        except Exception as error:  # noqa: BLE001 - halved until it is one task, which is parked
            if len(tasks) == 1:
                self._park(Ended(tasks[0], error=error), error)
                return
            middle = len(tasks) // 2
            self._start(executor, tasks[:middle])
            self._start(executor, tasks[middle:])
            return
        for task in tasks:
            call = calls.get(task.key)
            if call is None:
                self._unfinished.append(Ended(task, answer=NOT_CALLED))
            else:
                self._calls.submit(task, call)

    def _settle(self, ended: Sequence[Ended[Task]]) -> None:
        try:
            self._unit(ended)
        except (Retryable, OutcomeUnknown):
            raise
        except Exception as error:  # noqa: BLE001 - halved until it is one task, which is parked
            if len(ended) == 1:
                self._park(ended[0], error)
                return
            middle = len(ended) // 2
            self._settle(ended[:middle])
            self._settle(ended[middle:])

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
        """Apply an outcome; one that a shop's own code can't apply yet becomes a failed call of its own task."""
        executor = self._service.executors[one.token.kind]
        try:
            return one, executor.finish(work, one)
        except NotAppliedYet as wait:
            failed = Ended(one.token, error=cast("Exception", wait.__cause__))
            return failed, executor.finish(work, failed)

    def _expect(self, due_at: datetime) -> None:
        """Look when what was postponed here falls due, if that is sooner than the next look."""
        if self._look_at is not None:
            self._look_at = min(self._look_at, self._clock.steady() + (due_at - self._clock.now()))

    def _park(self, ended: Ended[Task], error: Exception) -> None:
        """Its outcome can't be applied: an operator must look, and may redrive the task."""
        self._health.parked(ended, error)
        task = ended.token
        outcome = ended.error if ended.answer is None else ended.answer
        detail = f"{storable_text(error, 250)} (outcome: {storable_text(outcome, 230)})"
        letter = task_letter(task, error, detail, self._service.group, self._ids.token(), self._clock.now())
        try:
            self._write(task, letter)
        except (Retryable, OutcomeUnknown):
            raise
        except Exception as refusal:  # noqa: BLE001 - of the letter: its texts are left out
            last_resort(lambda: self._write(task, without_texts(letter)), refusal)

    def _write(self, task: Task, letter: DeadLetter) -> None:
        with self._units.open() as unit:
            if not unit.transaction.finish_tasks([task]):
                return  # the lease was lost: another process has the task
            unit.work.changes.parked.append(letter)
            fields = {"task": task.kind.value, "key": task.key, "cause": letter.cause}
            unit.work.changes.alerts.append(("task parked", fields))
