"""Checks the answers of pricing and policy, and makes refusals storable."""

from __future__ import annotations

import re

import attrs

from oms.application.extensions.calling import called, described, returns_none
from oms.domain.errors import Conflict, DomainError, InvalidValue, KeyReused, NotFound, Refused
from oms.domain.money import Currency, Money
from oms.domain.terms import Terms
from oms.domain.text import storable_text
from oms.ports.extensions import Policy, Pricing, Principal

_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOT_IN_CODE = re.compile(r"[^A-Za-z0-9._-]+")
_KINDS = (InvalidValue, NotFound, Conflict, KeyReused, Refused)


def checked_total(total: object, currency: Currency, source: str) -> Money:
    """Return `total` if it is an amount of this currency, in whole minor units from 0 to `MAX_MINOR`.

    Raises `InvalidValue` for anything else; `source` names its origin in the error.
    """
    if not isinstance(total, Money):
        raise InvalidValue("invalid_amount", f"{source}: expected Money, got {described(total)}")
    if total.currency != currency:
        raise InvalidValue(
            "invalid_currency", f"{source}: expected an amount in {currency.code}, got {total.currency.code}"
        )
    return total


def storable_refusal(refusal: DomainError) -> DomainError:
    """Return a refusal that can be stored and sent: `refusal` itself if it can, else one of its kind.

    Codes are 1 to 64 of `A-Z a-z 0-9 . _ -`; other characters become `_`. The detail is made storable.
    """
    code, detail = getattr(refusal, "code", None), getattr(refusal, "detail", None)
    plain = isinstance(code, str) and _CODE.fullmatch(code) and type(detail) is str and detail == storable_text(detail)
    if plain:
        return refusal
    text = storable_text(code if isinstance(code, str) else "", 64)
    kind = next((kind for kind in _KINDS if isinstance(refusal, kind)), InvalidValue)
    named = _NOT_IN_CODE.sub("_", text).strip("_") or "refused"
    return kind(named, storable_text(refusal if detail is None else detail))


@attrs.frozen
class CheckedPricing(Pricing):
    """A shop's pricing, whose total is checked."""

    inner: Pricing
    currency: Currency

    def price(self, terms: Terms) -> Money:
        """Return the total; `InvalidValue` for one that can't be charged. A refusal is made storable."""
        try:
            total = called("pricing.price", self.inner.price, terms)
        except DomainError as refusal:
            raise storable_refusal(refusal) from refusal
        return checked_total(total, self.currency, "pricing.price")


@attrs.frozen
class CheckedPolicy(Policy):
    """A shop's policy, which accepts only by returning None."""

    inner: Policy

    def check(self, terms: Terms, caller: Principal) -> None:
        """Return None to accept. Makes a refusal storable; raises `WrongAnswer` if the policy doesn't return None."""
        try:
            returns_none("policy.check", self.inner.check, terms, caller)
        except DomainError as refusal:
            raise storable_refusal(refusal) from refusal
