"""The hooks, flags and helpers of the gateway suites: how they make a gateway, call it and read its book."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, get_args
from uuid import uuid4

import attrs
import pytest

from oms.domain.money import Currency, Money
from oms.domain.values import Metadata, OrderId, UserId
from oms.ports.evidence import BookEntry, BookKind
from oms.ports.extensions import (
    Captured,
    Charge,
    ChargeAnswer,
    Lookup,
    LookupAnswer,
    LookupOf,
    Refund,
    RefundAnswer,
    Void,
    VoidAnswer,
)
from oms.testing.contracts.extension_calls import at_once, unchanged

Request = Charge | Lookup | Void | Refund

_ANSWERS: Mapping[type[object], tuple[type[object], ...]] = {
    Charge: get_args(ChargeAnswer),
    Lookup: get_args(LookupAnswer),
    Void: get_args(VoidAnswer),
    Refund: get_args(RefundAnswer),
}


class GatewayCalls:
    """The hooks, flags and helpers that the gateway suites share; `oms.testing.contracts.gateway` describes them."""

    can_decline = True
    """Whether a test can arrange that a charge is declined."""

    can_lose_answers = True
    """Whether a test can lose the response to a charge that was made."""

    can_lose_refund_answers = True
    """Whether a test can lose the response to a refund that was made."""

    can_refuse_refunds = True
    """Whether a test can arrange that a refund is declined though enough of its charge is left."""

    looks_up_refunds = True
    """Whether `lookup` answers about refunds (`LookupOf.REFUND`)."""

    can_reopen = True
    """Whether a new gateway object can use the records of an earlier one."""

    shows_a_book = True
    """Whether the gateway implements `GatewayBook`."""

    currency = "USD"
    """The currency of all amounts."""

    amount = 1999
    """The amount of most charges, in minor units; the tests refund 500 of it three times."""

    smallest_amount = 1
    """The smallest amount that the gateway accepts, in minor units."""

    within_s = 5.0
    """Time limit of one call, in seconds (`OMS_PAYMENT_TIMEOUT_S`)."""

    # -- defined by a subclass

    @pytest.fixture
    def gateway(self) -> Any:
        """A gateway that captures every charge unless a test arranges another result."""
        raise NotImplementedError("a contract suite needs the fixture `gateway`")

    def decline(self, gateway: Any, charge: Charge) -> Charge:
        """Arrange that a charge is declined; return the charge to make (for instance with the token of a bad card)."""
        raise NotImplementedError("a gateway that can be made to decline needs `decline`")

    def lose_answer(self, gateway: Any, charge: Charge) -> None:
        """Make this charge so that the money is captured but no response arrives."""
        raise NotImplementedError("a gateway that can lose an answer needs `lose_answer`")

    def lose_refund_answer(self, gateway: Any, refund: Refund) -> None:
        """Make this refund so that the money is given back but no response arrives."""
        raise NotImplementedError("a gateway that can lose an answer to a refund needs `lose_refund_answer`")

    def refuse_refund(self, gateway: Any, refund: Refund) -> Refund:
        """Arrange that a refund is declined; return the refund to make. The same refund under another key is made."""
        raise NotImplementedError("a gateway that can be made to decline a refund needs `refuse_refund`")

    def reopen(self, gateway: Any) -> Any:
        """Return a new gateway object with the same records, as a restarted process has it."""
        raise NotImplementedError("a gateway that can be opened again needs `reopen`")

    def new_charge(self, *, minor: int | None = None, metadata: Metadata | None = None) -> Charge:
        """Return a charge with a new key."""
        order = OrderId(str(uuid4()))
        money = Money(self.amount if minor is None else minor, Currency.of(self.currency))
        return Charge(
            key=f"oms-{order}", order_id=order, user_id=UserId("customer-1"), amount=money, metadata=metadata or {}
        )

    # -- helpers

    def call(self, gateway: Any, request: Request) -> Any:
        """Make one call; fail on an exceeded time limit, an illegal type of result, or a changed argument."""
        (answer,) = self.call_at_once(gateway, request)
        return answer

    def call_at_once(self, gateway: Any, *requests: Request) -> list[Any]:
        """Make several calls at the same time and return their results."""
        calls = [partial(getattr(gateway, _method(request)), request) for request in requests]
        with unchanged("record", *requests):
            answers = at_once(self.within_s, calls)
        for request, answer in zip(requests, answers, strict=True):
            allowed = _ANSWERS[type(request)]
            names = ", ".join(kind.__name__ for kind in allowed)
            assert isinstance(answer, allowed), f"{_method(request)}() returned {answer!r}; expected one of {names}"
        return answers

    def captured(self, gateway: Any, charge: Charge) -> Captured:
        """Make a charge that is captured."""
        answer = self.call(gateway, charge)
        assert isinstance(answer, Captured), f"charge() returned {answer!r}; expected Captured"
        return answer

    def assert_net(self, gateway: Any, charge: Charge, minor: int) -> None:
        """Check the book, if there is one: at most one capture, and captures minus refunds equal `minor`."""
        if not self.shows_a_book:
            return
        entries = entries_of(gateway, charge)
        assert sum(one.kind is BookKind.CAPTURE for one in entries) <= 1, f"captured more than once: {entries}"
        signs = {BookKind.CAPTURE: 1, BookKind.REFUND: -1}
        assert sum(signs.get(one.kind, 0) * one.amount for one in entries) == minor


def _method(request: Request) -> str:
    return type(request).__name__.lower()


def lookup_of(charge: Charge, payment_id: str | None = None) -> Lookup:
    """Return the look-up of a charge."""
    return Lookup(payment_id=payment_id, **_shared(charge))


def refund_lookup_of(refund: Refund) -> Lookup:
    """Return the look-up of a refund."""
    return Lookup(of=LookupOf.REFUND, charge_key=refund.charge_key, payment_id=refund.payment_id, **_shared(refund))


def void_of(charge: Charge, payment_id: str | None = None) -> Void:
    """Return the void of a charge."""
    return Void(payment_id=payment_id, **_shared(charge))


def refund_of(charge: Charge, captured: Captured | None, *, key: str = "", minor: int | None = None) -> Refund:
    """Return a refund of the whole charge under its key, unless another key and amount are given."""
    shared = _shared(charge)
    if minor is not None:
        shared["amount"] = Money(minor, charge.amount.currency)
    payment_id = captured.payment_id if captured else None
    return Refund(**{**shared, "key": key or charge.key}, charge_key=charge.key, payment_id=payment_id)


def part_of(charge: Charge, captured: Captured, name: str, *, minor: int = 500, attempt: int = 1) -> Refund:
    """Return one attempt of a refund of a part, with the key that `oms` gives it."""
    key = f"oms/{charge.order_id}/refund/{name}/{attempt}"
    return refund_of(charge, captured, key=key, minor=minor)


def entries_of(gateway: Any, charge: Charge) -> list[BookEntry]:
    """Return the lines of the book about a charge and its refunds."""
    return [one for one in gateway.all_entries() if one.key == charge.key]


def _shared(request: Charge | Refund) -> dict[str, Any]:
    return {field.name: getattr(request, field.name) for field in attrs.fields(Charge)}
