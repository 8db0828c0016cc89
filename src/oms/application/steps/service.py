"""Turns a user's own step into a service, and runs its outside calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import attrs

from oms.application.extensions.calling import called
from oms.application.steps.context import OutsideCall, OwnStep, StepContext, StepHandler
from oms.application.steps.work import DeclaredTopics, Document, StepWork
from oms.domain.errors import OmsError
from oms.domain.tasks import TaskKind, call_of
from oms.domain.values import OrderId
from oms.engine.group_start import start_offsets
from oms.engine.retries import next_try
from oms.engine.service import NotAppliedYet, Service
from oms.ports.call_executor import Ended
from oms.ports.clock import Clock
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.ports.messages import AnyEvent
from oms.ports.stores.rows import Postponed, Task
from oms.ports.stores.steps import StepStore, StepTransaction
from oms.ports.stores.store import Transaction
from oms.ports.telemetry import Telemetry

UNKNOWN_CALL_ATTEMPTS = 10
"""Attempts before a call that this process doesn't know is parked: about two minutes. During a rolling upgrade, that is
the time in which a process of the version that knows the call can take it over."""


@attrs.frozen
class StepCalls:
    """Task CALL: runs the outside calls of one step."""

    known: Mapping[str, OutsideCall]

    def calls(self, tasks: Sequence[Task]) -> Mapping[str, Callable[[], object]]:
        """Return one call for each task."""
        return {task.key: self._call(task) for task in tasks}

    def load(self, work: StepWork, tasks: Sequence[Task]) -> None:
        """Lock the documents that `then` may change."""
        work.lock({call_of(task.key)[1] for task in tasks})

    def finish(self, work: StepWork, ended: Ended[Task]) -> Postponed | None:
        """Pass the result to `then`, or postpone the task."""
        task = ended.token
        if isinstance(ended.error, Permanent) or self._stays_unknown(ended):
            raise cast("Exception", ended.error)
        if ended.error is not None:
            note = type(ended.error).__name__
            return Postponed(task, next_try(work.now, task.attempts), note=note)
        name, order_id = call_of(task.key)
        then, step = self.known[name].then, StepContext(work, OrderId(order_id), task.key)
        savepoint = work.savepoint()
        try:
            called(f"then of call {name!r}", then, ended.answer, step)
        except (Retryable, OutcomeUnknown) as error:
            work.roll_back(savepoint)
            raise NotAppliedYet from error
        return None

    def _call(self, task: Task) -> Callable[[], object]:
        name, order_id = call_of(task.key)
        known = self.known.get(name)
        if known is None:
            return partial(_refuse_unknown, name)
        payload = cast("Document", json.loads(task.payload or "{}"))
        return partial(called, f"run of call {name!r}", known.run, OrderId(order_id), payload)

    def _stays_unknown(self, ended: Ended[Task]) -> bool:
        return isinstance(ended.error, UnknownCall) and ended.token.attempts >= UNKNOWN_CALL_ATTEMPTS


class UnknownCall(OmsError):
    """A task names a call that the step in this process doesn't have."""


def _refuse_unknown(name: str) -> None:
    raise UnknownCall(f"this version of the step has no outside call {name!r}")


def step_service(store: StepStore, clock: Clock, telemetry: Telemetry, group: str, step: OwnStep) -> Service[StepWork]:
    """Make the service of a user's step."""
    calls = step.calls
    declared = DeclaredTopics(group, step.publishes, partial(_warn_of_undeclared, telemetry, group))

    def open_work(transaction: Transaction) -> StepWork:
        return StepWork(cast("StepTransaction", transaction), group, clock.now(), declared, frozenset(calls))

    def handled_by(handler: StepHandler) -> Callable[[AnyEvent, StepWork], None]:
        return lambda event, work: _run(handler, event, work)

    routes = {topic: handled_by(handler) for topic, handler in step.handlers.items()}
    executors = {TaskKind.CALL: StepCalls(calls)}
    return Service(
        group,
        group,
        store,
        routes,
        open_work,
        executors,
        extension=f"step:{group}",
        own_handlers=True,
        starts=lambda broker: start_offsets(store, broker, telemetry, group, step.since),
    )


def _warn_of_undeclared(telemetry: Telemetry, group: str, topic: str) -> None:
    advice = f"add publishes=[{topic!r}] to app.subscribe(..., group={group!r}); the next release refuses the event"
    telemetry.failure("undeclared topic", None, step=group, topic=topic, detail=advice)


def _run(handler: StepHandler, event: AnyEvent, work: StepWork) -> None:
    """Run a handler; if it fails, undo its changes to the unit of work."""
    savepoint = work.savepoint()
    try:
        called("the handler", handler, event, StepContext(work, event.order_id, event.topic))
    except BaseException:
        work.roll_back(savepoint)
        raise
