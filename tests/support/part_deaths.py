"""Deaths at each commit, publish and outside call that shipments and refunds need; the list follows from the code.

A point is named by service, moment and step, such as `payment: after the commit that handles order.shipped`. The hooks
are around methods of the engine and the adapters, so production code knows nothing of this.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from importlib import import_module
from typing import Any

import attrs

from oms.domain.events import BY_TOPIC, OrderCompleted, PartEvent
from oms.domain.saga import publisher, routes

PASSING = 2
"""A process dies when it passes its point for the second time, so that the first batch after its start succeeds."""


class Step(Enum):
    """The kinds of steps; the values complete the name of a point."""

    COMMIT = "the commit that publishes"
    PUBLISH = "the publish of"
    HANDLE = "the commit that handles"
    CALL = "the call"


CALLS = {
    "refund": ("payment", "oms.adapters.gateways.simulated:SimulatedGateway.refund"),
    "look-up of a refund": ("payment", "oms.adapters.gateways.simulated:SimulatedGateway.lookup"),
    "delta at the gate": ("inventory", "oms.adapters.redis.gate:RedisGate.add"),
}


@attrs.frozen
class Point:
    """A moment of one service: before or after a step about a topic, or about one of `CALLS`."""

    service: str
    when: str
    step: Step
    of: str

    def __str__(self) -> str:
        return f"{self.service}: {self.when} {self.step.value} {self.of}"


def topics() -> Sequence[str]:
    """The topics of what happens to an order after its confirmation."""
    return [name for name, event in BY_TOPIC.items() if issubclass(event, PartEvent) or event is OrderCompleted]


def points() -> Sequence[Point]:
    """Every point, each twice: before and after."""
    steps = [
        *((publisher(topic), step, topic) for topic in topics() for step in (Step.COMMIT, Step.PUBLISH)),
        *((service, Step.HANDLE, topic) for topic in topics() for service in routes()[topic]),
        *((service, Step.CALL, name) for name, (service, _) in CALLS.items()),
    ]
    return [Point(service, when, step, of) for service, step, of in steps for when in ("before", "after")]


def arm(name: str) -> None:
    """Kill this process at the `PASSING`-th passing of a point."""
    point = next(one for one in points() if str(one) == name)
    death = _Death(point.when)
    if point.step is Step.CALL:
        death.around(CALLS[point.of][1], lambda _owner, *arguments: _is_about_refunds(arguments))
    elif point.step is Step.PUBLISH:
        death.around("oms.adapters.kafka.broker:KafkaBroker.publish", lambda _owner, sent: point.of in _topics(sent))
    elif point.step is Step.COMMIT:
        marked = _mark_commits(point.of)
        death.around(_COMMIT, lambda transaction: id(transaction) in marked)
    else:
        handled = _mark_messages(point.of)
        death.around(_COMMIT, lambda _transaction: getattr(handled, "now", False))


_COMMIT = "oms.adapters.sql.stores.transaction:SqlTransaction.commit"
_FLUSH = "oms.adapters.sql.stores.transaction:SqlTransaction.flush"
_HANDLE = "oms.engine.message_handling:MessageHandling.handle"


class _Death:
    """Counts the passings of one point."""

    def __init__(self, when: str) -> None:
        self._when, self._count, self._lock = when, 0, threading.Lock()

    def around(self, path: str, matters: Callable[..., bool]) -> None:
        def hooked(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            counts = matters(*arguments)
            if counts and self._when == "before":
                self._pass()
            answer = original(*arguments, **named)
            if counts and self._when == "after":
                self._pass()
            return answer

        _hook(path, hooked)

    def _pass(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == PASSING:
                os.kill(os.getpid(), signal.SIGKILL)


def _hook(path: str, hooked: Callable[..., Any]) -> None:
    module, _, name = path.partition(":")
    owner, _, method = name.partition(".")
    kind: Any = getattr(import_module(module), owner)
    original: Callable[..., Any] = getattr(kind, method)
    setattr(kind, method, lambda *arguments, **named: hooked(original, *arguments, **named))


def _topics(messages: Iterable[Any]) -> set[str]:
    return {message.topic for message in messages}


def _is_about_refunds(arguments: Sequence[Any]) -> bool:
    from oms.ports.extensions import Lookup, LookupOf

    request = arguments[0] if arguments else None
    return not isinstance(request, Lookup) or request.of is LookupOf.REFUND


def _mark_commits(topic: str) -> set[int]:
    """The ids of transactions that write a message of a topic."""
    marked: set[int] = set()

    def flush(original: Callable[..., Any], transaction: Any, delivery: Any) -> Any:
        if topic in _topics(row.message for row in delivery.outbox):
            marked.add(id(transaction))
        else:
            marked.discard(id(transaction))  # the id of an earlier transaction
        return original(transaction, delivery)

    _hook(_FLUSH, flush)
    return marked


def _mark_messages(topic: str) -> threading.local:
    """Whether this thread handles a batch with a message of a topic now."""
    handled = threading.local()

    def handle(original: Callable[..., Any], handling: Any, messages: Any) -> Any:
        handled.now = topic in _topics(one.message.record for one in messages)
        try:
            return original(handling, messages)
        finally:
            handled.now = False

    _hook(_HANDLE, handle)
    return handled
