"""The payment gateway: each key has one result, money moves once, and a void is final.

A subclass defines the fixture `gateway` and sets the flags for each situation that can't be arranged with this gateway.
Each test uses new keys, so all tests and runs may share one account at the gateway:

    class TestMyGateway(GatewayContract):
        shows_a_book = False

        @pytest.fixture
        def gateway(self):
            return MyGateway(api_key=os.environ["TEST_KEY"])

        def decline(self, gateway, charge):
            return attrs.evolve(charge, metadata={"card": "declined"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args
from uuid import uuid4

import attrs
import pytest

from oms.domain.money import Currency, Money
from oms.domain.text import is_storable
from oms.domain.values import MAX_METADATA_BYTES, Metadata, OrderId, UserId
from oms.ports import limits
from oms.ports.evidence import BookEntry, BookKind
from oms.ports.extensions import (
    Captured,
    Charge,
    ChargeAnswer,
    Declined,
    Lookup,
    LookupAnswer,
    Refund,
    RefundAnswer,
    Refunded,
    UnknownCharge,
    Void,
    VoidAnswer,
    Voided,
)
from oms.testing.contracts.extension_calls import THREADS, assert_plain, at_once, unchanged
from oms.testing.contracts.extension_samples import HOSTILE_METADATA

Request = Charge | Lookup | Void | Refund

_ANSWERS: Mapping[type[object], tuple[type[object], ...]] = {
    Charge: get_args(ChargeAnswer),
    Lookup: get_args(LookupAnswer),
    Void: get_args(VoidAnswer),
    Refund: get_args(RefundAnswer),
}


class GatewayContract:
    """The contract of `PaymentGateway`, and of `GatewayBook` if the gateway has one."""

    can_decline = True
    """Whether a test can arrange that a charge is declined."""

    can_lose_answers = True
    """Whether a test can lose the response to a charge that was made."""

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

    # -- charge

    def test_its_methods_are_plain_functions(self, gateway: Any) -> None:
        assert_plain(gateway, "charge", "lookup", "void", "refund")

    def test_a_charge_is_captured(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        assert isinstance(captured.payment_id, str)
        assert 0 < len(captured.payment_id) <= limits.ID
        assert is_storable(captured.payment_id)
        self._assert_net(gateway, charge, self.amount)

    def test_a_repeated_charge_has_the_same_answer_and_moves_no_money(self, gateway: Any) -> None:
        charge = self.new_charge()
        first = self._captured(gateway, charge)
        assert self.call(gateway, charge) == first
        assert self.call(gateway, charge) == first
        self._assert_net(gateway, charge, self.amount)

    def test_charges_of_several_threads_under_one_key_are_one(self, gateway: Any) -> None:
        charge = self.new_charge()
        assert set(self.call_at_once(gateway, *[charge] * THREADS)) == {self.call(gateway, charge)}
        self._assert_net(gateway, charge, self.amount)

    def test_charges_under_two_keys_are_two_payments(self, gateway: Any) -> None:
        one, two = self.new_charge(), self.new_charge()
        assert self._captured(gateway, one).payment_id != self._captured(gateway, two).payment_id
        self._assert_net(gateway, one, self.amount)
        self._assert_net(gateway, two, self.amount)

    def test_the_amount_is_exact(self, gateway: Any) -> None:
        for minor in (self.smallest_amount, self.amount - 1, self.amount * 1000 + 7):
            charge = self.new_charge(minor=minor)
            self._captured(gateway, charge)
            self._assert_net(gateway, charge, minor)

    def test_the_metadata_may_hold_any_text(self, gateway: Any) -> None:
        for metadata in ({}, dict(HOSTILE_METADATA), {"note": "x" * (MAX_METADATA_BYTES - 4)}):
            charge = self.new_charge(metadata=metadata)
            captured = self._captured(gateway, charge)
            assert self.call(gateway, _lookup(charge)) == captured

    def test_the_longest_order_ids_have_payment_ids_that_fit_and_differ(self, gateway: Any) -> None:
        longest = f"{uuid4()}.{'A:_-.9z' * 4}"[:63]
        orders = [OrderId(f"{longest}{last}") for last in "ab"]
        charges = [attrs.evolve(self.new_charge(), key=f"oms-{order}", order_id=order) for order in orders]
        found = {self._captured(gateway, charge).payment_id for charge in charges}
        assert len(found) == len(charges)
        assert all(len(payment_id) <= limits.ID for payment_id in found)

    # -- decline

    def test_a_declined_charge_stays_declined(self, gateway: Any) -> None:
        if not self.can_decline:
            pytest.skip("the subclass has no way to make this gateway decline")
        charge = self.decline(gateway, self.new_charge())
        assert isinstance(self.call(gateway, charge), Declined)
        assert isinstance(self.call(gateway, charge), Declined)
        assert isinstance(self.call(gateway, _lookup(charge)), Declined)
        assert self.call(gateway, _void(charge)) == Voided()
        assert isinstance(self.call(gateway, _lookup(charge)), Declined)
        self._assert_net(gateway, charge, 0)

    # -- lookup

    def test_a_look_up_finds_a_captured_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        assert self.call(gateway, _lookup(charge)) == captured
        assert self.call(gateway, _lookup(charge, captured.payment_id)) == captured

    def test_a_look_up_of_an_unknown_key_is_an_unknown_charge(self, gateway: Any) -> None:
        assert self.call(gateway, _lookup(self.new_charge())) == UnknownCharge()

    def test_a_look_up_moves_no_money_and_decides_nothing(self, gateway: Any) -> None:
        charge = self.new_charge()
        assert self.call(gateway, _lookup(charge)) == UnknownCharge()
        self._assert_net(gateway, charge, 0)
        self._captured(gateway, charge)

    def test_a_lost_answer_is_found_by_key(self, gateway: Any) -> None:
        if not self.can_lose_answers:
            pytest.skip("the subclass has no way to make this gateway lose a response")
        charge = self.new_charge()
        self.lose_answer(gateway, charge)
        found = self.call(gateway, _lookup(charge))
        assert isinstance(found, Captured)
        assert self.call(gateway, charge) == found
        self._assert_net(gateway, charge, self.amount)

    # -- void

    def test_a_voided_key_never_captures(self, gateway: Any) -> None:
        charge = self.new_charge()
        assert self.call(gateway, _void(charge)) == Voided()
        assert self.call(gateway, _void(charge)) == Voided()
        assert isinstance(self.call(gateway, charge), Declined)
        assert isinstance(self.call(gateway, _lookup(charge)), Declined)
        assert self.call(gateway, _void(charge)) == Voided()
        self._assert_net(gateway, charge, 0)

    def test_a_void_of_a_captured_charge_is_too_late(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        assert self.call(gateway, _void(charge)) == captured
        assert self.call(gateway, _void(charge, captured.payment_id)) == captured
        self._assert_net(gateway, charge, self.amount)

    def test_a_void_finds_a_charge_whose_answer_was_lost(self, gateway: Any) -> None:
        if not self.can_lose_answers:
            pytest.skip("the subclass has no way to make this gateway lose a response")
        charge = self.new_charge()
        self.lose_answer(gateway, charge)
        assert isinstance(self.call(gateway, _void(charge)), Captured)
        self._assert_net(gateway, charge, self.amount)

    def test_a_charge_and_a_void_at_once_agree(self, gateway: Any) -> None:
        for _ in range(THREADS):
            charge = self.new_charge()
            charged, voided = self.call_at_once(gateway, charge, _void(charge))
            if isinstance(charged, Captured):
                assert voided == charged
                self._assert_net(gateway, charge, self.amount)
            else:
                assert isinstance(charged, Declined)
                assert voided == Voided()
                self._assert_net(gateway, charge, 0)

    # -- refund

    def test_a_refund_gives_the_money_back_once(self, gateway: Any) -> None:
        charge = self.new_charge()
        refund = _refund(charge, self._captured(gateway, charge))
        assert self.call(gateway, refund) == Refunded()
        assert self.call(gateway, refund) == Refunded()
        self._assert_net(gateway, charge, 0)

    def test_refunds_of_several_threads_under_one_key_are_one(self, gateway: Any) -> None:
        charge = self.new_charge()
        refund = _refund(charge, self._captured(gateway, charge), key=f"{charge.key}/part", minor=500)
        assert set(self.call_at_once(gateway, *[refund] * THREADS)) == {Refunded()}
        self._assert_net(gateway, charge, self.amount - 500)

    def test_a_refund_changes_no_answer_about_its_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        assert self.call(gateway, _refund(charge, captured)) == Refunded()
        assert self.call(gateway, charge) == captured
        assert self.call(gateway, _lookup(charge)) == captured
        assert self.call(gateway, _void(charge)) == captured
        self._assert_net(gateway, charge, 0)

    def test_parts_are_refunded_under_keys_of_their_own(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        for count in (1, 2, 3):
            part = _refund(charge, captured, key=f"oms/{charge.order_id}/refund/{count}/1", minor=500)
            assert self.call(gateway, part) == Refunded()
            assert self.call(gateway, part) == Refunded()
            self._assert_net(gateway, charge, self.amount - 500 * count)

    def test_refunds_never_exceed_the_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        part = _refund(charge, captured, key=f"{charge.key}/part", minor=500)
        assert self.call(gateway, part) == Refunded()
        too_much = _refund(charge, captured)
        assert isinstance(self.call(gateway, too_much), Declined)
        assert isinstance(self.call(gateway, too_much), Declined)
        self._assert_net(gateway, charge, self.amount - 500)

    def test_nothing_is_refunded_where_nothing_was_captured(self, gateway: Any) -> None:
        voided, unknown = self.new_charge(), self.new_charge()
        assert self.call(gateway, _void(voided)) == Voided()
        for charge in (voided, unknown):
            assert not isinstance(_or_error(partial(self.call, gateway, _refund(charge, None))), Refunded)
            self._assert_net(gateway, charge, 0)

    # -- a restarted process

    def test_every_answer_outlives_its_process(self, gateway: Any) -> None:
        if not self.can_reopen:
            pytest.skip("this gateway's records are lost when it is closed")
        taken, blocked, back = self.new_charge(), self.new_charge(), self.new_charge()
        captured, returned = self._captured(gateway, taken), self._captured(gateway, back)
        assert self.call(gateway, _void(blocked)) == Voided()
        assert self.call(gateway, _refund(back, returned)) == Refunded()
        following = self.reopen(gateway)
        assert self.call(following, taken) == self.call(following, _lookup(taken)) == captured
        assert isinstance(self.call(following, blocked), Declined)
        assert self.call(following, _refund(back, returned)) == Refunded()
        for charge, net in ((taken, self.amount), (blocked, 0), (back, 0)):
            self._assert_net(following, charge, net)

    # -- the book

    def test_the_book_has_a_line_for_each_movement(self, gateway: Any) -> None:
        if not self.shows_a_book:
            pytest.skip("this gateway has no book")
        charge = self.new_charge()
        captured = self._captured(gateway, charge)
        self.call(gateway, charge)
        self.call(gateway, _refund(charge, captured, key=f"{charge.key}/part", minor=500))
        self.call(gateway, _refund(charge, captured, key=f"{charge.key}/part", minor=500))
        entries = _entries(gateway, charge)
        assert [(one.kind, one.amount) for one in entries] == [(BookKind.CAPTURE, self.amount), (BookKind.REFUND, 500)]
        assert all(type(one.amount) is int and one.at.tzinfo is not None for one in entries)

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

    def _captured(self, gateway: Any, charge: Charge) -> Captured:
        answer = self.call(gateway, charge)
        assert isinstance(answer, Captured), f"charge() returned {answer!r}; expected Captured"
        return answer

    def _assert_net(self, gateway: Any, charge: Charge, minor: int) -> None:
        """Check the book, if there is one: at most one capture, and captures minus refunds equal `minor`."""
        if not self.shows_a_book:
            return
        entries = _entries(gateway, charge)
        assert sum(one.kind is BookKind.CAPTURE for one in entries) <= 1, f"captured more than once: {entries}"
        signs = {BookKind.CAPTURE: 1, BookKind.REFUND: -1}
        assert sum(signs.get(one.kind, 0) * one.amount for one in entries) == minor


def _method(request: Request) -> str:
    return type(request).__name__.lower()


def _lookup(charge: Charge, payment_id: str | None = None) -> Lookup:
    return Lookup(payment_id=payment_id, **_shared(charge))


def _void(charge: Charge, payment_id: str | None = None) -> Void:
    return Void(payment_id=payment_id, **_shared(charge))


def _refund(charge: Charge, captured: Captured | None, *, key: str = "", minor: int | None = None) -> Refund:
    shared = _shared(charge)
    if minor is not None:
        shared["amount"] = Money(minor, charge.amount.currency)
    payment_id = captured.payment_id if captured else None
    return Refund(**{**shared, "key": key or charge.key}, charge_key=charge.key, payment_id=payment_id)


def _shared(charge: Charge) -> dict[str, Any]:
    return {field.name: getattr(charge, field.name) for field in attrs.fields(Charge)}


def _entries(gateway: Any, charge: Charge) -> list[BookEntry]:
    return [one for one in gateway.all_entries() if one.key == charge.key]


def _or_error(call: Callable[[], object]) -> object:
    """Return the call's result or its exception: both are allowed if there is nothing to refund."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - an exception means that the outcome is unknown
        return error
