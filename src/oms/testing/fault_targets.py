"""Who can be told to misbehave in a test, each in words of its own: gateway, workers, topics, gate.

Every method arms one fault, which strikes at the next moment that fits. A test in which it never does fails
(`NeverHappened`), unless it is asked for again and again (`times`): then once is enough.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Protocol

import attrs

from oms.adapters.gateways.book import Book
from oms.adapters.gateways.script import Behaviour, Rule, Script
from oms.adapters.gateways.simulated import OrderScript, SimulatedGateway
from oms.domain.order import Order
from oms.ports.clock import Clock
from oms.ports.extensions import Charge
from oms.testing.faults import AtCall, Fault, Faults, OfMessage
from oms.testing.workers import Workers

LATE_S = 8.0
"""How long nobody knows of a late charge, unless told otherwise: less than the settle window of 10 s."""


class NextCharge(Protocol):
    """What the next charge can meet, on any kind of shop."""

    @abstractmethod
    def decline_next(self) -> None:
        """Decline the next charge, whosever it is."""

    @abstractmethod
    def lose_next_answer(self) -> None:
        """Take the money of the next charge, and lose the answer."""

    @abstractmethod
    def lose_next_call(self) -> None:
        """Lose the next charge before it has any effect."""

    @abstractmethod
    def hide_next(self) -> None:
        """Take the money of the next charge, lose the answer, and know nothing of it for 8 s."""


class ShopGateway(SimulatedGateway, NextCharge):
    """The gateway of a shop: captures every charge, unless it is told otherwise for the next one or for an order."""

    def __init__(self, book: Book, clock: Clock, faults: Faults) -> None:
        self._watched = _WatchedScript(faults)
        super().__init__(book, clock, success_rate=1.0, script=self._watched, wait=_no_wait)

    def on(self, order_id: Order | str) -> OrderScript:
        """What is to happen to the charges of one order."""
        return super().on(order_id.id if isinstance(order_id, Order) else order_id)

    def decline_next(self) -> None:
        """Decline the next charge, whosever it is."""
        super().decline_next()

    def lose_next_answer(self) -> None:
        """Take the money of the next charge, and lose the answer: it is found under the same key."""
        self._watched.add(Rule(Behaviour.NO_ANSWER_AFTER_CHARGE, times=1))

    def lose_next_call(self) -> None:
        """Lose the next charge before it has any effect: it is made again once it is sure that it had none."""
        self._watched.add(Rule(Behaviour.NO_ANSWER_BEFORE_CHARGE, times=1))

    def hide_next(self, *, seconds: float = LATE_S) -> None:
        """Take the money of the next charge, lose the answer, and know nothing of it for so long."""
        self._watched.add(Rule(Behaviour.LATE, times=1, seconds=seconds))

    def refuse_next(self, times: int = 1) -> None:
        """Answer the next calls with 503."""
        self._watched.add(Rule(Behaviour.REFUSE, times=times))

    def unreachable_next(self, times: int = 1) -> None:
        """Refuse the connection of the next calls: the charge is made later, without a look-up."""
        self._watched.add(Rule(Behaviour.UNREACHABLE, times=times))


@attrs.frozen
class ShopWorker:
    """The worker of one service, which runs its messages, tasks and commands.

    `of` says in which of these the fault strikes (`messages`, `tasks`, `commands`; empty: in any), `nth` at which one
    of such moments from now on. A dead worker is replaced by another process of its service at once.
    """

    service: str
    _workers: Workers

    def crash_before_commit(self, *, of: str = "", nth: int = 1) -> Fault:
        """Die with everything done and nothing committed: the messages are delivered again."""
        return self._at("commit:before", self._workers.die, "crashes before its commit", of, nth)

    def crash_after_commit(self, *, of: str = "", nth: int = 1) -> Fault:
        """Die right after the commit: what it owes is sent by another one, what it read is delivered again."""
        return self._at("commit:after", self._workers.die, "crashes after its commit", of, nth)

    def crash_before_publish(self, *, nth: int = 1) -> Fault:
        """Die with its messages committed and not in the log yet: another one publishes them."""
        return self._at("publish:before", self._workers.die, "crashes before it publishes", "", nth)

    def crash_after_publish(self, *, nth: int = 1) -> Fault:
        """Die with its messages in the log, and no note of it: they are published again."""
        return self._at("publish:after", self._workers.die, "crashes after it published", "", nth)

    def crash_after_call(self, *, nth: int = 1) -> Fault:
        """Die with an outside call made, and its answer unsaved: it is looked up, or made again under its key."""
        return self._at("submit:after", self._workers.die, "crashes after an outside call", "", nth)

    def fail_commit(self, *, of: str = "", nth: int = 1) -> Fault:
        """Have the commit fail; nothing happened, and it is tried again."""
        return self._at("commit:before", self._workers.fail, "fails to commit", of, nth)

    def lose_commit_answer(self, *, of: str = "", nth: int = 1) -> Fault:
        """Commit, and lose the answer: nobody knows the outcome, until the work finds itself done."""
        return self._at("commit:after", self._workers.lose_answer, "loses the answer to its commit", of, nth)

    def lose_partitions(self, *, nth: int = 1) -> Fault:
        """Lose the partitions in the middle of a batch: its offsets count for nothing, and it is delivered again."""
        words = "loses its partitions in mid-batch"
        return self._at("claim_inbox:after", self._workers.lose_partitions, words, "", nth)

    def sleep_past_poll_interval(self, *, nth: int = 1) -> Fault:
        """Stand still for a minute in the middle of a batch that another process then handles; and go on with it."""
        words = "sleeps past the poll interval"
        return self._at("start_attempts:after", self._workers.oversleep, words, "", nth)

    def sleep_in_transaction(self, *, nth: int = 1) -> Fault:
        """Stand still for a minute with a transaction open: others want its rows in vain, and come again."""
        return self._at("claim_inbox:after", self._workers.oversleep, "sleeps in a transaction", "", nth)

    def _at(self, place: str, act: Callable[[str], None], what: str, of: str, nth: int) -> Fault:
        if of not in ("", "messages", "tasks", "commands"):
            raise ValueError(f"of is 'messages', 'tasks' or 'commands', not {of!r}")
        words = f"{self.service} {what}{f' of {of}' if of else ''}{f' (number {nth})' if nth > 1 else ''}"
        ports = STORES if place.startswith("commit") else ()
        fault = AtCall(words, service=self.service, place=place, of=of, skipped=nth - 1, ports=ports, act=act)
        return self._workers.faults.ask(fault)


@attrs.frozen
class ShopTopic:
    """One topic of the log. Every method takes an order, and is about any message of the topic without one."""

    name: str
    _faults: Faults

    def repeat(self, order: Order | str | None = None, *, times: int = 1) -> Fault:
        """Have the newest message once more in the log, when everything has come to rest after it."""
        return self._ask(order, f"{self.name} comes again", times, None)

    def delay(self, order: Order | str | None = None, **time: float) -> Fault:
        """Nobody can read the next message before so much time (`minutes=5`) has passed, nor what is behind it."""
        by = timedelta(**time)
        if by <= timedelta():
            raise ValueError("say how late it comes: delay(minutes=5)")
        return self._ask(order, f"{self.name} comes {by.total_seconds():g} s late", 1, by)

    def _ask(self, order: Order | str | None, words: str, times: int, by: timedelta | None) -> Fault:
        order_id = order.id if isinstance(order, Order) else order
        words += f", for {order_id}" if order_id else ""
        return self._faults.ask(OfMessage(words, left=times, topic=self.name, order_id=order_id, by=by))


@attrs.frozen
class ShopGate:
    """The stock gate, which is Redis in production."""

    _workers: Workers

    def lose_last_second(self, *, nth: int = 1) -> Fault:
        """Restart without the next hold that it takes: closed, until it is rebuilt from the ledger."""
        words = "the gate loses its last second"
        fault = AtCall(
            words, service="inventory", place="take:after", skipped=nth - 1, act=self._workers.lose_gate_tail
        )
        return self._workers.faults.ask(fault)

    def flush(self) -> Fault:
        """Forget everything, now: closed, until it is rebuilt from the ledger."""
        fault = self._workers.faults.ask(Fault("the gate is flushed"))
        self._workers.flush_gate()
        self._workers.faults.strike(fault)
        return fault


STORES = ("orders", "inventory", "payments", "notifications", "steps")
"""Whose commit is meant, where the log has one too."""

_WORDS: Mapping[Behaviour, str] = {
    Behaviour.DECLINE: "the gateway declines",
    Behaviour.DELAY: "the gateway takes its time",
    Behaviour.NO_ANSWER_BEFORE_CHARGE: "the gateway never gets the charge",
    Behaviour.NO_ANSWER_AFTER_CHARGE: "the gateway charges, and its answer is lost",
    Behaviour.LATE: "the gateway charges, and knows of it late",
    Behaviour.REFUSE: "the gateway answers 503",
    Behaviour.UNREACHABLE: "the gateway can't be reached",
}


class _WatchedScript(Script):
    """A script that says which of its lines were played."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self._asked: dict[int, Fault] = {}
        self._kept: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Play this as well."""
        who = f", for {rule.order}" if rule.order else ""
        self._asked[id(rule)] = self._faults.ask(Fault(f"{_WORDS[rule.behaviour]}{who}"))
        self._kept.append(rule)  # so that no other line gets its identity
        super().add(rule)

    def take(self, charge: Charge) -> list[Rule]:
        """What happens to this call."""
        found = super().take(charge)
        for line in found:
            self._faults.strike(self._asked[id(line)])
        return found


def _no_wait(_seconds: float) -> None:
    """Virtual time: a delay is over at once."""


def worker_of(workers: Workers, service: str, known: Collection[Any]) -> ShopWorker:
    """The worker of a service or own step; `ValueError` for one that there isn't."""
    if service not in known:
        raise ValueError(f"there is no service {service!r}; there are {', '.join(sorted(known))}")
    return ShopWorker(service, workers)
