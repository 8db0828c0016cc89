"""The stock gate in memory: the port on top of `gate_rules`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from oms.adapters.memory import gate_rules as rules
from oms.adapters.memory.call_hooks import CallHooks, Point, no_point, port_call, raise_deadlock
from oms.domain.events import Shortage
from oms.domain.values import Items, OrderId, Sku
from oms.ports.clock import Clock
from oms.ports.errors import Closed, Permanent, Retryable
from oms.ports.evidence import GateEvidence
from oms.ports.gate import MOST_UNITS, GateAnswer, StockGate, Taken


class _SharedGate:
    """The state that outlives workers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = rules.empty()
        self.dead: dict[str, None] = {}


class MemoryGate(StockGate, GateEvidence):
    """One worker's connection to the gate.

    The first connection makes the gate, which is closed until it is rebuilt; `worker` makes a connection to it for
    another owner.
    """

    def __init__(
        self, clock: Clock, *, owner: str = "worker", point: Point = no_point, shared: _SharedGate | None = None
    ) -> None:
        self._shared = shared if shared is not None else _SharedGate(clock)
        self._hooks = CallHooks("gate", owner, point, raise_deadlock, self._shared.dead)

    def worker(self, owner: str, point: Point = no_point) -> MemoryGate:
        """Another worker's connection to the same gate."""
        return MemoryGate(self._shared.clock, owner=owner, point=point, shared=self._shared)

    def kill(self, owner: str) -> None:
        """Kill a worker: its later calls raise `WorkerKilled`."""
        self._shared.dead[owner] = None

    def lose_memory(self) -> None:
        """Lose all data, as after a flush; the gate is closed until the next rebuild."""
        rules.forget(self._state)

    @property
    def state(self) -> rules.GateState:
        """The gate's data, which tests read or damage."""
        return self._shared.state

    @port_call
    def take(self, orders: Mapping[OrderId, Items], epoch: int | None = None) -> Mapping[OrderId, Taken]:
        now_ms = self._now_ms()
        self._ensure_open()
        answers = {
            order: rules.take(self._state, order, list(items.items()), now_ms, epoch) for order, items in orders.items()
        }
        if any(answer["answer"] == rules.CLOSED for answer in answers.values()):
            raise Closed(f"the gate isn't that of epoch {epoch} any more")
        refused = [order for order, answer in answers.items() if answer["answer"] == rules.INVALID]
        if refused:
            raise Permanent(f"quantities must be from 1 to {MOST_UNITS}: {', '.join(refused)}")
        return {order: _taken(answer) for order, answer in answers.items()}

    @port_call
    def give_back(self, orders: Collection[OrderId]) -> None:
        now_ms = self._now_ms()
        self._ensure_open()
        for order in sorted(set(orders)):
            rules.give_back(self._state, order, now_ms)

    @port_call
    def introduce(self, available: Mapping[Sku, int], epoch: int) -> None:
        self._ensure_open()
        rules.introduce(self._state, _plain(available), epoch)

    @port_call
    def add(self, deltas: Sequence[tuple[str, Sku, int]], epoch: int) -> None:
        if any(abs(units) > MOST_UNITS for _, _, units in deltas):
            raise Permanent(f"the gate counts up to {MOST_UNITS} units")
        self._ensure_open()
        for key, sku, delta in deltas:
            rules.add(self._state, key, sku, delta, epoch)

    @port_call
    def settle(self, orders: Collection[OrderId]) -> None:
        now_ms = self._now_ms()
        self._ensure_open()
        for order in sorted(set(orders)):
            rules.settle(self._state, order, now_ms)
        rules.sweep(self._state, now_ms, rules.SWEPT_AT_ONCE)

    @port_call
    def epoch(self) -> int | None:
        return self._state["epoch"]

    @port_call
    def rebuild(self, available: Mapping[Sku, int], held: Mapping[OrderId, Items], epoch: int) -> None:
        answers = {str(order): _plain(items) for order, items in held.items()}
        if not rules.rebuild(self._state, _plain(available), answers, epoch):
            raise Retryable(f"the gate has a later epoch already: a rebuild of epoch {epoch} came too late")

    def all_available(self) -> Iterable[tuple[Sku, int]]:
        return [(Sku(sku), units) for sku, units in sorted(self._state["available"].items())]

    def all_answers(self) -> Iterable[tuple[OrderId, GateAnswer, Items]]:
        return [
            (OrderId(order), GateAnswer(kept["answer"]), {Sku(sku): units for sku, units in kept["lines"].items()})
            for order, kept in sorted(self._state["answers"].items())
        ]

    @property
    def _state(self) -> rules.GateState:
        return self._shared.state

    def _now_ms(self) -> int:
        return int(self._shared.clock.now().timestamp() * 1000)

    def _ensure_open(self) -> None:
        if self._state["epoch"] is None:
            raise Closed("the gate has no epoch: it waits for a rebuild")


def _plain(units: Items) -> dict[str, int]:
    return {str(sku): count for sku, count in units.items()}


def _taken(answer: rules.Answer) -> Taken:
    return Taken(
        GateAnswer(answer["answer"]),
        answer["epoch"],
        tuple(Shortage(Sku(sku), wanted, available) for sku, wanted, available in answer["short"]),
        tuple(Sku(sku) for sku in answer["unknown"]),
    )
