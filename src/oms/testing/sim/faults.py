"""The faults that can happen between two steps, and at each port call inside a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from oms.adapters.memory import MemoryGate, gate_rules
from oms.domain.events import (
    EVENTS,
    OrderCompleted,
    PartEvent,
    PaymentEvent,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    PaymentVoided,
)
from oms.domain.money import Money
from oms.domain.order_table import OrderState
from oms.domain.values import UserId
from oms.ports.errors import OutcomeUnknown, PortError, Retryable
from oms.ports.messages import Cause, Undecodable
from oms.testing.sim.scope import (
    ANSWERS,
    CANCEL,
    CLOCK,
    CRASH,
    FORGERY,
    GARBAGE,
    GATE,
    OPERATORS,
    PAUSES,
    PURGE,
    REBALANCE,
    REPEAT,
    Scope,
)

if TYPE_CHECKING:
    from oms.testing.sim.simulated_system import SimulatedSystem
    from oms.testing.sim.worker import Worker

GOES_ON, DIES, FAILS, LOST, NAPS, SLEEPS = "goes on", "dies", "fails", "answer lost", "naps", "sleeps"
ASLEEP_S = 60.0
"""How long a worker is paused, in seconds: longer than the poll interval and every lease."""

MOST_NUMBERED = 4
"""The messages of each topic that can be repeated after a purge."""

READS = frozenset(
    {"poll", "reservations", "payments", "epoch", "gate_epoch", "lost", "collect", "answer", "order"}
    | {"notifications_by_id"}
)
IN_PROCESS = frozenset({"submit", "collect", "rollback"})
"""Calls that can't fail, because they don't leave the process."""

WITHIN = frozenset(
    {
        "claim_inbox", "lock_orders", "lock_reservations", "lock_stock", "lock_payments", "lock_documents",
        "held_tasks", "introduce_stock", "set_gate_epoch", "lock_gate", "find_responses",
        "rollback",
    }
)  # fmt: skip
"""Calls in a transaction that may wait for another transaction. A death or failure there equals one at the commit."""

WRITES = frozenset(
    {"flush", "save_orders", "save_payments", "save_reservations", "save_responses", "save_documents", "move_stock"}
    | {"finish_tasks", "record_notifications", "mark_notified", "fold"}
)
"""The other calls in a transaction. A pause at one of them equals a pause at the commit."""


def at_point(scope: Scope, place: str) -> tuple[str, ...]:
    """Return the options at a point, the calm one first.

    A reduced scope leaves out options that equal an option at a neighbouring point: a death after a call equals a death
    before the next call, and a death inside a transaction leaves none of its changes. A test compares reduced and full
    scopes.
    """
    call, _, side = place.rpartition(".")[2].partition(":")
    options = [GOES_ON]
    all_points = scope.all_points
    if side == "before":
        inside = call in WITHIN or call in WRITES
        if CRASH in scope.faults and (all_points or not (inside or call in READS)):
            options.append(DIES)
        if ANSWERS in scope.faults and call not in IN_PROCESS and (all_points or not inside):
            options.append(FAILS)
        if PAUSES in scope.faults and (all_points or call not in WRITES) and call != "rollback":
            options += [NAPS, SLEEPS]
    else:
        if CRASH in scope.faults and all_points:
            options.append(DIES)
        if ANSWERS in scope.faults and call not in IN_PROCESS | READS and (all_points or call not in WITHIN | WRITES):
            options.append(LOST)
    return tuple(options)


def failure(place: str, what: str) -> PortError:
    """Return the error that a port raises for this failure."""
    if what == FAILS:
        return Retryable(f"simulated: {place} failed, nothing happened")
    return OutcomeUnknown(f"simulated: {place} happened, its answer is lost")


def between_steps(system: SimulatedSystem, used: dict[str, int], may_vanish: Callable[[Worker], bool]) -> Iterator[str]:
    """Yield the labels of the faults that can happen now; each may happen `scope.each` times in a run."""
    scope = system.scope
    for name in _possible(system, may_vanish):
        if used.get(name, 0) < scope.each:
            yield name


def _possible(system: SimulatedSystem, may_vanish: Callable[[Worker], bool]) -> Iterator[str]:
    faults = system.scope.faults
    if CANCEL in faults:
        yield from _cancels(system)
    if CRASH in faults:
        busy = (worker for worker in system.workers if worker.green or has_memory(worker))
        yield from (f"crash {worker.slot}" for worker in busy if may_vanish(worker))
    if REBALANCE in faults:
        moving = (worker for worker in system.workers if _moves(system, worker))
        yield from (f"evict {worker.slot}" for worker in moving if may_vanish(worker) or not has_batch(worker))
    if REPEAT in faults:
        yield from (f"repeat {topic}" for topic in _repeated_topics(system))
    if OPERATORS in faults:
        yield from (f"adds {label}" for label in system.operators.unplanned())
    if PURGE in faults:
        yield from (f"purge and repeat {message}" for message in _first_messages(system))
    if GATE in faults and system.gate.state["epoch"] is not None:
        yield "flush the gate"
        if system.gate_before is not None:
            yield "lose the gate's last second"
    if GARBAGE in faults:
        yield "garbage in payment.success"
    if FORGERY in faults:
        yield from (f"forge {topic} {wrong} {name}" for name, _ in system.customers.known() for topic, wrong in _FORGED)
    if CLOCK in faults:
        yield "set the clock back"


def _cancels(system: SimulatedSystem) -> Iterator[str]:
    for name, order_id in system.customers.known():
        state = system.records["order"].orders.rows[order_id].state
        if state in (OrderState.CREATED, OrderState.RESERVED):
            yield f"customer cancels {name}"
        elif state is OrderState.CONFIRMED:
            yield f"operator cancels {name}"


def has_memory(worker: Worker) -> bool:
    """Whether a crash now would lose more than the worker's membership in its group."""
    assembly = worker.assembly
    waits = assembly.commands.waiting() or assembly.tasks.unfinished() or assembly.relay.holds_rows()
    return bool(waits or assembly.consumer.holds_messages())


def has_batch(worker: Worker) -> bool:
    """Whether the worker is in the middle of a batch, so that losing its partitions counts as its death."""
    held = worker.assembly.consumer.inspect().held
    return (worker.green is not None and worker.handles) or (held is not None and held.is_noted)


def _moves(system: SimulatedSystem, worker: Worker) -> bool:
    several = len(system.of(worker.service)) > 1
    return bool(worker.green or several or worker.assembly.consumer.holds_messages())


def repeat(system: SimulatedSystem, topic: str) -> None:
    """Append the first message of a topic to the log once more."""
    for place, end in system.log.ends([topic]).items():
        if end > 0:
            first = system.log.read(place)[0]
            system.log.append(topic, first.value, first.key, first.headers)
            return


_AFTER_CONFIRMATION = frozenset(
    event.topic for event in EVENTS if issubclass(event, PartEvent) or event is OrderCompleted
)


def _repeated_topics(system: SimulatedSystem) -> Iterator[str]:
    """Yield the topics of which a message can be repeated.

    Those of shipments and refunds only once they have a message, so that seeds without any stay the same schedules.
    """
    for topic in system.log.topics():
        is_later = topic in _AFTER_CONFIRMATION and not any(system.log.ends([topic]).values())
        if not (is_later or topic.endswith(".dlq")):
            yield topic


def _first_messages(system: SimulatedSystem) -> Iterator[str]:
    """Yield each of the first messages of each topic, as `topic number` (from 0)."""
    for topic in system.log.topics():
        if not topic.endswith(".dlq"):
            count = sum(system.log.ends([topic]).values())
            yield from (f"{topic} {number}" for number in range(min(count, MOST_NUMBERED)))


def repeat_after_purge(system: SimulatedSystem, message: str) -> None:
    """Remove the inbox rows of a message, as the retention does after some days, and append it to the log once more."""
    topic, number = message.split(" ")
    record = [one for place in system.log.ends([topic]) for one in system.log.read(place)][int(number)]
    try:
        name = system.codec.decode(record).id
    except Undecodable:
        name = system.codec.name(record)
    for tables in system.records.values():
        for key in [key for key in tables.inbox.rows if _is_of(key[1], name)]:
            tables.inbox.apply(key, None)
    system.log.append(topic, record.value, record.key, record.headers)


def _is_of(inbox_id: str, message_id: str) -> bool:
    """Whether an inbox row is that of a message; the order service adds a digest to the message's id."""
    return inbox_id.partition(".")[0] == message_id


_NEWS: Mapping[str, type[PaymentEvent]] = {
    kind.topic: kind for kind in (PaymentSucceeded, PaymentFailed, PaymentVoided, PaymentRefunded)
}
_FORGED = [(topic, wrong) for topic in _NEWS for wrong in ("amount", "customer")]
_FORGED_ID = "forged"


def forge(system: SimulatedSystem, topic: str, wrong: str, name: str) -> None:
    """Append a forged payment event of a customer's order, with an amount of one minor unit or another customer."""
    order = system.records["order"].orders.rows[dict(system.customers.known())[name]]
    user, total = order.agreed.user_id, order.agreed.total
    if wrong == "amount":
        total = Money(1, total.currency)
    else:
        user = UserId("mallory")
    made = system.codec.encode(_NEWS[topic](order.id, user, total, _FORGED_ID), Cause(), system.clock.now())
    system.log.append(topic, made.value, made.key, made.headers)


def is_forged(value: bytes | None) -> bool:
    """Whether `forge` made this message of the log."""
    return value is not None and f'"paymentId":"{_FORGED_ID}"'.encode() in value


class HasGate(Protocol):
    """A simulated system or a shop: it has a gate, and the gate's state before its last change."""

    gate: MemoryGate
    gate_before: Any


def lose_tail(system: HasGate) -> None:
    """Restart the gate with an older state. It is closed until it is rebuilt, as after every restart."""
    state: Any = system.gate.state
    if system.gate_before is not None:
        state.update(gate_rules.copied(system.gate_before))
    state["epoch"] = None


def flush(system: HasGate) -> None:
    """Delete all data of the gate."""
    gate_rules.forget(system.gate.state)
