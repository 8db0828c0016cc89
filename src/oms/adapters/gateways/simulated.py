"""A simulated payment gateway with a book of its own, whose failures can be scripted."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import attrs

from oms.adapters.gateways.book import Book, MemoryBook, Page, RefundPage
from oms.adapters.gateways.order_script import OrderScript
from oms.adapters.gateways.script import Behaviour, Request, Rule, Script, read_script
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.domain.money import Currency, Money
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.text import storable_name
from oms.domain.values import OrderId, UserId
from oms.ports import limits
from oms.ports.clock import Clock
from oms.ports.evidence import BookEntry, BookKind, GatewayBook
from oms.ports.extensions import (
    Captured,
    Charge,
    Declined,
    Lookup,
    LookupOf,
    NotAttempted,
    PaymentGateway,
    Refund,
    Refunded,
    Unanswered,
    UnknownCharge,
    Void,
    Voided,
)
from oms.settings.records import SimulatedGatewayConfig


class SimulatedGateway(PaymentGateway, GatewayBook):
    """Captures a share of the charges and declines the others. The key decides, so a repeated charge ends the same way.

    `decline_next()` and `on(order)` script failures of calls in this process; `delay_s` is how long each charge takes.
    """

    def __init__(
        self,
        book: Book,
        clock: Clock,
        *,
        success_rate: float = 1.0,
        seed: int = 0,
        delay_s: float = 0.0,
        timeout_s: float = 5.0,
        script: Script | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._book, self._clock, self._wait = book, clock, wait
        self._success_rate, self._seed = success_rate, seed
        self._delay_s, self._timeout_s = delay_s, timeout_s
        self._script = script or Script()

    @classmethod
    def from_config(cls, config: SimulatedGatewayConfig, clock: Clock, path: Path | None) -> Self:
        """Return the gateway with its book in a file (None: in memory)."""
        return cls(
            SqliteBook(path) if path else MemoryBook(),
            clock,
            success_rate=config.success_rate,
            seed=config.seed,
            delay_s=config.delay_s,
            timeout_s=config.timeout_s,
            script=read_script(config.script) if config.script else None,
        )

    # -- scripted in process

    def decline_next(self) -> None:
        """Decline the next charge, of any order."""
        self._script.add(Rule(Behaviour.DECLINE, times=1))

    def on(self, order_id: str) -> OrderScript:
        """Scripts the calls of one order."""
        return OrderScript(self._script, order_id)

    # -- the port

    def charge(self, charge: Charge) -> Captured | Declined | NotAttempted | Unanswered:
        """Capture or decline; the script may lose the response before or after that."""
        rules = self._rules(charge)
        if Behaviour.UNREACHABLE in rules:
            return NotAttempted("connection refused")
        delay_s = rules[Behaviour.DELAY].seconds if Behaviour.DELAY in rules else self._delay_s
        self._wait_for(min(delay_s, self._timeout_s))
        if Behaviour.REFUSE in rules:
            return Unanswered("503: come again")
        if Behaviour.NO_ANSWER_BEFORE_CHARGE in rules:
            return Unanswered("timed out before the charge")
        page = self._decide(charge, rules)
        if Behaviour.NO_ANSWER_AFTER_CHARGE in rules or Behaviour.LATE in rules or delay_s > self._timeout_s:
            return Unanswered("timed out after the charge")
        return _outcome(page)

    def lookup(self, lookup: Lookup) -> Captured | Refunded | Declined | UnknownCharge:
        if lookup.of is LookupOf.REFUND:
            refund = self._book.refund_page(lookup.key)
            visible = refund is not None and refund.visible_at <= self._clock.now()
            return _refund_outcome(refund) if refund is not None and visible else UnknownCharge()
        page = self._book.page(lookup.key)
        if page is None or page.visible_at > self._clock.now():
            return UnknownCharge()
        return _outcome(page)

    def void(self, void: Void) -> Voided | Captured:
        now = self._clock.now()
        if Behaviour.CAPTURE_ANYWAY in self._rules(void):
            self._book.open(_captured_page(void, now), now)
            return Voided()
        page = self._book.open(Page(void.key, BookKind.VOID, "", 0, now), now)
        return Captured(page.payment_id) if page.outcome is BookKind.CAPTURE else Voided()

    def refund(self, refund: Refund) -> Refunded | Declined | Unanswered:
        """Give money back or decline; the script may lose the response before or after that."""
        rules = self._rules(refund)
        if Behaviour.NO_ANSWER_BEFORE_REFUND in rules:
            return Unanswered("timed out before the refund")
        if self._book.page(refund.charge_key) is None:
            return Unanswered("no charge is known under this key")
        refused, late = rules.get(Behaviour.REFUSE_REFUND), rules.get(Behaviour.LATE_REFUND)
        declined = refused.reason or "refused" if refused is not None else None
        now = self._clock.now()
        visible_at = now + timedelta(seconds=late.seconds if late is not None else 0)
        page = self._book.refund(refund, now, declined=declined, visible_at=visible_at)
        if Behaviour.NO_ANSWER_AFTER_REFUND in rules or late is not None:
            return Unanswered("timed out after the refund")
        return _refund_outcome(page)

    # -- the book

    def all_entries(self) -> Iterable[BookEntry]:
        return self._book.all_entries()

    def repair_book(self, payments: Iterable[Payment]) -> int:
        """Make a book that was copied at another moment agree with these payments.

        Writes captures and refunds that the payments have and the book lacks, and refunds captures without a payment.
        Returns the number of entries written.
        """
        now, before = self._clock.now(), list(self._book.all_entries())
        known: set[str] = set()
        for payment in payments:
            known.add(payment.key)
            if payment.payment_id is not None and payment.user_id is not None and payment.total is not None:
                currency = payment.total.currency.code
                page = Page(payment.key, BookKind.CAPTURE, payment.payment_id, payment.total.minor, now, 0, currency)
                self._book.open(page, now)
                for refund in _paid_refunds(payment):
                    self._write_refund(payment.refund_key(refund), payment.key, payment.order_id, refund.amount)
        net: Counter[str] = Counter()
        for entry in before:
            net[entry.key] += {BookKind.CAPTURE: entry.amount, BookKind.REFUND: -entry.amount}.get(entry.kind, 0)
        currencies = {entry.key: entry.currency for entry in before if entry.currency is not None}
        for key, minor in net.items():
            if minor > 0 and key not in known and key in currencies:
                self._write_refund(key, key, OrderId(""), Money(minor, Currency.of(currencies[key])))
        return len(list(self._book.all_entries())) - len(before)

    def _write_refund(self, key: str, charge_key: str, order_id: OrderId, amount: Money) -> None:
        refund = Refund(key=key, charge_key=charge_key, order_id=order_id, user_id=UserId(""), amount=amount)
        self._book.refund(refund, self._clock.now())

    def close(self) -> None:
        """Close the book."""
        self._book.close()

    def _decide(self, charge: Charge, rules: dict[Behaviour, Rule]) -> Page:
        now = self._clock.now()
        late = rules[Behaviour.LATE].seconds if Behaviour.LATE in rules else 0.0
        captured = Behaviour.DECLINE not in rules and self._chance(charge.key) < self._success_rate
        page = _captured_page(charge, now + timedelta(seconds=late))
        return self._book.open(page if captured else attrs.evolve(page, outcome=BookKind.DECLINE, amount=0), now)

    def _rules(self, request: Request) -> dict[Behaviour, Rule]:
        return {rule.behaviour: rule for rule in self._script.take(request)}

    def _chance(self, key: str) -> float:
        """A number from 0 to 1 that depends only on seed and key."""
        digest = hashlib.sha256(f"{self._seed}:{key}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    def _wait_for(self, seconds: float) -> None:
        if seconds > 0:
            self._wait(seconds)


def _outcome(page: Page) -> Captured | Declined:
    if page.outcome is BookKind.CAPTURE:
        return Captured(page.payment_id)
    return Declined("voided" if page.outcome is BookKind.VOID else "declined")


def _refund_outcome(page: RefundPage) -> Refunded | Declined:
    return Refunded() if page.declined is None else Declined(page.declined)


def _captured_page(request: Charge | Void, visible_at: datetime) -> Page:
    """Return the page of a captured charge."""
    payment_id, currency = storable_name(f"sim-{request.key}", limits.ID), request.amount.currency.code
    return Page(request.key, BookKind.CAPTURE, payment_id, request.amount.minor, visible_at, currency=currency)


def _paid_refunds(payment: Payment) -> list[PaymentRefund]:
    """Return the refunds that the gateway has paid."""
    if payment.state is PaymentState.REFUNDED:
        return [] if payment.whole_refund.outside else [payment.whole_refund]
    paid = [refund for refund in payment.refunds if refund.state is PaymentRefundState.PAID]
    return [refund for refund in paid if refund.amount.minor and not refund.outside]
