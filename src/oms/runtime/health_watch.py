"""Looks after a running system: asks its servers each second, and notices workers that don't return.

Each question has a thread of its own, because one that hangs must not keep the others from being asked. None of these
threads does work: what they saw goes to the record of health, and they end with the process.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence

import attrs

from oms.engine.health import Condition, HealthRecord, ServiceHealth
from oms.engine.worker import Worker
from oms.ports.telemetry import Telemetry

ASK_EVERY_S = 1.0
ASK_AGAIN_S = 0.25
"""After a failure: a server that is back shows at once."""

FAILURES = 2
"""In a row: one lost connection, which the next question replaces, is no problem yet."""

LOOK_EVERY_S = 0.25
ANSWERS_WITHIN_S = 3.0
"""A question that takes longer is a problem although it hasn't failed."""

STACK_LIMIT = 20
"""Frames of a stuck thread that are logged."""


@attrs.define
class Activity:
    """What a thread does at the moment: `number` grows with each thing, and is 0 in between.

    Only the thread itself, `ident`, changes it.
    """

    doing: str = ""
    worker: Worker | None = None
    count: int = 0
    number: int = 0
    ident: int = 0

    def begin(self, doing: str, worker: Worker | None = None) -> None:
        """The next thing begins; `worker` is whose it is."""
        self.doing, self.worker = doing, worker
        self.count += 1
        self.number = self.count

    def end(self) -> None:
        """It is over."""
        self.number = 0


Check = tuple[Condition, Callable[[], object]]
"""What is wrong where this raises."""


@attrs.frozen
class Question:
    """Checks of one server, about once a second, in their order; those after one that fails are left out."""

    name: str
    health: ServiceHealth
    checks: Sequence[Check]


@attrs.define
class _Seen:
    number: int = -1
    looks: int = 0


class HealthWatch:
    """The questions and the watch over `activities`, by the names of their threads."""

    def __init__(
        self,
        record: HealthRecord,
        questions: Sequence[Question],
        activities: Mapping[str, Activity],
        *,
        stuck_after_s: float,
        telemetry: Telemetry,
    ) -> None:
        self._record, self._questions, self._stuck_after_s = record, questions, stuck_after_s
        self._telemetry = telemetry
        self._asking = {f"{one.health.service} {one.name}": Activity() for one in questions}
        self._activities = dict(activities)
        self._seen: dict[str, _Seen] = {}
        self._stuck: dict[str, str] = {}
        """The services for which stuck threads work."""
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._watch, name="oms-health", daemon=True)]
        for one, activity in zip(questions, self._asking.values(), strict=True):
            name = f"oms-health-{one.health.service}-{one.name}"
            self._threads.append(threading.Thread(target=self._ask, args=(one, activity), name=name, daemon=True))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask and look no more. A question that is under way isn't waited for; its answer changes nothing."""
        self._stopping.set()

    # -- questions

    def _ask(self, question: Question, activity: Activity) -> None:
        while not self._stopping.is_set():
            is_well = self._is_well(question, activity)
            activity.end()
            self._stopping.wait(ASK_EVERY_S if is_well else ASK_AGAIN_S)

    def _is_well(self, question: Question, activity: Activity) -> bool:
        for condition, check in question.checks:
            activity.begin(condition.value)
            try:
                check()
            except Exception as error:  # noqa: BLE001 - also of a driver: reported with its cause like any other
                if not self._stopping.is_set():
                    detail = f"{question.name}: {error}"
                    question.health.failed(condition, question.name, detail, opens_after=FAILURES)
                return False
            if not self._stopping.is_set():
                question.health.succeeded(condition, question.name)
        return True

    # -- the watch

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            for name, activity in self._activities.items():
                self._look_at(name, activity)
            for question, (name, activity) in zip(self._questions, self._asking.items(), strict=True):
                doing = activity.doing
                if self._looks(name, activity) * LOOK_EVERY_S >= ANSWERS_WITHIN_S:
                    detail = f"{question.name}: no answer for {ANSWERS_WITHIN_S:g} s"
                    question.health.failed(Condition(doing), question.name, detail, opens_after=1)
            self._record.look()

    def _looks(self, name: str, activity: Activity) -> int:
        """At how many looks in a row the same thing was under way.

        Looks are counted instead of time, because a process that was stopped for a while isn't stuck.
        """
        seen = self._seen.setdefault(name, _Seen())
        number = activity.number
        if number and number == seen.number:
            seen.looks += 1
        else:
            seen.number, seen.looks = number, 0
        return seen.looks

    def _look_at(self, name: str, activity: Activity) -> None:
        waited_s, worker = self._looks(name, activity) * LOOK_EVERY_S, activity.worker
        stuck_in = self._stuck.get(name)
        if worker is None or waited_s < max(self._stuck_after_s, worker.patience_s):
            if stuck_in is not None:
                self._record.succeeded(Condition.WORKER_STUCK, stuck_in, name)
                del self._stuck[name]
        elif stuck_in is None:
            self._stuck[name] = worker.service
            self._telemetry.failure(
                "worker stuck", None, worker=name, step=worker.current, stack=_stack(activity.ident)
            )
            detail = f"the worker {name} hasn't returned from {worker.current} for {waited_s:g} s"
            self._record.failed(Condition.WORKER_STUCK, worker.service, name, detail, opens_after=1)


def _stack(ident: int) -> str:
    """Where a thread is, innermost frame last; for the log alone."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - the documented name
    return "" if frame is None else "".join(traceback.format_stack(frame, STACK_LIMIT))
