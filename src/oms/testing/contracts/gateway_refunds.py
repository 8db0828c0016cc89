"""Refunds: each key has one outcome, each attempt has a key, and all refunds together never exceed their charge."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from oms.ports.extensions import Captured, Charge, Declined, Refund, Refunded, UnknownCharge, Voided
from oms.testing.contracts.extension_calls import THREADS
from oms.testing.contracts.gateway_calls import (
    GatewayCalls,
    lookup_of,
    part_of,
    refund_lookup_of,
    refund_of,
    void_of,
)


class RefundsContract(GatewayCalls):
    """The part of `GatewayContract` that is about refunds."""

    # -- one outcome for each key

    def test_a_refund_gives_the_money_back_once(self, gateway: Any) -> None:
        charge = self.new_charge()
        refund = refund_of(charge, self.captured(gateway, charge))
        assert self.call(gateway, refund) == Refunded()
        assert self.call(gateway, refund) == Refunded()
        self.assert_net(gateway, charge, 0)

    def test_refunds_of_several_threads_under_one_key_are_one(self, gateway: Any) -> None:
        charge = self.new_charge()
        refund = part_of(charge, self.captured(gateway, charge), "part")
        assert set(self.call_at_once(gateway, *[refund] * THREADS)) == {Refunded()}
        self.assert_net(gateway, charge, self.amount - 500)

    def test_parts_are_refunded_under_keys_of_their_own(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        for count in (1, 2, 3):
            part = part_of(charge, captured, str(count))
            assert self.call(gateway, part) == Refunded()
            assert self.call(gateway, part) == Refunded()
            self.assert_net(gateway, charge, self.amount - 500 * count)

    def test_a_repeated_refund_has_its_first_answer_also_after_other_refunds(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        paid, refused = part_of(charge, captured, "a"), part_of(charge, captured, "b", minor=self.amount)
        assert self.call(gateway, paid) == Refunded()
        assert isinstance(self.call(gateway, refused), Declined)
        assert self.call(gateway, part_of(charge, captured, "rest", minor=self.amount - 500)) == Refunded()
        assert self.call(gateway, paid) == Refunded()
        assert isinstance(self.call(gateway, refused), Declined)
        self.assert_net(gateway, charge, 0)

    def test_a_refused_refund_can_be_made_under_the_key_of_its_next_attempt(self, gateway: Any) -> None:
        if not self.can_refuse_refunds:
            pytest.skip("the subclass has no way to make this gateway decline a refund")
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        refused = self.refuse_refund(gateway, part_of(charge, captured, "part"))
        assert isinstance(self.call(gateway, refused), Declined)
        self.assert_net(gateway, charge, self.amount)
        assert self.call(gateway, part_of(charge, captured, "part", attempt=2)) == Refunded()
        assert isinstance(self.call(gateway, refused), Declined)
        self.assert_net(gateway, charge, self.amount - 500)

    # -- never more than was captured

    def test_refunds_never_exceed_the_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        assert self.call(gateway, part_of(charge, captured, "part")) == Refunded()
        too_much = refund_of(charge, captured)
        assert isinstance(self.call(gateway, too_much), Declined)
        assert isinstance(self.call(gateway, too_much), Declined)
        self.assert_net(gateway, charge, self.amount - 500)

    def test_refunds_of_several_threads_never_exceed_the_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        parts = [part_of(charge, captured, str(number)) for number in range(THREADS)]
        first = self.call_at_once(gateway, *parts)
        paid = first.count(Refunded())
        assert paid == min(THREADS, self.amount // 500)
        assert [self.call(gateway, part) for part in parts] == first
        self.assert_net(gateway, charge, self.amount - 500 * paid)

    def test_nothing_is_left_after_a_refund_of_the_whole_charge(self, gateway: Any) -> None:
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        assert self.call(gateway, refund_of(charge, captured)) == Refunded()
        part = part_of(charge, captured, "part", minor=self.smallest_amount)
        assert isinstance(self.call(gateway, part), Declined)
        self.assert_net(gateway, charge, 0)

    def test_nothing_is_refunded_where_nothing_was_captured(self, gateway: Any) -> None:
        voided, unknown = self.new_charge(), self.new_charge()
        assert self.call(gateway, void_of(voided)) == Voided()
        for charge in (voided, unknown):
            assert not isinstance(_or_error(partial(self.call, gateway, refund_of(charge, None))), Refunded)
            self.assert_net(gateway, charge, 0)

    # -- look-ups

    def test_a_refund_changes_no_answer_about_its_charge(self, gateway: Any) -> None:
        for whole in (True, False):
            charge = self.new_charge()
            captured = self.captured(gateway, charge)
            refund = refund_of(charge, captured) if whole else part_of(charge, captured, "part")
            assert self.call(gateway, refund) == Refunded()
            assert self.call(gateway, charge) == captured
            assert self.call(gateway, lookup_of(charge)) == captured
            assert self.call(gateway, void_of(charge)) == captured
            self.assert_net(gateway, charge, self.amount - refund.amount.minor)

    def test_a_look_up_of_a_refund_has_its_answer(self, gateway: Any) -> None:
        if not self.looks_up_refunds:
            pytest.skip("this gateway looks up charges only")
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        paid, refused = part_of(charge, captured, "a"), part_of(charge, captured, "b", minor=self.amount)
        assert self.call(gateway, paid) == Refunded()
        assert isinstance(self.call(gateway, refused), Declined)
        assert self.call(gateway, refund_lookup_of(paid)) == Refunded()
        # A provider may keep no record of a refund that it refused; a repeat of the call is refused again.
        assert isinstance(self.call(gateway, refund_lookup_of(refused)), Declined | UnknownCharge)
        self.assert_net(gateway, charge, self.amount - 500)

    def test_a_look_up_of_an_unknown_refund_is_an_unknown_charge(self, gateway: Any) -> None:
        if not self.looks_up_refunds:
            pytest.skip("this gateway looks up charges only")
        charge = self.new_charge()
        captured = self.captured(gateway, charge)
        for refund in (part_of(charge, captured, "part"), refund_of(charge, captured, minor=self.amount - 500)):
            assert self.call(gateway, refund_lookup_of(refund)) == UnknownCharge()
            assert self.call(gateway, refund) == Refunded()
        self.assert_net(gateway, charge, 0)

    def test_a_lost_answer_to_a_refund_is_found_by_key(self, gateway: Any) -> None:
        if not self.can_lose_refund_answers:
            pytest.skip("the subclass has no way to make this gateway lose the response to a refund")
        charge, other = self.new_charge(), self.new_charge()
        for lost in (self._part(gateway, charge), refund_of(other, self.captured(gateway, other))):
            self.lose_refund_answer(gateway, lost)
            if self.looks_up_refunds:
                assert self.call(gateway, refund_lookup_of(lost)) == Refunded()
            assert self.call(gateway, lost) == Refunded()
        self.assert_net(gateway, charge, self.amount - 500)
        self.assert_net(gateway, other, 0)

    def _part(self, gateway: Any, charge: Charge) -> Refund:
        captured: Captured = self.captured(gateway, charge)
        return part_of(charge, captured, "part")


def _or_error(call: Callable[[], object]) -> object:
    """Return the call's result or its exception: both are allowed if there is nothing to refund."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - an exception means that the outcome is unknown
        return error
