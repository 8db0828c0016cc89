"""A whole system on the memory adapters: the real services with several workers each, and a clock set by the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import attrs

from oms.adapters.memory import (
    CountedIds,
    ManualClock,
    MemoryGate,
    MemoryInventoryStore,
    MemoryLog,
    MemoryNotificationStore,
    MemoryOrderStore,
    MemoryPaymentStore,
    MemoryStepStore,
    SequentialCallExecutor,
)
from oms.adapters.memory.log import MemorySubscription
from oms.adapters.wire.codec import JsonCodec
from oms.application import inventory, notifications, orders, payments
from oms.application.steps.context import OwnStep
from oms.application.steps.service import step_service
from oms.bootstrap.system import SERVICES
from oms.domain.money import Currency
from oms.engine.assembly import assemble
from oms.engine.dependencies import ServiceDependencies
from oms.engine.service import Service
from oms.ports.evidence import Evidence, StepEvidence
from oms.ports.messages import Codec, Message, Outgoing, Record
from oms.ports.telemetry import Telemetry
from oms.testing.sim.customers import Customers, command_of
from oms.testing.sim.gateway import Draw, TapeGateway, TapeNotifier
from oms.testing.sim.operators import Operators
from oms.testing.sim.own_calls import NOTHING_OWN, LossyGateway, LossyNotifier, OwnCalls
from oms.testing.sim.rolling_upgrade import next_versions_of
from oms.testing.sim.scope import REFUSALS, Scope
from oms.testing.sim.system_tables import SystemTables
from oms.testing.sim.worker import Worker

CURRENCY = Currency.of("USD")
SETTLE_WINDOW_S = 10.0
KINDS: Mapping[str, Any] = {
    "order": MemoryOrderStore,
    "inventory": MemoryInventoryStore,
    "payment": MemoryPaymentStore,
    "notification": MemoryNotificationStore,
}


class Silence(Telemetry):
    """Telemetry that records nothing."""

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """Do nothing."""

    def note(self, event: str, **fields: object) -> None:
        """Do nothing."""

    def alert(self, event: str, **fields: object) -> None:
        """Do nothing."""


class RememberingCodec(Codec):
    """Decodes equal bytes once for all systems: schedules of a search differ mostly in the order of their messages."""

    _known: ClassVar[dict[Any, Message]] = {}

    def __init__(self) -> None:
        self._codec = JsonCodec(CURRENCY)
        self.decoded = 0

    def encode(self, event: Any, cause: Any, at: Any) -> Outgoing:
        """As the wire codec does."""
        return self._codec.encode(event, cause, at)

    def decode(self, record: Record) -> Message:
        """Return the decoded record."""
        self.decoded += 1
        known = self._known.get((record.topic, record.value, record.headers))
        if known is None:
            known = self._codec.decode(record)
            if len(self._known) > 20_000:
                self._known.clear()
            self._known[record.topic, record.value, record.headers] = known
        return Message(known.id, known.event, known.cause, record)

    def order_of(self, record: Record) -> Any:
        """As the wire codec does."""
        return self._codec.order_of(record)

    def name(self, record: Record) -> Any:
        """Return the name of a record, by its place in the log."""
        return self._codec.name(record)


CODEC = RememberingCodec()
"""A codec for readers that belong to no system."""

COMMAND = command_of(CURRENCY)


Points = Callable[[Worker], tuple[Callable[[str], None], Callable[[str], None]]]


class SimulatedSystem:
    """The stores, log, gate and gateway, which outlive the workers, and the workers."""

    def __init__(
        self,
        scope: Scope,
        draw: Callable[[str, Sequence[str]], int],
        points: Points,
        own: Mapping[str, OwnStep] | None = None,
        telemetry: Telemetry | None = None,
        own_calls: OwnCalls = NOTHING_OWN,
        lose: Draw | None = None,
    ) -> None:
        self.scope, self._points, self.own = scope, points, own or {}
        self.next_versions = next_versions_of(own)
        self.clock = ManualClock()
        self.ids = CountedIds()
        self.codec = RememberingCodec()
        self.telemetry = telemetry or Silence()
        self.log = MemoryLog(scope.partitions)
        self.gate = MemoryGate(self.clock)
        self.gateway = TapeGateway(self.clock, draw, refuses=REFUSALS in scope.faults)
        self.notifier = TapeNotifier(draw)
        lose = lose or draw
        self.own_gateway = LossyGateway(own_calls.gateway, lose) if own_calls.gateway is not None else None
        self.own_notifier = LossyNotifier(own_calls.notifier, lose) if own_calls.notifier is not None else None
        kinds = {**KINDS, **dict.fromkeys(self.own, MemoryStepStore)}
        self.records = SystemTables({name: kind.new_tables(self.clock, self.ids) for name, kind in kinds.items()})
        self.stores: dict[str, Any] = {
            name: kind(self.clock, self.ids, tables=self.records[name]) for name, kind in kinds.items()
        }
        self.gate_before: Any = None
        """The gate's state before its last change: the state after a restart that loses the last second."""
        self._generation = 0
        self.workers: list[Worker] = []
        command = COMMAND if scope.quantity == 1 else command_of(CURRENCY, scope.quantity)
        self.customers = Customers(scope.orders, self.workers, command)
        decides = REFUSALS in scope.faults
        self.operators = Operators(scope.plan, self.customers, self.records["order"].orders.rows, decides=decides)
        self._begun = sum(map(self.workers_of, (*SERVICES, *self.own)))
        for name in (*SERVICES, *self.own):
            for number in range(1, self.workers_of(name) + 1):
                self.workers.append(self.start(f"{name}-{number}", name))
        self.evidence = Evidence(
            self.stores["order"],
            self.stores["inventory"],
            self.stores["payment"],
            self.stores["notification"],
            self.log,
            self._book(own_calls),
            self.gate,
            {name: StepEvidence(self.stores[name], tuple(step.handlers)) for name, step in self.own.items()},
        )

    def _book(self, own_calls: OwnCalls) -> Any:
        """Return the book of the gateway in use; None for a shop's own gateway without a book."""
        used = own_calls.gateway or self.gateway
        return used if hasattr(used, "all_entries") else None

    def workers_of(self, service: str) -> int:
        """Return the number of workers of a service or step."""
        return self.next_versions.workers(service, self.scope.workers.get(service, 1))

    def runs_next(self, worker: Worker) -> bool:
        """Whether a worker runs the next version: the last worker of a service or step that has a next version."""
        last = worker.slot == f"{worker.service}-{self.workers_of(worker.service)}"
        return last and self.next_versions.changed(worker.service)

    def start(self, slot: str, name: str) -> Worker:
        """Start a new process in a slot, under a new name."""
        self._generation += 1
        worker = Worker(slot, name, f"{slot}.{self._generation}")
        point, blocked = self._points(worker)
        store = self.stores[name].worker(worker.owner, point, blocked)
        ids = CountedIds(self._generation)
        shared = ServiceDependencies(
            self.log.worker(worker.owner, point),
            self.codec,
            self.clock,
            ids,
            self.telemetry,
            batch=self.scope.batch,
            look_every_s=0.0,
        )
        more: dict[str, Any] = {"lock": orders.OrderWork.lock} if name == "order" else {}
        service = self._service(name, store, worker, point, ids)
        starts = service.starts(shared.broker)
        worker.calls = SequentialCallExecutor(500, point=point)
        made = assemble(service, shared, worker.calls, starts=starts, **more)
        worker.assembly = attrs.evolve(made, lanes=())  # no threads run lanes here
        worker.subscription = cast("MemorySubscription", made.subscription)
        # All workers start on one host; the successor of a dead worker starts on that host or on another one.
        successor = len(self.workers) == self._begun
        store.register(f"host {self._generation % 2 if successor else 0}")
        return worker

    def kill(self, worker: Worker) -> None:
        """Make all ports of a worker raise `WorkerKilled`, before its step is dropped."""
        self.stores[worker.service].kill(worker.owner)
        self.gate.kill(worker.owner)
        self.log.kill(worker.owner)

    def of(self, service: str) -> list[Worker]:
        """Return the workers of a service."""
        return [worker for worker in self.workers if worker.service == service]

    def _service(self, name: str, store: Any, worker: Worker, point: Any, ids: CountedIds) -> Service[Any]:
        """Return a service as its worker runs it: the last worker runs the next version if there is one."""
        present = self._present(name, store, worker, point, ids)
        return self.next_versions.next_of(present, self.clock, self.telemetry) if self.runs_next(worker) else present

    def _present(self, name: str, store: Any, worker: Worker, point: Any, ids: CountedIds) -> Service[Any]:
        match name:
            case "order":
                return orders.order_service(store, self.clock, deadline_s=self.scope.deadline_s)
            case "inventory":
                gate = self.gate.worker(worker.owner, point)
                units = self.scope.units
                return inventory.inventory_service(store, self.clock, gate=gate, default_stock=units)
            case "payment":
                gateway, window = self.own_gateway or self.gateway, SETTLE_WINDOW_S
                return payments.payment_service(store, self.clock, gateway, self.telemetry, settle_window_s=window)
            case "notification":
                notifier = self.own_notifier or self.notifier
                return notifications.notification_service(store, self.clock, notifier, ids.token)
            case _:
                return step_service(store, self.clock, self.telemetry, name, self.own[name])
