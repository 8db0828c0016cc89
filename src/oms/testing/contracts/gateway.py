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

from typing import Any
from uuid import uuid4

import attrs
import pytest

from oms.domain.text import is_storable
from oms.domain.values import MAX_METADATA_BYTES, OrderId
from oms.ports import limits
from oms.ports.evidence import BookKind
from oms.ports.extensions import Captured, Declined, Refunded, UnknownCharge, Voided
from oms.testing.contracts.extension_calls import THREADS, assert_plain
from oms.testing.contracts.extension_samples import HOSTILE_METADATA
from oms.testing.contracts.gateway_calls import (
    entries_of,
    lookup_of,
    part_of,
    refund_lookup_of,
    refund_of,
    void_of,
)
from oms.testing.contracts.gateway_refunds import RefundsContract


class GatewayContract(RefundsContract):
    """The contract of `PaymentGateway`, and of `GatewayBook` if the gateway has one."""

    # -- charge

    def test_its_methods_are_plain_functions(self, gateway: Any) -> None:
        assert_plain(gateway, "charge", "lookup", "void", "refund")

    def test_a_charge_is_captured(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        assert isinstance(captured.payment_id, str)
        assert 0 < len(captured.payment_id) <= limits.ID
        assert is_storable(captured.payment_id)
        self.assert_net(gateway, charge, self.amount)

    def test_a_repeated_charge_has_the_same_answer_and_moves_no_money(self, gateway: Any) -> None:
        charge = self.new_charge()
        first = self.captured(gateway, charge)
        assert self.call(gateway, charge) == first
        assert self.call(gateway, charge) == first
        self.assert_net(gateway, charge, self.amount)

    def test_charges_of_several_threads_under_one_key_are_one(self, gateway: Any) -> None:
        charge = self.new_charge()
        assert set(self.call_at_once(gateway, *[charge] * THREADS)) == {self.call(gateway, charge)}
        self.assert_net(gateway, charge, self.amount)

    def test_charges_under_two_keys_are_two_payments(self, gateway: Any) -> None:
        one, two = self.new_charge(), self.new_charge()
        assert self.captured(gateway, one).payment_id != self.captured(gateway, two).payment_id
        self.assert_net(gateway, one, self.amount)
        self.assert_net(gateway, two, self.amount)

    def test_the_amount_is_exact(self, gateway: Any) -> None:
        for minor in (self.smallest_amount, self.amount - 1, self.amount * 1000 + 7):
            charge = self.new_charge(minor=minor)
            self.captured(gateway, charge)
            self.assert_net(gateway, charge, minor)

    def test_the_metadata_may_hold_any_text(self, gateway: Any) -> None:
        for metadata in ({}, dict(HOSTILE_METADATA), {"note": "x" * (MAX_METADATA_BYTES - 4)}):
            charge = self.new_charge(metadata=metadata)
            captured = self.captured(gateway, charge)
            assert self.call(gateway, lookup_of(charge)) == captured

    def test_the_longest_order_ids_have_payment_ids_that_fit_and_differ(self, gateway: Any) -> None:
        longest = f"{uuid4()}.{'A:_-.9z' * 4}"[:63]
        orders = [OrderId(f"{longest}{last}") for last in "ab"]
        charges = [attrs.evolve(self.new_charge(), key=f"oms-{order}", order_id=order) for order in orders]
        found = {self.captured(gateway, charge).payment_id for charge in charges}
        assert len(found) == len(charges)
        assert all(len(payment_id) <= limits.ID for payment_id in found)

    # -- decline

    def test_a_declined_charge_stays_declined(self, gateway: Any) -> None:
        if not self.can_decline:
            pytest.skip("the subclass has no way to make this gateway decline")
        charge = self.decline(gateway, self.new_charge())
        assert isinstance(self.call(gateway, charge), Declined)
        assert isinstance(self.call(gateway, charge), Declined)
        assert isinstance(self.call(gateway, lookup_of(charge)), Declined)
        assert self.call(gateway, void_of(charge)) == Voided()
        assert isinstance(self.call(gateway, lookup_of(charge)), Declined)
        self.assert_net(gateway, charge, 0)

    # -- lookup

    def test_a_look_up_finds_a_captured_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        assert self.call(gateway, lookup_of(charge)) == captured
        assert self.call(gateway, lookup_of(charge, captured.payment_id)) == captured

    def test_a_look_up_of_an_unknown_key_is_an_unknown_charge(self, gateway: Any) -> None:
        assert self.call(gateway, lookup_of(self.new_charge())) == UnknownCharge()

    def test_a_look_up_moves_no_money_and_decides_nothing(self, gateway: Any) -> None:
        charge = self.new_charge()
        assert self.call(gateway, lookup_of(charge)) == UnknownCharge()
        self.assert_net(gateway, charge, 0)
        self.captured(gateway, charge)

    def test_a_lost_answer_is_found_by_key(self, gateway: Any) -> None:
        if not self.can_lose_answers:
            pytest.skip("the subclass has no way to make this gateway lose a response")
        charge = self.new_charge()
        self.lose_answer(gateway, charge)
        found = self.call(gateway, lookup_of(charge))
        assert isinstance(found, Captured)
        assert self.call(gateway, charge) == found
        self.assert_net(gateway, charge, self.amount)

    # -- void

    def test_a_voided_key_never_captures(self, gateway: Any) -> None:
        charge = self.new_charge()
        assert self.call(gateway, void_of(charge)) == Voided()
        assert self.call(gateway, void_of(charge)) == Voided()
        assert isinstance(self.call(gateway, charge), Declined)
        assert isinstance(self.call(gateway, lookup_of(charge)), Declined)
        assert self.call(gateway, void_of(charge)) == Voided()
        self.assert_net(gateway, charge, 0)

    def test_a_void_of_a_captured_charge_is_too_late(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        assert self.call(gateway, void_of(charge)) == captured
        assert self.call(gateway, void_of(charge, captured.payment_id)) == captured
        self.assert_net(gateway, charge, self.amount)

    def test_a_void_finds_a_charge_whose_answer_was_lost(self, gateway: Any) -> None:
        if not self.can_lose_answers:
            pytest.skip("the subclass has no way to make this gateway lose a response")
        charge = self.new_charge()
        self.lose_answer(gateway, charge)
        assert isinstance(self.call(gateway, void_of(charge)), Captured)
        self.assert_net(gateway, charge, self.amount)

    def test_a_charge_and_a_void_at_once_agree(self, gateway: Any) -> None:
        for _ in range(THREADS):
            charge = self.new_charge()
            charged, voided = self.call_at_once(gateway, charge, void_of(charge))
            if isinstance(charged, Captured):
                assert voided == charged
                self.assert_net(gateway, charge, self.amount)
            else:
                assert isinstance(charged, Declined)
                assert voided == Voided()
                self.assert_net(gateway, charge, 0)

    # -- a restarted process

    def test_every_answer_outlives_its_process(self, gateway: Any) -> None:
        if not self.can_reopen:
            pytest.skip("this gateway's records are lost when it is closed")
        taken, blocked, back = self.new_charge(), self.new_charge(), self.new_charge()
        captured, returned = self.captured(gateway, taken), self.captured(gateway, back)
        part, too_much = part_of(taken, captured, "part"), part_of(taken, captured, "too-much", minor=self.amount)
        assert self.call(gateway, void_of(blocked)) == Voided()
        assert self.call(gateway, refund_of(back, returned)) == Refunded()
        assert self.call(gateway, part) == Refunded()
        assert isinstance(self.call(gateway, too_much), Declined)
        following = self.reopen(gateway)
        assert self.call(following, taken) == self.call(following, lookup_of(taken)) == captured
        assert isinstance(self.call(following, blocked), Declined)
        assert self.call(following, refund_of(back, returned)) == self.call(following, part) == Refunded()
        assert isinstance(self.call(following, too_much), Declined)
        if self.looks_up_refunds:
            assert self.call(following, refund_lookup_of(part)) == Refunded()
        for charge, net in ((taken, self.amount - 500), (blocked, 0), (back, 0)):
            self.assert_net(following, charge, net)

    # -- the book

    def test_the_book_has_a_line_for_each_movement(self, gateway: Any) -> None:
        if not self.shows_a_book:
            pytest.skip("this gateway has no book")
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        self.call(gateway, charge)
        self.call(gateway, refund_of(charge, captured, key=f"{charge.key}/part", minor=500))
        self.call(gateway, refund_of(charge, captured, key=f"{charge.key}/part", minor=500))
        entries = entries_of(gateway, charge)
        assert [(one.kind, one.amount) for one in entries] == [(BookKind.CAPTURE, self.amount), (BookKind.REFUND, 500)]
        assert all(type(one.amount) is int and one.at.tzinfo is not None for one in entries)
