"""`App`: a system, or some of its services, in this process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import attrs

from oms.application.steps.context import OutsideCall, OwnStep, StepHandler
from oms.application.use_cases.dead_letters import DeadLetterUseCases
from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.place_order import OrderChecks
from oms.application.use_cases.stock import StockUseCases
from oms.bootstrap.authentication import authentication_of, untrusted_prices
from oms.bootstrap.container import Container, close_opened
from oms.bootstrap.opened import close_one
from oms.bootstrap.servers import check_servers, topics_of
from oms.bootstrap.store_pins import pin_settings, register
from oms.bootstrap.subscriptions import Subscription, with_subscription
from oms.bootstrap.system import SERVICES, System, build, evidence_of
from oms.domain.commands import PlaceOrder
from oms.domain.errors import OmsError
from oms.domain.events import BY_TOPIC
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.engine.assembly import ServiceAssembly
from oms.engine.group_start import DEFAULT, Since
from oms.engine.health import PROCESS, Condition, HealthRecord, HealthReport, Problem
from oms.ports.errors import Retryable
from oms.ports.evidence import Evidence
from oms.ports.extensions import Authentication, Authenticator
from oms.ports.telemetry import Telemetry
from oms.runtime.dependency_probes import probes
from oms.runtime.health_watch import HealthWatch, Probe
from oms.runtime.runner import Runner, driven_apart, driven_in_lanes, driven_together
from oms.runtime.startup import WaitingStart
from oms.settings import Settings

STOP_TIMEOUT_S = 8.0


_DRIVEN = {"memory": driven_together, "embedded": driven_apart, "distributed": driven_in_lanes}


_PATIENCE = 500
"""Rounds without progress after which a command fails if no thread drives its service."""


class App:
    """A system of four services and the user's own steps.

    `with app:` (or `start` and `stop`) runs the services on threads. Without these threads, messages and tasks are
    handled only inside `run`, as tests need it; a command then runs in the calling thread.

    After `stop`, the app can be started again. It belongs to the process that first used it: in a process that was
    forked afterwards, every use raises `OmsError`, because threads, connections and file locks aren't inherited.
    """

    def __init__(self, container: Container, services: Collection[str] | None = None) -> None:
        self._container = container
        self._services = services
        self._waiting: WaitingStart | None = None
        self._warned: list[str] = []
        self._own: dict[str, OwnStep] = {}
        self._system: System | None = None
        self._pinned_system: System | None = None
        self._building = threading.Lock()
        self._driving = threading.RLock()
        self._orders: tuple[ServiceAssembly[Any], OrderUseCases] | None = None
        self._authenticator: Authenticator | None = None
        self._runner: Runner | None = None
        self._hangs = False
        """Whether a worker hadn't ended at the last stop."""
        self._process: int | None = None
        """The id of the process that first used the app; None before the first use."""
        self._watch: HealthWatch | None = None
        self.settings: Settings = container.settings()
        self.currency = Currency.of(self.settings.currency)

    # -- composition

    def subscribe(
        self,
        topic: str,
        *,
        group: str,
        handler: StepHandler,
        calls: Mapping[str, OutsideCall] | None = None,
        publishes: Collection[str] = (),
        since: Since = DEFAULT,
        foreign: bool = False,
    ) -> None:
        """Call `handler(event, step)` for each message of a topic; its effects happen exactly once.

        `group` is the step's consumer group: it has its own offsets, documents and dead letters, and all its handlers
        share the documents. `calls` are the outside calls that its handlers may start by name. `publishes` are the
        topics to which its handlers and calls publish; `oms setup` creates them.

        A new group begins at the first message that the log still has of the topic or, with `since="now"`, after the
        last one; it reads partitions that are added later from their beginning. An existing group continues at its
        committed offsets. Call `subscribe` before the system is first used.

        Raises `OmsError` for a name that Kafka, a database or a file system can't take, for a function that the step
        couldn't call (an async one, for instance), and for a topic whose name looks like a misspelt topic of this
        system. `foreign=True` states that the topic belongs to another system despite its similar name.
        """
        if self._system is not None:
            raise OmsError("subscribe before the system is used")
        wanted = Subscription(topic, group, handler, calls or {}, publishes, since, foreign)
        self._own[group] = with_subscription(self._own, wanted)

    @property
    def container(self) -> Container:
        """The container with the objects of this system, for `oms repair`."""
        return self._container

    @property
    def own_steps(self) -> Mapping[str, OwnStep]:
        """The user's own steps by group."""
        return dict(self._own)

    @property
    def services(self) -> Collection[str]:
        """The names of the services and steps that run here."""
        return self._services if self._services is not None else (*SERVICES, *self._own)

    @property
    def system(self) -> System:
        """The services and steps, built on first use; raises `Retryable` while the app waits for its servers."""
        self._enter_process()
        if self._system is None:
            if self._waiting is not None and not self._waiting.starts_here:
                raise Retryable("the system is starting")
            with self._building:  # a second system would join the groups and get partitions that it never reads
                if self._system is None:
                    self._system = build(self._container, self.own_steps, self._services)
        return self._system

    # -- use cases and records

    @property
    def orders(self) -> OrderUseCases:
        """Place, cancel and look up orders."""
        assembly = self._pinned().order
        if self._orders is None or self._orders[0] is not assembly:  # cached, because every request reads it
            made = self._container
            checks = OrderChecks(made.pricing(), made.policy(), self.telemetry)
            self._orders = assembly, OrderUseCases.of(assembly, made.ids(), self.drive, self.currency, checks)
        return self._orders[1]

    @property
    def stock(self) -> StockUseCases:
        """Show, set and add stock."""
        return StockUseCases(self._pinned().inventory, self._container.ids(), self.drive)

    @property
    def dead_letters(self) -> DeadLetterUseCases:
        """List, redrive and discard dead letters."""
        return DeadLetterUseCases(self.system.assemblies, self.drive)

    @property
    def authenticator(self) -> Authenticator:
        """Identifies the caller of each HTTP request."""
        if self._authenticator is None:
            self._authenticator = self._container.authenticator()
        return self._authenticator

    @property
    def authentication(self) -> Authentication:
        """The kind of authentication that this system requires of callers."""
        return authentication_of(self.authenticator)

    @property
    def telemetry(self) -> Telemetry:
        """Log lines, metrics and alerts."""
        found: Telemetry = self._container.telemetry()
        return found

    @property
    def evidence(self) -> Evidence:
        """All records, for `oms.verify`."""
        return evidence_of(self.system, self.own_steps)

    def money(self, amount: Decimal | int | str) -> Money:
        """Return an amount in the system's currency."""
        return Money.of(amount, self.currency)

    def draft(
        self,
        user_id: str,
        amount: Decimal | int | str,
        items: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        lines: Iterable[OrderLine] | None = None,
        charges: Iterable[OrderCharge] = (),
    ) -> PlaceOrder:
        """Return a checked command for `orders.place`, of either `items` or `lines`; raises `InvalidValue`."""
        return PlaceOrder.of(user_id, self.money(amount), items, metadata, lines=lines, charges=charges)

    def make_extensions(self) -> None:
        """Make the extensions that the services of this process use, so that a wrong one raises `SettingsError` now.

        Without this call they are made on first use. If one can't be made, those made before it are closed.
        """
        self._enter_process()
        uses = {"order": ("pricing", "policy"), "notification": ("notifier",), "payment": ("gateway",)}
        try:
            _ = self.authenticator
            for service, names in uses.items():  # the gateway last: the simulated one makes files
                for name in names if service in self.services else ():
                    getattr(self._container, name)()
        except BaseException:
            self._close_extensions()
            raise

    # -- running

    def start_when_reachable(self) -> None:
        """Start in the background, once every required server responds; `problems` names those that don't."""
        self._ensure_stopped()
        self._waiting = WaitingStart(self._start_problems, self._start, self._still_waiting, self._failed)
        self._report_start(self._waiting.problems)
        self._waiting.begin()

    def start(self) -> None:
        """Start the threads that run the services; also possible again after `stop`.

        Raises `OmsError` if the system runs already, or if a worker of the last run hasn't ended. If the start fails,
        everything that it opened is closed.
        """
        self._ensure_stopped()
        self._start()

    def stop(self) -> None:
        """Finish or roll back current work, release leases and partitions, and close everything, within 10 s."""
        if self._is_forked:  # its threads run in the other process, which also owns its connections
            return
        if self._watch is not None:
            self._watch.stop()
        if self._waiting is not None:
            self._waiting.give_up(STOP_TIMEOUT_S)
        if self._runner is not None:
            self._hangs = not self._runner.stop(STOP_TIMEOUT_S)
        system = self._system
        if system is not None:
            stopping = Retryable("the system is stopping")
            for assembly in system.assemblies.values():
                assembly.commands.refuse_all(stopping)
        if not self._hangs:
            self._close(system)
        self._runner = self._waiting = self._watch = None
        self.health_record.forget()

    def run(self) -> int:
        """Handle messages and tasks in this thread until none is due now; return how many were handled."""
        moved, system = 0, self._pinned()
        while True:
            step = sum(assembly.worker.run_once() for assembly in system.assemblies.values())
            if step == 0:
                return moved
            moved += step

    def next_due(self) -> datetime | None:
        """Return when the next waiting task or event falls due; None if none waits."""
        waits = [assembly.next_due() for assembly in self.system.assemblies.values()]
        return min((due for due in waits if due is not None), default=None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- for operators

    def health(self) -> HealthReport:
        """Return all current problems: those that make the system not ready, and those that don't. Doesn't block."""
        report = self.health_record.report()
        if self._is_forked or (self._runner is None and not report.not_ready):
            why = _FORKED if self._is_forked else "not started"
            stopped = Problem(Condition.STARTING, PROCESS, "", why, self._container.clock().now(), 1)
            return attrs.evolve(report, not_ready=(stopped,))
        return report

    @property
    def health_record(self) -> HealthRecord:
        """The record to which every component reports failures and successes."""
        found: HealthRecord = self._container.health()
        return found

    def problems(self) -> Sequence[str]:
        """Return one line for each reason why the system isn't ready; empty if it is ready."""
        return [problem.text for problem in self.health().not_ready]

    def degraded(self) -> Sequence[str]:
        """Return one line for operators for each failing extension or outside call of the shop; empty if none fails.

        The system does all its other work meanwhile. A gateway, notifier or outside call of a step is listed after
        three failures in a row, or three seconds after the first one, until a call succeeds.
        """
        return [problem.text for problem in self.health().degraded]

    @property
    def failed(self) -> bool:
        """Whether a worker has failed permanently; the process should end."""
        if self._waiting is not None and self._waiting.failed:
            return True
        return self._runner is not None and self._runner.failure is not None

    def oldest_work_s(self) -> float:
        """Return the age, in seconds, of the oldest order that waits for inventory, or event that isn't published."""
        return self.system.order.pulse.oldest_s()

    def metrics(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return self.telemetry.render_metrics()

    # -- internals

    def replace_service(self, name: str) -> None:
        """Build one service again, as in a new process of it, and keep the others. For tests of restarts."""
        system = self.system
        self.health_record.forget(name)
        made = build(self._container, self.own_steps, {name})
        self._system = attrs.evolve(system, assemblies={**system.assemblies, **made.assemblies})

    def drive(self, assembly: ServiceAssembly[Any], future: Future[Any]) -> None:
        """Run the command groups of a service until `future` is done, unless its threads do so."""
        self._enter_process()
        if self._runner is not None:
            if not self._runner.running:
                raise Retryable("the system has stopped")
            return
        self._pinned()
        with self._driving:  # a service isn't thread-safe
            for _ in range(_PATIENCE):
                if not future.done() and assembly.advance_commands() == 0 and not future.done():
                    time.sleep(0.01)
                if future.done():
                    return
        raise Retryable("the store can't be reached")

    @property
    def _is_forked(self) -> bool:
        """Whether this process was forked from the one that first used the app."""
        return self._process is not None and self._process != os.getpid()

    def _enter_process(self) -> None:
        """Bind the app to this process; raises `OmsError` in a process that was forked after the first use."""
        if self._is_forked:
            raise OmsError(_FORKED)
        self._process = os.getpid()

    def _ensure_stopped(self) -> None:
        self._enter_process()
        if self._runner is not None or self._waiting is not None:
            raise OmsError("the system is running already")
        if self._hangs:
            raise OmsError("a worker of the last run hasn't ended, so the system can't start again in this process")

    def _start(self) -> None:
        try:
            system = self._pinned()
            self._check_extensions()
            register(system)
        except BaseException:
            self._close(self._system)
            raise
        driven = _DRIVEN[self.settings.profile](system.assemblies, self._container.wakeups())
        wakeups, clock, batch = self._container.wakeups(), self._container.clock(), self.settings.batch
        self._runner = Runner(driven, wakeups, clock, self._failed, batch=batch)
        self._watch = self._watch_over(system, self._runner)
        self._runner.start()
        self._watch.start()
        self.health_record.replace(Condition.STARTING, PROCESS, {})

    def _pinned(self) -> System:
        """Return the system after pinning the currency of its stores, which `system` alone doesn't do."""
        system = self.system
        if self._pinned_system is not system:
            pin_settings(system)
            self._pinned_system = system
        return system

    def _check_extensions(self) -> None:
        """Make the remaining extensions, so that a wrong one stops the start; log the steps' foreign topics."""
        if "order" in self.system.assemblies:
            self._container.pricing()
            self._container.policy()
            warning = untrusted_prices(self._container.given_authenticator(), self._container.pricing())
            if warning is not None:
                self.telemetry.failure("prices are set by customers", detail=warning)
        for group, step in self.own_steps.items():
            others = sorted(topic for topic in step.handlers if topic not in BY_TOPIC)
            if others and group in self.system.assemblies:
                self.telemetry.note("topics that aren't the system's own", group=group, topics=", ".join(others))

    def _start_problems(self) -> Sequence[str]:
        found = check_servers(self.settings, self.services, topics_of(self.own_steps))
        for one in found:
            if one.is_warning and one.text not in self._warned:
                self._warned.append(one.text)
                self.telemetry.note("warning", detail=one.text)
        return [one.text for one in found if not one.is_warning]

    def _still_waiting(self, problems: Sequence[str]) -> None:
        self.telemetry.note("waiting", problems="; ".join(problems))
        self._report_start(problems)

    def _report_start(self, problems: Sequence[str]) -> None:
        self.health_record.replace(Condition.STARTING, PROCESS, {line: line for line in problems})

    def _watch_over(self, system: System, runner: Runner) -> HealthWatch:
        """Return the health watch; the memory profile has no servers to probe."""
        active_probes: Sequence[Probe] = ()
        record, made = self.health_record, self._container
        if self.settings.profile != "memory":
            active_probes = probes(record, system.assemblies, made.broker(), made.gate(), made.ids().token())
        after_s = self.settings.stuck_after_s
        return HealthWatch(record, active_probes, runner.activities, stuck_after_s=after_s, telemetry=self.telemetry)

    def _failed(self, name: str, error: BaseException) -> None:
        detail = f"{name} failed: {type(error).__name__}"
        self.health_record.failed(Condition.WORKER_FAILED, PROCESS, name, detail, opens_after=1)
        self.telemetry.alert("worker failed", worker=name, cause=f"{type(error).__name__}: {error}")

    def _close(self, system: System | None) -> None:
        """Release and close everything. An error is logged as an alert and doesn't stop the rest."""
        assemblies = {} if system is None else system.assemblies
        for name, assembly in assemblies.items():
            for end in (assembly.stop, assembly.close):
                try:
                    end()
                except Exception as error:  # noqa: BLE001 - if a server can't be reached, its leases just expire
                    cause = f"{type(error).__name__}: {error}"
                    self.telemetry.alert("a service didn't stop in good order", service=name, cause=cause)
        self._close_extensions(assemblies)
        self._system = None

    def _close_extensions(self, services: Collection[str] = ()) -> None:
        """Close the extensions made from the settings, and the shop's own objects that these services have used."""
        uses: dict[str, Any] = {"payment": self._container.gateway, "notification": self._container.given_notifier}
        given: list[Any] = [self._container.broker] if services else []
        given += [provider for service, provider in uses.items() if service in services]
        close_opened(self._container)
        for provider in given:
            if provider.overridden:
                close_one(provider(), self.telemetry)
        self._authenticator = None


_FORKED = (
    "this system was used before the process was forked: make it in the forked process instead"
    " (with gunicorn: without --preload, or in the hook post_fork)"
)
