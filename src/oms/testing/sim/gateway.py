"""The gateway and the notifier of a simulation: the tape chooses results and failures as real ones have them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from oms.adapters.gateways.book import MemoryBook, Page, RefundPage
from oms.domain.text import storable_name
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
    Notification,
    Notifier,
    PaymentGateway,
    Refund,
    Refunded,
    Unanswered,
    UnknownCharge,
    Void,
    Voided,
)

LATE_S = 8.0
"""Time for which a look-up doesn't find a late capture, in seconds: less than the settle window of 10 s."""

BEFORE, AFTER = "no answer, nothing done", "done, answer lost"
NOT_ATTEMPTED = "not attempted"
CHARGES = ("captures", "declines", BEFORE, AFTER, "late", NOT_ATTEMPTED)
CALLS = ("answers", BEFORE, AFTER)
REFUSES = "refuses"
LOOKUPS = ("answers", BEFORE, NOT_ATTEMPTED)

Draw = Callable[[str, Sequence[str]], int]


class TapeGateway(PaymentGateway, GatewayBook):
    """A gateway that draws the result of each call from the tape. With `refuses`, it may refuse refunds."""

    def __init__(self, clock: Clock, draw: Draw, *, refuses: bool = False) -> None:
        self._clock, self._draw = clock, draw
        self._refunds = (*CALLS, REFUSES) if refuses else CALLS
        self.book = MemoryBook()
        self.armed: deque[tuple[str, Callable[[], object]]] = deque()
        """A test's own decisions about the next charges, each with the function to call when it happens."""

    def charge(self, charge: Charge) -> Captured | Declined | NotAttempted | Unanswered:
        """Capture or decline, or leave the outcome unknown."""
        what = self._next_charge()
        if what == NOT_ATTEMPTED:
            return NotAttempted("connection refused")
        if what == BEFORE:
            return Unanswered("503: come again")
        now = self._clock.now()
        outcome = BookKind.DECLINE if what == "declines" else BookKind.CAPTURE
        amount = charge.amount.minor if outcome is BookKind.CAPTURE else 0
        seen_at = now + timedelta(seconds=LATE_S) if what == "late" else now
        name, code = storable_name(f"sim-{charge.key}", limits.ID), charge.amount.currency.code
        page = self.book.open(Page(charge.key, outcome, name, amount, seen_at, currency=code), now)
        return Unanswered("timed out") if what in (AFTER, "late") else _answer(page)

    def lookup(self, lookup: Lookup) -> Captured | Refunded | Declined | UnknownCharge | NotAttempted | Unanswered:
        """Return the outcome in the book, if it is visible yet."""
        what = LOOKUPS[self._draw("gateway lookup", LOOKUPS)]
        if what == BEFORE:
            return Unanswered("timed out")
        if what == NOT_ATTEMPTED:
            return NotAttempted("connection refused")
        if lookup.of is LookupOf.REFUND:
            refund = self.book.refund_page(lookup.key)
            return UnknownCharge() if refund is None else _refund_answer(refund)
        page = self.book.page(lookup.key)
        if page is None or page.visible_at > self._clock.now():
            return UnknownCharge()
        return _answer(page)

    def void(self, void: Void) -> Voided | Captured | Unanswered:
        """Block the key, unless its charge is captured."""
        what = CALLS[self._draw("gateway void", CALLS)]
        if what == BEFORE:
            return Unanswered("timed out")
        now = self._clock.now()
        page = self.book.open(Page(void.key, BookKind.VOID, "", 0, now), now)
        if what == AFTER:
            return Unanswered("timed out")
        return Captured(page.payment_id) if page.outcome is BookKind.CAPTURE else Voided()

    def refund(self, refund: Refund) -> Refunded | Declined | Unanswered:
        """Refund the money, refuse to, or leave the outcome unknown."""
        what = self._refunds[self._draw("gateway refund", self._refunds)]
        if what == BEFORE:
            return Unanswered("timed out")
        declined = "the account is closed" if what == REFUSES else None
        page = self.book.refund(refund, self._clock.now(), declined=declined)
        return Unanswered("timed out") if what == AFTER else _refund_answer(page)

    def all_entries(self) -> Iterable[BookEntry]:
        """Return every line of the book."""
        return self.book.all_entries()

    def _next_charge(self) -> str:
        if not self.armed:
            return CHARGES[self._draw("gateway charge", CHARGES)]
        what, happened = self.armed.popleft()
        happened()
        return what


def _answer(page: Page) -> Captured | Declined:
    if page.outcome is BookKind.CAPTURE:
        return Captured(page.payment_id)
    return Declined("voided" if page.outcome is BookKind.VOID else "declined")


def _refund_answer(page: RefundPage) -> Refunded | Declined:
    return Refunded() if page.declined is None else Declined(page.declined)


class TapeNotifier(Notifier):
    """A notifier that delivers, fails without delivering, or delivers and raises an error all the same."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.sent: list[Notification] = []

    def send(self, notification: Notification) -> None:
        """Keep the notification, or raise an error, as the tape decides."""
        what = CALLS[self._draw("gateway notifier", CALLS)]
        if what != BEFORE:
            self.sent.append(notification)
        if what != "answers":
            raise ConnectionError("timed out")
