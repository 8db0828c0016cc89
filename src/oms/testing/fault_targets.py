"""The parts of a shop that a test can make fail: the gateway, the workers, the topics and the gate.

Each method arms one fault, which happens at the next call or message that matches. A test fails (`NeverHappened`) if an
armed fault never happens; a fault that is armed for several `times` must happen at least once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Protocol

import attrs

from oms.adapters.gateways.book import Book
from oms.adapters.gateways.order_script import OrderScript
from oms.adapters.gateways.script import Behaviour, Request, Rule, Script
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.domain.order import Order
from oms.ports.clock import Clock
from oms.testing.faults import AtCall, Fault, Faults, OfMessage
from oms.testing.workers import Workers

LATE_S = 8.0
"""Default time for which the gateway doesn't know a late charge, in seconds: less than the settle window of 10 s."""


class NextCharge(Protocol):
    """The faults of the next charge that both `Shop` and `HuntedShop` have."""

    @abstractmethod
    def decline_next(self) -> None:
        """Decline the next charge of any order."""

    @abstractmethod
    def lose_next_answer(self) -> None:
        """Capture the next charge and lose the response."""

    @abstractmethod
    def lose_next_call(self) -> None:
        """Lose the next charge before it has any effect."""

    @abstractmethod
    def hide_next(self) -> None:
        """Capture the next charge, lose the response, and don't find the charge for 8 s."""


class ShopGateway(SimulatedGateway, NextCharge):
    """The gateway of a shop: captures every charge, unless a fault is armed for the next charge or for an order."""

    def __init__(self, book: Book, clock: Clock, faults: Faults) -> None:
        self._watched = _WatchedScript(faults)
        super().__init__(book, clock, success_rate=1.0, script=self._watched, wait=_no_wait)

    def on(self, order_id: Order | str) -> OrderScript:
        """Return the script for the calls of one order."""
        return super().on(order_id.id if isinstance(order_id, Order) else order_id)

    def decline_next(self) -> None:
        """Decline the next charge of any order."""
        super().decline_next()

    def lose_next_answer(self) -> None:
        """Capture the next charge and lose the response; a look-up under the same key finds the charge."""
        self._watched.add(Rule(Behaviour.NO_ANSWER_AFTER_CHARGE, times=1))

    def lose_next_call(self) -> None:
        """Lose the next charge before it has any effect; `oms` repeats it once a look-up shows that it had none."""
        self._watched.add(Rule(Behaviour.NO_ANSWER_BEFORE_CHARGE, times=1))

    def hide_next(self, *, seconds: float = LATE_S) -> None:
        """Capture the next charge, lose the response, and don't find the charge for this number of seconds."""
        self._watched.add(Rule(Behaviour.LATE, times=1, seconds=seconds))

    def refuse_next(self, times: int = 1) -> None:
        """Respond to the next calls with 503."""
        self._watched.add(Rule(Behaviour.REFUSE, times=times))

    def unreachable_next(self, times: int = 1) -> None:
        """Refuse the connections of the next calls; `oms` makes the charge later, without a look-up."""
        self._watched.add(Rule(Behaviour.UNREACHABLE, times=times))

    def refuse_next_refund(self, reason: str = "refused") -> None:
        """Decline the next refund for this reason: an operator has to retry or resolve it."""
        self._watched.add(Rule(Behaviour.REFUSE_REFUND, times=1, reason=reason))

    def lose_next_refund_answer(self) -> None:
        """Make the next refund and lose the response; a look-up under the same key finds the refund."""
        self._watched.add(Rule(Behaviour.NO_ANSWER_AFTER_REFUND, times=1))

    def lose_next_refund_call(self) -> None:
        """Lose the next refund before it has any effect; `oms` repeats it under the same key."""
        self._watched.add(Rule(Behaviour.NO_ANSWER_BEFORE_REFUND, times=1))

    def hide_next_refund(self, *, seconds: float = LATE_S) -> None:
        """Make the next refund, lose the response, and don't find the refund for this number of seconds."""
        self._watched.add(Rule(Behaviour.LATE_REFUND, times=1, seconds=seconds))

    def capture_anyway(self) -> None:
        """Answer `Voided` to the next void, and capture the charge all the same; only promise P4 can show that."""
        self._watched.add(Rule(Behaviour.CAPTURE_ANYWAY, times=1))


@attrs.frozen
class ShopWorker:
    """The worker of one service, which runs its messages, tasks and commands.

    `of` limits a fault to one of these (`messages`, `tasks`, `commands`; empty: any). With `nth`, the fault happens
    at the n-th such moment from now on. Another process of the service replaces a dead worker at once.
    """

    service: str
    _workers: Workers

    def crash_before_commit(self, *, of: str = "", nth: int = 1) -> Fault:
        """Die before the commit, with all work done: the messages are delivered again."""
        return self._at("commit:before", self._workers.die, "crashes before its commit", of, nth)

    def crash_after_commit(self, *, of: str = "", nth: int = 1) -> Fault:
        """Die right after the commit: another worker publishes the outbox rows; the messages are delivered again."""
        return self._at("commit:after", self._workers.die, "crashes after its commit", of, nth)

    def crash_before_publish(self, *, nth: int = 1) -> Fault:
        """Die with messages committed and not in the log yet: another worker publishes them."""
        return self._at("publish:before", self._workers.die, "crashes before it publishes", "", nth)

    def crash_after_publish(self, *, nth: int = 1) -> Fault:
        """Die with messages in the log that aren't recorded as sent: they are published again."""
        return self._at("publish:after", self._workers.die, "crashes after it published", "", nth)

    def crash_after_call(self, *, nth: int = 1) -> Fault:
        """Die after an outside call, before its result is stored: it is looked up, or repeated under the same key."""
        return self._at("submit:after", self._workers.die, "crashes after an outside call", "", nth)

    def fail_commit(self, *, of: str = "", nth: int = 1) -> Fault:
        """Make the commit fail without any effect; the worker tries it again."""
        return self._at("commit:before", self._workers.fail, "fails to commit", of, nth)

    def lose_commit_answer(self, *, of: str = "", nth: int = 1) -> Fault:
        """Commit and lose the response: the outcome is unknown until a repeat of the work finds it done."""
        return self._at("commit:after", self._workers.lose_answer, "gets no response to its commit", of, nth)

    def lose_partitions(self, *, nth: int = 1) -> Fault:
        """Lose the partitions in the middle of a batch: its offsets aren't committed, so it is delivered again."""
        words = "loses its partitions in the middle of a batch"
        return self._at("claim_inbox:after", self._workers.lose_partitions, words, "", nth)

    def sleep_past_poll_interval(self, *, nth: int = 1) -> Fault:
        """Stop for a minute in the middle of a batch, which another process handles meanwhile; then continue."""
        words = "sleeps past the poll interval"
        return self._at("start_attempts:after", self._workers.oversleep, words, "", nth)

    def sleep_in_transaction(self, *, nth: int = 1) -> Fault:
        """Stop for a minute with an open transaction: other processes fail to lock its rows and try again."""
        return self._at("claim_inbox:after", self._workers.oversleep, "sleeps in a transaction", "", nth)

    def _at(self, place: str, act: Callable[[str], None], what: str, of: str, nth: int) -> Fault:
        if of not in ("", "messages", "tasks", "commands"):
            raise ValueError(f"of is 'messages', 'tasks' or 'commands', not {of!r}")
        words = f"{self.service} {what}{f' of {of}' if of else ''}{f' (number {nth})' if nth > 1 else ''}"
        ports = STORES if place.startswith("commit") else ()
        fault = AtCall(words, service=self.service, place=place, of=of, skipped=nth - 1, ports=ports, act=act)
        return self._workers.faults.arm(fault)


@attrs.frozen
class ShopTopic:
    """One topic of the log. With an order, a fault applies only to messages of that order; otherwise to any message."""

    name: str
    _faults: Faults

    def repeat(self, order: Order | str | None = None, *, times: int = 1) -> Fault:
        """Append the newest message to the log once more, as soon as no work is left."""
        return self._arm(order, f"{self.name} is delivered again", times, None)

    def delay(self, order: Order | str | None = None, **time: float) -> Fault:
        """Delay the next message by this time (`minutes=5`), together with the messages behind it in its partition."""
        by = timedelta(**time)
        if by <= timedelta():
            raise ValueError("delay needs a positive time, such as delay(minutes=5)")
        return self._arm(order, f"{self.name} is delayed by {by.total_seconds():g} s", 1, by)

    def _arm(self, order: Order | str | None, words: str, times: int, by: timedelta | None) -> Fault:
        order_id = order.id if isinstance(order, Order) else order
        words += f", for {order_id}" if order_id else ""
        return self._faults.arm(OfMessage(words, left=times, topic=self.name, order_id=order_id, by=by))


@attrs.frozen
class ShopGate:
    """The stock gate, which is Redis in production."""

    _workers: Workers

    def lose_last_second(self, *, nth: int = 1) -> Fault:
        """Restart without the next hold that the gate takes; the gate is closed until it is rebuilt from the ledger."""
        words = "the gate loses its last second"
        fault = AtCall(
            words, service="inventory", place="take:after", skipped=nth - 1, act=self._workers.lose_gate_tail
        )
        return self._workers.faults.arm(fault)

    def flush(self) -> Fault:
        """Delete all data now; the gate is closed until it is rebuilt from the ledger."""
        fault = self._workers.faults.arm(Fault("the gate loses all its data"))
        self._workers.flush_gate()
        self._workers.faults.record(fault)
        return fault


STORES = ("orders", "inventory", "payments", "notifications", "steps")
"""The ports whose `commit` can fail; the log's `commit` is another call."""

FAULT_WORDS: Mapping[Behaviour, str] = {
    Behaviour.DECLINE: "the gateway declines",
    Behaviour.DELAY: "the gateway responds late",
    Behaviour.NO_ANSWER_BEFORE_CHARGE: "the call to the gateway is lost before the charge",
    Behaviour.NO_ANSWER_AFTER_CHARGE: "the gateway makes the charge, and its response is lost",
    Behaviour.LATE: "the gateway makes the charge, its response is lost, and a look-up finds the charge only later",
    Behaviour.REFUSE: "the gateway responds with 503",
    Behaviour.UNREACHABLE: "the connection to the gateway is refused",
    Behaviour.REFUSE_REFUND: "the gateway refuses the refund",
    Behaviour.NO_ANSWER_BEFORE_REFUND: "the call to the gateway is lost before the refund",
    Behaviour.NO_ANSWER_AFTER_REFUND: "the gateway makes the refund, and its response is lost",
    Behaviour.LATE_REFUND: "the gateway makes the refund, its response is lost, and a look-up finds it only later",
    Behaviour.CAPTURE_ANYWAY: "the gateway captures the charge that it voided",
}
"""How a report names each fault of the gateway."""


class _WatchedScript(Script):
    """A script that reports each of its rules that has been applied."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self._armed: dict[int, Fault] = {}
        self._kept: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Add a rule and arm its fault."""
        who = f", for {rule.order}" if rule.order else ""
        self._armed[id(rule)] = self._faults.arm(Fault(f"{FAULT_WORDS[rule.behaviour]}{who}"))
        self._kept.append(rule)  # keeps the rule alive, so that no other rule gets its `id`
        super().add(rule)

    def take(self, request: Request) -> list[Rule]:
        """Return the rules for this call, and count their faults as happened."""
        found = super().take(request)
        for line in found:
            self._faults.record(self._armed[id(line)])
        return found


def _no_wait(_seconds: float) -> None:
    """Return at once: in virtual time a delay takes no time."""


def worker_of(workers: Workers, service: str, known: Collection[Any]) -> ShopWorker:
    """Return the worker of a service or own step; raises `ValueError` for an unknown name."""
    if service not in known:
        raise ValueError(f"there is no service {service!r}; there are {', '.join(sorted(known))}")
    return ShopWorker(service, workers)
