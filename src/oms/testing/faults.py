"""What a test asked to go wrong, and whether it did: a fault that never happens would make a test prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

import attrs

from oms.ports.clock import Clock
from oms.ports.messages import Record


class NeverHappened(AssertionError):
    """A test asked for a fault that never happened, so it shows nothing about it."""


@attrs.define(eq=False)
class Fault:
    """One fault that was asked for: what it is in words, how often it did happen, and how often it still may."""

    words: str
    left: int = 1
    happened: int = 0

    def __str__(self) -> str:
        return self.words


@attrs.define(eq=False)
class AtCall(Fault):
    """Strikes a worker at a port call: `place` is `commit:before`, `of` the kind of step, `ports` whose call (any)."""

    service: str = ""
    place: str = ""
    of: str = ""
    ports: Collection[str] = ()
    skipped: int = 0
    """How many such calls go well before."""

    act: Callable[[str], None] = lambda _place: None

    def strikes(self, service: str, step: str, place: str) -> bool:
        """Whether this call is the one."""
        port, _, call = place.rpartition(".")
        if not self.left or service != self.service or call != self.place:
            return False
        if self.of not in ("", step) or (self.ports and port not in self.ports):
            return False
        self.skipped -= 1
        return self.skipped < 0


@attrs.define(eq=False)
class OfMessage(Fault):
    """About a message of a topic: any, or an order's. `by` is how late it comes; None is once more."""

    topic: str = ""
    order_id: str | None = None
    by: timedelta | None = None

    def fits(self, record: Record) -> bool:
        """Whether it is about this one."""
        if record.topic != self.topic:
            return False
        return self.order_id is None or record.key == self.order_id.encode()


class Faults:
    """Everything that a test asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.asked: list[Fault] = []
        self.at_calls: list[AtCall] = []
        self.repeats: list[OfMessage] = []
        self.delays: list[OfMessage] = []
        self.told: list[tuple[datetime, str]] = []
        """What happened, and when."""

    def ask(self, fault: Fault) -> Fault:
        """Have it happen as soon as it can."""
        self.asked.append(fault)
        if isinstance(fault, AtCall):
            self.at_calls.append(fault)
        elif isinstance(fault, OfMessage):
            (self.repeats if fault.by is None else self.delays).append(fault)
        return fault

    def strike(self, fault: Fault) -> None:
        """It happens now."""
        fault.left -= 1
        fault.happened += 1
        self.told.append((self._clock.now(), fault.words))
        for armed in (self.at_calls, self.repeats, self.delays):
            if fault.left <= 0 and fault in armed:
                armed.remove(fault)  # type: ignore[arg-type]

    @property
    def waiting(self) -> Sequence[Fault]:
        """Those that never happened yet."""
        return [fault for fault in self.asked if not fault.happened]

    def never_happened(self) -> str:
        """Those that didn't, in words; empty where all did."""
        lines = [f"  {fault}" for fault in self.waiting]
        return "\n".join(["asked for and never happened, so the test shows nothing about it:", *lines]) if lines else ""

    def check(self) -> None:
        """Raise `NeverHappened` for those that didn't."""
        words = self.never_happened()
        if words:
            raise NeverHappened(words)
