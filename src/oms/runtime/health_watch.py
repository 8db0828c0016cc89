"""Watches a running system: probes its servers every second, and detects workers that don't return.

Each server has a probe on a separate thread, so that a probe that hangs doesn't delay the others. These daemon threads
only report to the health record.
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

PROBE_EVERY_S = 1.0
PROBE_AGAIN_S = 0.25
"""Seconds between a failed probe and the next one: short, so that a recovered server is noticed soon."""

FAILURES = 2
"""Failures in a row that count as a problem. A single one may be a lost connection, which the next probe replaces."""

LOOK_EVERY_S = 0.25
ANSWERS_WITHIN_S = 3.0
"""Seconds after which a probe that hasn't returned counts as a problem."""

STACK_LIMIT = 20
"""Number of frames of a stuck thread that are logged."""


@attrs.define
class Activity:
    """The current activity of a thread. `number` increases with each activity and is 0 between activities.

    `ident` identifies the thread, which alone changes this record.
    """

    doing: str = ""
    worker: Worker | None = None
    count: int = 0
    number: int = 0
    ident: int = 0

    def begin(self, doing: str, worker: Worker | None = None) -> None:
        """Begin an activity, of a worker or without one."""
        self.doing, self.worker = doing, worker
        self.count += 1
        self.number = self.count

    def end(self) -> None:
        """End the activity."""
        self.number = 0


Check = tuple[Condition, Callable[[], object]]
"""A condition, and the function that raises while the condition holds."""


@attrs.frozen
class Probe:
    """The checks of one server, which run about once a second in this order; a failed check ends the probe."""

    name: str
    health: ServiceHealth
    checks: Sequence[Check]


@attrs.define
class _Seen:
    number: int = -1
    looks: int = 0


class HealthWatch:
    """Runs the probes, and watches `activities` (by the names of their threads) for workers that don't return."""

    def __init__(
        self,
        record: HealthRecord,
        probes: Sequence[Probe],
        activities: Mapping[str, Activity],
        *,
        stuck_after_s: float,
        telemetry: Telemetry,
    ) -> None:
        self._record, self._probes, self._stuck_after_s = record, probes, stuck_after_s
        self._telemetry = telemetry
        self._probe_activities = {f"{one.health.service} {one.name}": Activity() for one in probes}
        self._activities = dict(activities)
        self._seen: dict[str, _Seen] = {}
        self._stuck: dict[str, str] = {}
        """The service of each stuck thread, by the thread's name."""
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._watch, name="oms-health", daemon=True)]
        for one, activity in zip(probes, self._probe_activities.values(), strict=True):
            name = f"oms-health-{one.health.service}-{one.name}"
            self._threads.append(threading.Thread(target=self._run_probe, args=(one, activity), name=name, daemon=True))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the probes and the watch, without waiting for running probes; their results are ignored."""
        self._stopping.set()

    # -- probes

    def _run_probe(self, probe: Probe, activity: Activity) -> None:
        while not self._stopping.is_set():
            is_well = self._is_well(probe, activity)
            activity.end()
            self._stopping.wait(PROBE_EVERY_S if is_well else PROBE_AGAIN_S)

    def _is_well(self, probe: Probe, activity: Activity) -> bool:
        for condition, check in probe.checks:
            activity.begin(condition.value)
            try:
                check()
            except Exception as error:  # noqa: BLE001 - an unexpected error of a driver is reported as well
                if not self._stopping.is_set():
                    detail = f"{probe.name}: {error}"
                    probe.health.failed(condition, probe.name, detail, opens_after=FAILURES)
                return False
            if not self._stopping.is_set():
                probe.health.succeeded(condition, probe.name)
        return True

    # -- workers that don't return

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            for name, activity in self._activities.items():
                self._look_at(name, activity)
            for probe, (name, activity) in zip(self._probes, self._probe_activities.items(), strict=True):
                doing = activity.doing
                if self._looks(name, activity) * LOOK_EVERY_S >= ANSWERS_WITHIN_S:
                    detail = f"{probe.name}: no answer for {ANSWERS_WITHIN_S:g} s"
                    probe.health.failed(Condition(doing), probe.name, detail, opens_after=1)
            self._record.look()

    def _looks(self, name: str, activity: Activity) -> int:
        """Return how many inspections in a row have found the same activity.

        Counts inspections instead of time, because a process that was stopped for a while isn't stuck.
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
    """Return the stack of a thread, innermost frame last; for the log."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - the documented name
    return "" if frame is None else "".join(traceback.format_stack(frame, STACK_LIMIT))
