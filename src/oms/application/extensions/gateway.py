"""Checks every answer of a payment gateway before the payment service uses it."""

from __future__ import annotations

import hashlib
from types import CoroutineType
from typing import Any, get_args

import attrs

from oms.domain.text import is_storable, storable_text
from oms.ports.errors import OutcomeUnknown
from oms.ports.plugs import (
    PAYMENT_ID_LIMIT,
    Authorised,
    Captured,
    Charge,
    ChargeAnswer,
    Declined,
    Lookup,
    LookupAnswer,
    NotAttempted,
    PaymentGateway,
    Pending,
    Refund,
    RefundAnswer,
    Unanswered,
    Void,
    VoidAnswer,
)
from oms.ports.signals import Signals

_DIGEST_DIGITS = 16
"""Hexadecimal digits that keep two shortened ids apart: 64 bits."""

Request = Charge | Lookup | Void | Refund

_EXPECTED = {
    "charge": get_args(ChargeAnswer),
    "lookup": get_args(LookupAnswer),
    "void": get_args(VoidAnswer),
    "refund": get_args(RefundAnswer),
}


class WrongAnswer(OutcomeUnknown):
    """A gateway returned something that its port doesn't allow, so the outcome of the call is unknown."""


@attrs.frozen
class CheckedGateway(PaymentGateway):
    """Passes calls on to a shop's gateway, and returns only answers that can be used and stored.

    Raises `WrongAnswer` for an answer of a type that the call doesn't allow. A payment id that can't be stored becomes
    one that can (`storable_payment_id`) and raises an alert, so the news that money moved is never lost. Exceptions of
    the gateway pass through: the task layer counts them as unanswered.
    """

    _gateway: PaymentGateway
    _signals: Signals

    def charge(self, charge: Charge) -> ChargeAnswer:
        """Capture the amount."""
        answer: ChargeAnswer = self._checked("charge", charge, self._gateway.charge(charge))
        return answer

    def lookup(self, lookup: Lookup) -> LookupAnswer:
        """Ask what became of a charge."""
        answer: LookupAnswer = self._checked("lookup", lookup, self._gateway.lookup(lookup))
        return answer

    def void(self, void: Void) -> VoidAnswer:
        """Make a later capture impossible."""
        answer: VoidAnswer = self._checked("void", void, self._gateway.void(void))
        return answer

    def refund(self, refund: Refund) -> RefundAnswer:
        """Give money back."""
        answer: RefundAnswer = self._checked("refund", refund, self._gateway.refund(refund))
        return answer

    def _checked(self, call: str, request: Request, answer: object) -> Any:
        if not isinstance(answer, _EXPECTED[call]):
            raise WrongAnswer(_refusal(call, answer))
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
            self._signals.alarm("payment id can't be stored", **alert)
        return attrs.evolve(answer, payment_id=stored)


def storable_payment_id(found: object, key: str) -> str:
    """Return a gateway's payment id as text that every store and message accepts: 1 to 64 characters.

    None and empty text become the charge's key. Text that is too long, or holds U+0000 or a lone surrogate, becomes its
    first 47 characters, `~`, and 16 hexadecimal digits of its SHA-256, so that two ids stay two. Anything else becomes
    its `str` first.
    """
    text = found if isinstance(found, str) else _text(found)
    text = text or key
    if len(text) <= PAYMENT_ID_LIMIT and is_storable(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    kept = PAYMENT_ID_LIMIT - _DIGEST_DIGITS - 1
    return f"{storable_text(text[:kept], kept)}~{digest}"


def _text(found: object) -> str:
    if found is None:
        return ""
    try:
        return str(found)
    except Exception:  # noqa: BLE001 - money moved, whatever its id is: the text of an object that has none
        return storable_text(found)


def _refusal(call: str, answer: object) -> str:
    if isinstance(answer, CoroutineType):
        answer.close()  # lest Python warns that it was never awaited
    kind = answer if isinstance(answer, type) else type(answer)
    expected = ", ".join(one.__name__ for one in _EXPECTED[call])
    what = "the class" if isinstance(answer, type) else storable_text(answer, 200)
    return f"{call}() returned {kind.__module__}.{kind.__qualname__} ({what}); expected one of {expected}"
