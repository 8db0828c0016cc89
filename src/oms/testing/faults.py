"""The faults that a test has armed, and whether they happened: otherwise the test proves nothing about them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

import attrs

from oms.ports.clock import Clock
from oms.ports.messages import Record


class NeverHappened(AssertionError):
    """A test armed a fault that never happened, so it proves nothing about that fault."""


@attrs.define(eq=False)
class Fault:
    """One armed fault: its description, how often it has happened, and how often it may still happen."""

    words: str
    left: int = 1
    happened: int = 0

    def __str__(self) -> str:
        return self.words


@attrs.define(eq=False)
class AtCall(Fault):
    """Strikes a worker at a port call.

    `place` is the call and its side (`commit:before`), `of` the kind of work and `ports` the ports; empty means any.
    """

    service: str = ""
    place: str = ""
    of: str = ""
    ports: Collection[str] = ()
    skipped: int = 0
    """The number of matching calls that succeed first."""

    act: Callable[[str], None] = lambda _place: None

    def matches(self, service: str, step: str, place: str) -> bool:
        """Return whether the fault strikes at this call; counts the matching calls."""
        port, _, call = place.rpartition(".")
        if not self.left or service != self.service or call != self.place:
            return False
        if self.of not in ("", step) or (self.ports and port not in self.ports):
            return False
        self.skipped -= 1
        return self.skipped < 0


@attrs.define(eq=False)
class OfMessage(Fault):
    """Delays a topic's message by `by`, or repeats it if `by` is None. An `order_id` selects one order's messages."""

    topic: str = ""
    order_id: str | None = None
    by: timedelta | None = None

    def fits(self, record: Record) -> bool:
        """Return whether this record's topic and order match."""
        if record.topic != self.topic:
            return False
        return self.order_id is None or record.key == self.order_id.encode()


class Faults:
    """All faults that a test has armed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.armed: list[Fault] = []
        self.at_calls: list[AtCall] = []
        self.repeats: list[OfMessage] = []
        self.delays: list[OfMessage] = []
        self.happened: list[tuple[datetime, str]] = []
        """The faults that happened, each with its time."""

    def arm(self, fault: Fault) -> Fault:
        """Arm a fault: it happens at the first opportunity."""
        self.armed.append(fault)
        if isinstance(fault, AtCall):
            self.at_calls.append(fault)
        elif isinstance(fault, OfMessage):
            (self.repeats if fault.by is None else self.delays).append(fault)
        return fault

    def record(self, fault: Fault) -> None:
        """Record that a fault happens now."""
        fault.left -= 1
        fault.happened += 1
        self.happened.append((self._clock.now(), fault.words))
        for waiting in (self.at_calls, self.repeats, self.delays):
            if fault.left <= 0 and fault in waiting:
                waiting.remove(fault)  # type: ignore[arg-type]

    @property
    def waiting(self) -> Sequence[Fault]:
        """The faults that haven't happened yet."""
        return [fault for fault in self.armed if not fault.happened]

    def never_happened(self) -> str:
        """Describe the faults that haven't happened; empty if all have."""
        lines = [f"  {fault}" for fault in self.waiting]
        return "\n".join(["armed, but never happened, so the test proves nothing about it:", *lines]) if lines else ""

    def check(self) -> None:
        """Raise `NeverHappened` if a fault hasn't happened."""
        words = self.never_happened()
        if words:
            raise NeverHappened(words)
