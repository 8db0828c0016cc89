"""Runs one schedule from the first order to rest: with the tape's faults, then without faults; then checks promises.

Promises that must hold at all times are checked after every step, the others at rest, that is, when no work is left. A
system that doesn't come to rest in time has broken P6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from oms.application.steps.context import OwnStep
from oms.operations import promises
from oms.operations.promises import Violation
from oms.testing.sim import state
from oms.testing.sim.execution import Execution
from oms.testing.sim.gateway import REFUSES
from oms.testing.sim.next_steps import REST, NextSteps, Progress
from oms.testing.sim.outcome import Check, Listener, Outcome
from oms.testing.sim.own_calls import NOTHING_OWN, OwnCalls
from oms.testing.sim.part_checks import part_violations
from oms.testing.sim.points import Points
from oms.testing.sim.scope import ANSWERS, GATEWAY, Scope
from oms.testing.sim.simulated_system import SimulatedSystem
from oms.testing.sim.tally import tally
from oms.testing.sim.tape import Replay, Tape
from oms.testing.sim.worker import Worker

NEXT = "next"
MOST_STEPS = 3000


class Run:
    """One schedule."""

    def __init__(
        self,
        scope: Scope,
        tape: Tape,
        *,
        own: Mapping[str, OwnStep] | None = None,
        own_calls: OwnCalls = NOTHING_OWN,
        check: Check | None = None,
        visited: Callable[[int], bool] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.scope, self.tape, self.visited = scope, tape, visited
        self._check, self._listener = check, listener
        self.steps = 0
        self._progress = Progress()
        points = Points(scope, self._progress, self.draw, self._evict, listener)
        self.system = SimulatedSystem(
            scope, self._gateway_draw, points.hooks, own, own_calls=own_calls, lose=self._loss_draw
        )
        points.system = self.system
        self._following = NextSteps(self.system, self._progress)
        self._execution = Execution(self.system, self._progress, self._following)
        self.begun_at: datetime = self.system.clock.now()

    def go(self) -> Outcome:
        """Run the schedule to its end."""
        return self._outcome(pruned=True) if self.to_rest() else self.finish()

    def to_rest(self) -> bool:
        """Go on until the system is at rest or a promise is broken; returns whether it met a known state instead."""
        while not self.violations:
            if self._was_here():
                return True
            if not self.go_on():
                break
        return False

    def go_on(self) -> bool:
        """Make one step; returns False at rest."""
        if self.steps >= self.scope.steps:
            self._progress.is_healed = True
        if self.steps >= MOST_STEPS:
            self.violations.append(Violation("P6", "the system", f"has no rest after {self.steps} steps"))
            return False
        return self._step()

    def finish(self, failure: Exception | None = None) -> Outcome:
        """Turn faults off, come to rest and check all promises; `failure` is the test's exception."""
        if failure is not None and not self.violations:
            self.violations.append(Violation("ASSERTION", "the test", str(failure) or type(failure).__name__))
        self._progress.is_healed = True
        self.to_rest()
        if not self.violations:
            self._at_rest()
        return self._outcome(pruned=False)

    def changed(self) -> None:
        """Note that the system was changed from outside, so that steps which had nothing to do are tried again."""
        self._progress.version += 1

    @property
    def violations(self) -> list[Violation]:
        """The broken promises so far."""
        return self._execution.violations

    @property
    def between_steps(self) -> bool:
        """Whether no worker is paused in the middle of a step."""
        return all(worker.green is None for worker in self.system.workers)

    @property
    def slots(self) -> Collection[str]:
        """The names of the workers' slots."""
        return [worker.slot for worker in self.system.workers]

    def draw(self, label: str, options: Sequence[str]) -> int:
        """Draw one of the options from the tape; the calm one, which is the first, once faults are off."""
        if self._progress.is_healed:
            return 0
        index = self.tape.draw(label, options)
        if index and self._listener is not None:
            self._listener.drew(label, options[index])
        return index

    def _gateway_draw(self, label: str, options: Sequence[str]) -> int:
        may_fail = GATEWAY in self.scope.faults or REFUSES in options
        return self.draw(label, options) if may_fail else 0

    def _loss_draw(self, label: str, options: Sequence[str]) -> int:
        """Draw whether a call of the shop's own gateway or notifier, or its response, is lost."""
        return self.draw(label, options) if self.scope.faults & {GATEWAY, ANSWERS} else 0

    def _evict(self, worker: Worker) -> None:
        self._execution.evict(worker)

    def _step(self) -> bool:
        options = self._following.calm() if self._is_calm else self._following.all()
        if not options:
            return False
        label = options[self.draw(NEXT, options)] if len(options) > 1 else options[0]
        if label == REST:
            return False
        self.steps += 1
        if self._listener is not None:
            self._listener.begins(self, label)
        self._execution.do(label)
        self.system.customers.listen()
        self.system.operators.listen()
        if self._listener is not None:
            self._listener.ended(self, label)
        return True

    @property
    def _is_calm(self) -> bool:
        """Whether only calm choices can be drawn from here on."""
        return self._progress.is_healed or (isinstance(self.tape, Replay) and self.tape.only_calm)

    def _was_here(self) -> bool:
        if self.visited is None or not isinstance(self.tape, Replay) or not self.tape.played_out:
            return False
        return self.between_steps and self.visited(state.state_of(self.system, self._progress.used))

    def _at_rest(self) -> None:
        system = self.system
        report = promises.check(
            system.evidence,
            system.codec,
            now=system.clock.now(),
            deadline_s=self.scope.deadline_s,
            settle_s=self.scope.settle_s,
            quiet=True,
        )
        self._execution.violations += report.violations
        self._execution.violations += state.unexpected(system)
        self._execution.violations += part_violations(system)
        if self._check is not None:
            try:
                self._check()
            except AssertionError as error:
                self.violations.append(Violation("ASSERTION", "the test", str(error) or "failed"))

    def _outcome(self, *, pruned: bool) -> Outcome:
        counted = Counter[str]() if pruned else tally(self.system)
        self._execution.drop()
        passed = (self.system.clock.now() - self.begun_at).total_seconds()
        return Outcome(tuple(self.violations), self.tape.deviations, self.steps, passed, self.system, pruned, counted)
