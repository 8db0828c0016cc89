"""One schedule from the first order to rest: faults by the tape, then none, then the promises.

The promises that hold at every instant are checked after every step, all others at rest. A world that doesn't come to
rest in its time has broken P6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol

import attrs
from greenlet import greenlet

from oms.adapters.memory import gate_rules
from oms.adapters.memory.call_hooks import WorkerKilled, no_point, raise_deadlock
from oms.application.steps.context import OwnStep
from oms.domain.tasks import TaskKind
from oms.engine.consumer import Consumer
from oms.operations import promises
from oms.operations.promises import Violation
from oms.testing.sim import faults, runnable, state
from oms.testing.sim.own_calls import NOTHING_OWN, OwnCalls
from oms.testing.sim.scope import ANSWERS, CLOCK, GATE, GATEWAY, PAUSES, Scope
from oms.testing.sim.tally import tally
from oms.testing.sim.tape import Deviations, Replay, Tape
from oms.testing.sim.worker import Worker
from oms.testing.sim.world import World

NEXT = "next"
REST = "rest"
TIME = "time passes"
DEADLINE = "time passes to the deadline"
GOES_ON = "goes on"
MOST_STEPS = 3000
MOST_VANISHED = 3
"""How many workers a service may lose in a world: a message whose process vanishes four times is parked, by design.

A worker has vanished where it dies, and where its group gives it up in the middle of a batch."""

YIELDED = object()
_ONLY_FOR = {"inventory": ("inventory",), "order": ("order",), "payment": ("payment",)}


class Listener(Protocol):
    """Who hears what happens: a story, a trace."""

    def drew(self, label: str, option: str) -> None:
        """Something that isn't calm was chosen."""

    def begins(self, run: Run, what: str) -> None:
        """A step, or something else that happens between steps, begins."""

    def ended(self, run: Run, what: str) -> None:
        """It came to its end, or to where it stands still."""

    def reached(self, worker: Worker, place: str) -> None:
        """A worker is at a point."""


@attrs.frozen
class Outcome:
    """What became of one schedule. `steps` counts what happened, `at_s` is how much virtual time passed, in seconds."""

    violations: tuple[Violation, ...]
    deviations: Deviations
    steps: int
    at_s: float
    world: World
    pruned: bool = False
    tally: Counter[str] = attrs.field(factory=Counter)

    @property
    def broken(self) -> str | None:
        """The first promise that doesn't hold."""
        return self.violations[0].promise if self.violations else None


Check = Callable[[], object]
"""What a user's own scenario asserts at rest; an `AssertionError` is a violation."""


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
        self.healed = False
        self.steps = 0
        self.version = 0
        self.vanished: Counter[str] = Counter()
        self.used: dict[str, int] = {}
        self._main = greenlet.getcurrent()
        self.violations: list[Violation] = []
        self._options = Options.of(scope)
        self.world = World(scope, self._gateway_draw, self._points, own, own_calls=own_calls, lose=self._loss_draw)
        for worker in self.world.workers:
            worker.looks = runnable.looks(self.world, worker)
        self.begun_at: datetime = self.world.clock.now()

    def go(self) -> Outcome:
        """Run it to its end."""
        return self._outcome(pruned=True) if self.to_rest() else self.finish()

    def to_rest(self) -> bool:
        """Go on until nothing waits any more, or a promise is broken; whether it met a world that was met before."""
        while not self.violations:
            if self._was_here():
                return True
            if not self.go_on():
                break
        return False

    def go_on(self) -> bool:
        """One step; False where nothing waits any more."""
        if self.steps >= self.scope.steps:
            self.healed = True
        if self.steps >= MOST_STEPS:
            self.violations.append(Violation("P6", "the world", f"has no rest after {self.steps} steps"))
            return False
        return self._step()

    def finish(self, failure: Exception | None = None) -> Outcome:
        """Heal, come to rest and check all promises; `failure` is what a test has found before."""
        if failure is not None and not self.violations:
            self.violations.append(Violation("ASSERTION", "the test", str(failure) or type(failure).__name__))
        self.healed = True
        self.to_rest()
        if not self.violations:
            self._at_rest()
        return self._outcome(pruned=False)

    def _outcome(self, *, pruned: bool) -> Outcome:
        counted = Counter[str]() if pruned else tally(self.world)
        self._drop()
        passed = (self.world.clock.now() - self.begun_at).total_seconds()
        return Outcome(tuple(self.violations), self.tape.deviations, self.steps, passed, self.world, pruned, counted)

    @property
    def between_steps(self) -> bool:
        """Whether no worker stands still in the middle of a step."""
        return all(worker.green is None for worker in self.world.workers)

    @property
    def slots(self) -> Collection[str]:
        """The names of the workers' places."""
        return [worker.slot for worker in self.world.workers]

    # -- one step

    def _step(self) -> bool:
        options = self._what_next()
        if not options:
            return False
        label = options[self.draw(NEXT, options)] if len(options) > 1 else options[0]
        if label == REST:
            return False
        self.steps += 1
        if self._listener is not None:
            self._listener.begins(self, label)
        self._do(label)
        self.world.customers.listen()
        if self._listener is not None:
            self._listener.ended(self, label)
        return True

    def draw(self, label: str, options: Sequence[str]) -> int:
        """A choice: calm once everything is healed."""
        if self.healed:
            return 0
        index = self.tape.draw(label, options)
        if index and self._listener is not None:
            self._listener.drew(label, options[index])
        return index

    def _gateway_draw(self, label: str, options: Sequence[str]) -> int:
        return self.draw(label, options) if GATEWAY in self.scope.faults else 0

    def _loss_draw(self, label: str, options: Sequence[str]) -> int:
        """Whether a call of the shop's own gateway or notifier is lost: like any other answer on its way."""
        return self.draw(label, options) if self.scope.faults & {GATEWAY, ANSWERS} else 0

    @property
    def _calm(self) -> bool:
        """Whether nothing but calm can be drawn from here on."""
        return self.healed or (isinstance(self.tape, Replay) and self.tape.only_calm)

    def _what_next(self) -> tuple[str, ...]:
        """Everything that could happen now, what is calm first; empty at rest."""
        now = self.world.clock.now()
        if self._calm:
            return self._calm_step(now)
        ready_now, asleep = self._workers_ready(now)
        due = runnable.next_due(self.world, now) if not ready_now or CLOCK in self.scope.faults else None
        calm = [*ready_now, *asleep] or ([TIME] if due is not None else [REST])
        options = calm
        if CLOCK in self.scope.faults and due is not None and calm[0] is not TIME:
            options.append(TIME)
        if CLOCK in self.scope.faults and self._deadline() is not None:
            options.append(DEADLINE)
        options += faults.between_steps(self.world, self.used, self._may_vanish)
        return tuple(options)

    def _calm_step(self, now: datetime) -> tuple[str, ...]:
        ready_now, asleep = self._workers_ready(now, first=True)
        if ready_now or asleep:
            return (*ready_now, *asleep)[:1]
        return (TIME,) if runnable.next_due(self.world, now) is not None else ()

    def _workers_ready(self, now: datetime, *, first: bool = False) -> tuple[list[str], list[str]]:
        """What can go on now (or the first of it), and who stands still and goes on only where nobody else does."""
        found = [f"places {name}" for name in self.world.customers.to_ask()]
        asleep: list[str] = []
        for worker in self.world.workers:
            if first and found:
                break
            if worker.green is not None:
                self._standing(worker, now, found, asleep)
                continue
            turning = worker.parts.worker
            retries = turning.retry_times()
            for index, name, look in worker.looks:
                if retries[index] is not None and turning.backs_off(index):
                    continue
                for topic in look(now):
                    label = _name(worker.slot, index, name, topic)
                    if worker.idle.get(label) != self.version:
                        found.append(label)
        return found, asleep

    def _standing(self, worker: Worker, now: datetime, found: list[str], asleep: list[str]) -> None:
        if worker.blocked == self.version:
            return
        if worker.blocked >= 0 or (worker.awake_at is not None and worker.awake_at <= now):
            found.append(f"{worker.slot} {GOES_ON}")
        elif worker.awake_at is None:
            asleep.append(f"{worker.slot} {GOES_ON}")

    def _deadline(self) -> datetime | None:
        due: datetime | None = self.world.records["order"].first_due(TaskKind.DEADLINE)
        return due if due is not None and due > self.world.clock.now() else None

    def _may_vanish(self, worker: Worker) -> bool:
        return self.vanished[worker.service] < MOST_VANISHED

    # -- what happens

    def _do(self, label: str) -> None:
        place = _PLACES.get(label)
        if place is not None:
            self._run_step(label, place)
            return
        what, _, rest = label.partition(" ")
        if rest == GOES_ON:
            self._go_on(self._worker(what))
            return
        self.version += 1
        if what == "places":
            self.world.customers.place(rest)
        elif label == TIME:
            due = runnable.next_due(self.world, self.world.clock.now())
            if due is not None:
                self.world.clock.set(due)
        elif label == DEADLINE:
            self.world.clock.set(self._deadline() or self.world.clock.now())
        else:
            self.used[label] = self.used.get(label, 0) + 1
            self._harm(label)

    def _go_on(self, worker: Worker) -> None:
        waited = worker.blocked >= 0
        self._slice(worker)
        if waited and worker.blocked >= 0:
            worker.blocked = self.version  # it waits on, and has done nothing that another one could wait for
        else:
            self.version += 1

    def _harm(self, label: str) -> None:
        world = self.world
        what, _, rest = label.partition(" ")
        match what:
            case "crash":
                self._crash(self._worker(rest))
            case "evict":
                self._evict(self._worker(rest))
            case "repeat":
                faults.repeat(world, rest)
            case "garbage":
                world.log.append("payment.success", b'{"orderId": 1', b"x", ())
            case "forge":
                faults.forge(world, *rest.split(" "))
            case "flush":
                faults.flush(world)
            case "lose":
                faults.lose_tail(world)
            case "set":
                world.clock.advance(timedelta(seconds=-5))
            case "customer" | "operator":
                world.customers.cancel(rest.partition(" ")[2], by_operator=what == "operator")

    def _worker(self, slot: str) -> Worker:
        return next(worker for worker in self.world.workers if worker.slot == slot)

    def _run_step(self, label: str, place: tuple[str, int, str]) -> None:
        slot, index, topic = place
        worker = self._worker(slot)
        step = worker.parts.worker.steps[index]
        worker.handles = isinstance(step, Consumer)
        if isinstance(step, Consumer):
            runnable.begin_with(worker.subscription, topic)
        if worker.service == "inventory" and GATE in self.scope.faults:
            self.world.gate_before = gate_rules.copied(self.world.gate.state)
        worker.green = greenlet(worker.parts.worker.run_step)
        if not self._slice(worker, index):
            worker.idle[label] = self.version
        elif worker.green is not None:  # what it did until it stands still may be news to others
            self.version += 1
            worker.blocked = self.version if worker.blocked >= 0 else -1

    def _slice(self, worker: Worker, *index: int) -> int:
        """Run a worker until its step ends, it stands still, waits for a lock, or dies; 0 where nothing moved."""
        green = worker.green
        worker.paused, worker.awake_at, worker.blocked = False, None, -1
        try:
            moved = green.switch(*index)  # type: ignore[union-attr]
        except WorkerKilled:
            self._replace(worker)
            return 1
        except Exception as error:  # noqa: BLE001 - the worker's own failure is what is looked for
            self.violations.append(Violation("FAILED", worker.slot, f"{type(error).__name__}: {error}"))
            return 1
        if moved is YIELDED:
            return 1
        worker.green = None
        if moved:
            self.version += 1
        self.violations += promises.at_every_instant(self.world.evidence, _ONLY_FOR.get(worker.service, ()))
        return int(moved)

    def _crash(self, worker: Worker) -> None:
        """The ports die first, so that what runs while the step is dropped reaches nothing."""
        self.world.kill(worker)
        if worker.green is not None:
            with suppress(WorkerKilled):
                worker.green.throw(WorkerKilled(worker.owner))
        self._replace(worker)

    def _evict(self, worker: Worker) -> None:
        self.vanished[worker.service] += faults.has_batch(worker)
        self.world.log.evict(worker.owner)

    def _replace(self, worker: Worker) -> None:
        self.version += 1
        self.vanished[worker.service] += 1
        worker.stale, worker.green = True, None
        index = self.world.workers.index(worker)
        new = self.world.workers[index] = self.world.start(worker.slot, worker.service)
        new.looks = runnable.looks(self.world, new)

    def _drop(self) -> None:
        """Nothing of a run outlives it."""
        for worker in self.world.workers:
            if worker.green is not None:
                self.world.kill(worker)
                with suppress(WorkerKilled):
                    worker.green.throw(WorkerKilled(worker.owner))

    # -- between two calls

    def _points(self, worker: Worker) -> tuple[Callable[[str], None], Callable[[str], None]]:
        def blocked(_what: str) -> None:
            if worker.green is None:
                raise_deadlock(_what)
            worker.blocked = self.version
            self._main.switch(YIELDED)

        if not self.scope.fine and self._listener is None:
            return no_point, blocked

        options = self._options

        def point(place: str) -> None:
            if worker.green is None:
                return
            if self._listener is not None:
                self._listener.reached(worker, place)
            if self.healed:
                return
            found = options[place]
            if len(found) < 2:
                return
            if not self._may_vanish(worker):
                found = tuple(option for option in found if option not in (faults.DIES, faults.SLEEPS))
            index = self.draw(f"at {worker.slot} {place}", found)
            if index:
                self._at_point(worker, place, found[index])

        return point, blocked

    def _at_point(self, worker: Worker, place: str, what: str) -> None:
        if what == faults.DIES:
            self.world.kill(worker)
            raise WorkerKilled(worker.owner)
        if what in (faults.FAILS, faults.LOST):
            raise faults.failure(place, what)
        worker.paused = True
        if what == faults.SLEEPS:
            worker.awake_at = self.world.clock.now() + timedelta(seconds=faults.ASLEEP_S)
            self._evict(worker)
        self._main.switch(YIELDED)

    # -- the end

    def _was_here(self) -> bool:
        if self.visited is None or not isinstance(self.tape, Replay) or not self.tape.played_out:
            return False
        return self.between_steps and self.visited(state.state_of(self.world, self.used))

    def _at_rest(self) -> None:
        world = self.world
        report = promises.check(
            world.evidence,
            world.codec,
            now=world.clock.now(),
            deadline_s=self.scope.deadline_s,
            settle_s=self.scope.settle_s,
            quiet=True,
        )
        self.violations += report.violations
        self.violations += state.unexpected(world)
        if self._check is not None:
            try:
                self._check()
            except AssertionError as error:
                self.violations.append(Violation("ASSERTION", "the test", str(error) or "failed"))


_PLACES: dict[str, tuple[str, int, str]] = {}
_NAMES: dict[tuple[str, int, str], str] = {}


def _name(slot: str, index: int, step: str, topic: str) -> str:
    """`payment-1 Consumer inventory.reserved`; made once for all runs."""
    key = (slot, index, topic)
    name = _NAMES.get(key)
    if name is None:
        name = _NAMES[key] = f"{slot} {step} {topic}".rstrip()
        _PLACES[name] = key
    return name


class Options(dict[str, tuple[str, ...]]):
    """What can happen at each point, found once for all runs of equal scopes."""

    _known: ClassVar[dict[Any, Options]] = {}

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._scope = scope

    @classmethod
    def of(cls, scope: Scope) -> Options:
        """Those of a scope."""
        return cls._known.setdefault((scope.faults, scope.all_points), cls(scope))

    def __missing__(self, place: str) -> tuple[str, ...]:
        found = self[place] = faults.at_point(self._scope, place)
        return found


__all__ = ["PAUSES", "Listener", "Outcome", "Run"]
