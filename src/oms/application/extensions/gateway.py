"""Checks every answer of a payment gateway before the payment service uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import CoroutineType
from typing import Any, get_args

import attrs

from oms.application.extensions.calling import guarded
from oms.domain.text import storable_name, storable_text
from oms.ports import limits
from oms.ports.errors import OutcomeUnknown, WrongAnswer
from oms.ports.evidence import BookEntry, BookKind, GatewayBook
from oms.ports.extensions import (
    Authorised,
    Captured,
    Charge,
    ChargeAnswer,
    Declined,
    Lookup,
    LookupAnswer,
    LookupOf,
    NotAttempted,
    PaymentGateway,
    Pending,
    Refund,
    RefundAnswer,
    Refunded,
    Unanswered,
    Void,
    VoidAnswer,
)
from oms.ports.telemetry import Telemetry

Request = Charge | Lookup | Void | Refund

_EXPECTED = {
    "charge": get_args(ChargeAnswer),
    "lookup": get_args(LookupAnswer),
    "void": get_args(VoidAnswer),
    "refund": get_args(RefundAnswer),
}


class UnusableGatewayAnswer(OutcomeUnknown):
    """A payment gateway returned something that its port doesn't allow, so money may have moved or not.

    Any other extension's answer of this kind is a `WrongAnswer`, which is permanent.
    """


@attrs.frozen
class CheckedGateway(PaymentGateway):
    """A shop's gateway that returns only answers that the payment service can use and store.

    Raises `UnusableGatewayAnswer` for an answer of a type that the call doesn't allow. A payment id that can't be
    stored becomes one that can (`storable_payment_id`) and raises an alert, so that a captured payment is never lost.
    Exceptions of the gateway pass through: the task layer counts them as unanswered.
    """

    _gateway: PaymentGateway
    _telemetry: Telemetry

    def charge(self, charge: Charge) -> ChargeAnswer:
        """Capture the amount."""
        answer: ChargeAnswer = self._call("charge", charge, self._gateway.charge)
        return answer

    def lookup(self, lookup: Lookup) -> LookupAnswer:
        """Look up a charge."""
        answer: LookupAnswer = self._call("lookup", lookup, self._gateway.lookup)
        return answer

    def void(self, void: Void) -> VoidAnswer:
        """Make a later capture impossible."""
        answer: VoidAnswer = self._call("void", void, self._gateway.void)
        return answer

    def refund(self, refund: Refund) -> RefundAnswer:
        """Give money back."""
        answer: RefundAnswer = self._call("refund", refund, self._gateway.refund)
        return answer

    def _call(self, call: str, request: Request, method: Callable[[Any], object]) -> Any:
        try:
            answer = guarded(f"gateway.{call}", method, request)
        except WrongAnswer as ended:
            raise UnusableGatewayAnswer(str(ended)) from ended
        return self._checked(call, request, answer)

    def _checked(self, call: str, request: Request, answer: object) -> Any:
        expected = _expected(call, request)
        if not isinstance(answer, expected):
            raise UnusableGatewayAnswer(_refusal(call, answer, expected))
        match answer:
            case Captured() | Authorised():
                return self._with_storable_id(request, answer)
            case Declined():
                return Declined(storable_text(answer.reason))
            case Pending() | NotAttempted() | Unanswered():
                return attrs.evolve(answer, detail=storable_text(answer.detail))
            case _:
                return answer

    def _with_storable_id(self, request: Request, answer: Captured | Authorised) -> Captured | Authorised:
        found: object = answer.payment_id
        stored = storable_payment_id(found, request.key)
        if isinstance(found, str) and found == stored:
            return answer
        if _text(found) != stored:  # a number or a UUID is stored as its text, which loses nothing
            alert = {"order_id": request.order_id, "payment_id": storable_text(found), "stored_as": stored}
            self._telemetry.alert("payment id can't be stored", **alert)
        return attrs.evolve(answer, payment_id=stored)


@attrs.frozen
class CheckedBook(GatewayBook):
    """A shop's own book; raises `WrongAnswer` for an entry that can't be summed."""

    _book: GatewayBook

    def all_entries(self) -> Iterable[BookEntry]:
        """Return every entry."""
        for entry in self._book.all_entries():
            if not _is_entry(entry):
                raise WrongAnswer(
                    f"all_entries() returned {storable_text(repr(entry), 200)}; expected a BookEntry with a key, a"
                    " BookKind, an amount in minor units (int, not negative), a time with a time zone, and a currency"
                    " and a refund_key that are a str or None"
                )
            yield entry


def book_of(gateway: object) -> GatewayBook | None:
    """Return the book of a gateway that implements `GatewayBook`, with checks; None for any other gateway."""
    return CheckedBook(gateway) if isinstance(gateway, GatewayBook) else None


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, BookEntry)
        and isinstance(entry.key, str)
        and isinstance(entry.kind, BookKind)
        and type(entry.amount) is int
        and entry.amount >= 0
        and isinstance(entry.at, datetime)
        and entry.at.tzinfo is not None
        and isinstance(entry.currency, str | None)
        and isinstance(entry.refund_key, str | None)
    )


def storable_payment_id(found: object, key: str) -> str:
    """Return a gateway's payment id as text that every store and message accepts: 1 to 64 characters.

    None and empty text become the charge's key, anything else its `str`; `storable_name` shortens a longer one.
    """
    return storable_name((found if isinstance(found, str) else _text(found)) or key, limits.ID)


def _text(found: object) -> str:
    if found is None:
        return ""
    try:
        return str(found)
    except Exception:  # noqa: BLE001 - money has moved: keep the payment even if its id has no text
        return storable_text(found)


def _expected(call: str, request: Request) -> tuple[type, ...]:
    """Return the types of answers that a call allows. A charge that was refunded is `Captured` in its look-up."""
    of_charge = isinstance(request, Lookup) and request.of is LookupOf.CHARGE
    return tuple(one for one in _EXPECTED[call] if not (of_charge and one is Refunded))


def _refusal(call: str, answer: object, allowed: tuple[type, ...]) -> str:
    if isinstance(answer, CoroutineType):
        answer.close()  # or Python would warn that it was never awaited
    kind = answer if isinstance(answer, type) else type(answer)
    expected = ", ".join(one.__name__ for one in allowed)
    shown = "the class" if isinstance(answer, type) else storable_text(answer, 200)
    return f"{call}() returned {kind.__module__}.{kind.__qualname__} ({shown}); expected one of {expected}"
