"""The stock gate in memory: the port's face of the script's rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from oms.adapters.memory import gate_rules as script
from oms.adapters.memory.call_hooks import CallHooks, Point, no_point, port_call, raise_deadlock
from oms.domain.events import Shortage
from oms.domain.values import Items, OrderId, Sku
from oms.ports.clock import Clock
from oms.ports.errors import Closed, Permanent, Retryable
from oms.ports.evidence import GateEvidence
from oms.ports.gate import MOST_UNITS, GateAnswer, StockGate, Taken


class _Memory:
    """What outlives the workers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = script.empty()
        self.dead: dict[str, None] = {}


class MemoryGate(StockGate, GateEvidence):
    """One worker's connection to the gate.

    The first one makes the gate, closed until it is rebuilt; `worker` gives a connection of another owner.
    """

    def __init__(
        self, clock: Clock, *, owner: str = "worker", point: Point = no_point, memory: _Memory | None = None
    ) -> None:
        self._memory = memory if memory is not None else _Memory(clock)
        self._hooks = CallHooks("gate", owner, point, raise_deadlock, self._memory.dead)

    def worker(self, owner: str, point: Point = no_point) -> MemoryGate:
        """Another worker's connection to the same gate."""
        return MemoryGate(self._memory.clock, owner=owner, point=point, memory=self._memory)

    def kill(self, owner: str) -> None:
        """A worker died: its later calls raise `WorkerKilled`."""
        self._memory.dead[owner] = None

    def lose_memory(self) -> None:
        """All is gone, as after a flush: closed until the next rebuild."""
        script.forget(self._state)

    @property
    def state(self) -> script.GateState:
        """What the gate remembers, for tests to look at or to damage."""
        return self._memory.state

    @port_call
    def take(self, orders: Mapping[OrderId, Items], epoch: int | None = None) -> Mapping[OrderId, Taken]:
        now_ms = self._now_ms()
        self._ensure_open()
        answers = {
            order: script.take(self._state, order, list(items.items()), now_ms, epoch)
            for order, items in orders.items()
        }
        if any(answer["answer"] == script.CLOSED for answer in answers.values()):
            raise Closed(f"the gate isn't that of epoch {epoch} any more")
        refused = [order for order, answer in answers.items() if answer["answer"] == script.INVALID]
        if refused:
            raise Permanent(f"quantities must be from 1 to {MOST_UNITS}: {', '.join(refused)}")
        return {order: _taken(answer) for order, answer in answers.items()}

    @port_call
    def give_back(self, orders: Collection[OrderId]) -> None:
        now_ms = self._now_ms()
        self._ensure_open()
        for order in sorted(set(orders)):
            script.give_back(self._state, order, now_ms)

    @port_call
    def introduce(self, available: Mapping[Sku, int], epoch: int) -> None:
        self._ensure_open()
        script.introduce(self._state, _plain(available), epoch)

    @port_call
    def add(self, deltas: Sequence[tuple[str, Sku, int]], epoch: int) -> None:
        if any(abs(units) > MOST_UNITS for _, _, units in deltas):
            raise Permanent(f"the gate counts up to {MOST_UNITS} units")
        self._ensure_open()
        for key, sku, delta in deltas:
            script.add(self._state, key, sku, delta, epoch)

    @port_call
    def settle(self, orders: Collection[OrderId]) -> None:
        now_ms = self._now_ms()
        self._ensure_open()
        for order in sorted(set(orders)):
            script.settle(self._state, order, now_ms)
        script.sweep(self._state, now_ms, script.SWEPT_AT_ONCE)

    @port_call
    def epoch(self) -> int | None:
        return self._state["epoch"]

    @port_call
    def rebuild(self, available: Mapping[Sku, int], held: Mapping[OrderId, Items], epoch: int) -> None:
        answers = {str(order): _plain(items) for order, items in held.items()}
        if not script.rebuild(self._state, _plain(available), answers, epoch):
            raise Retryable(f"the gate has a later epoch already: a rebuild of epoch {epoch} came too late")

    def all_available(self) -> Iterable[tuple[Sku, int]]:
        return [(Sku(sku), units) for sku, units in sorted(self._state["available"].items())]

    def all_answers(self) -> Iterable[tuple[OrderId, GateAnswer, Items]]:
        return [
            (OrderId(order), GateAnswer(kept["answer"]), {Sku(sku): units for sku, units in kept["lines"].items()})
            for order, kept in sorted(self._state["answers"].items())
        ]

    @property
    def _state(self) -> script.GateState:
        return self._memory.state

    def _now_ms(self) -> int:
        return int(self._memory.clock.now().timestamp() * 1000)

    def _ensure_open(self) -> None:
        if self._state["epoch"] is None:
            raise Closed("the gate has no epoch: it waits for a rebuild")


def _plain(units: Items) -> dict[str, int]:
    return {str(sku): count for sku, count in units.items()}


def _taken(answer: script.Answer) -> Taken:
    return Taken(
        GateAnswer(answer["answer"]),
        answer["epoch"],
        tuple(Shortage(Sku(sku), wanted, available) for sku, wanted, available in answer["short"]),
        tuple(Sku(sku) for sku in answer["unknown"]),
    )
