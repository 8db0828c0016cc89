"""The simulated gateway keeps the contract, in memory, in a file and by a script; each planted fault breaks it."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import pytest

import oms
from oms.adapters.gateways.book import Book, MemoryBook
from oms.adapters.gateways.script import read_script
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.memory import ManualClock
from oms.testing.contracts.gateway import GatewayContract
from oms.testing.contracts.gateway_calls import part_of, refund_lookup_of


class _Simulated(GatewayContract):
    def decline(self, gateway: SimulatedGateway, charge: oms.Charge) -> oms.Charge:
        gateway.on(charge.order_id).decline()
        return charge

    def lose_answer(self, gateway: SimulatedGateway, charge: oms.Charge) -> None:
        gateway.on(charge.order_id).no_answer_after_charge()
        assert isinstance(gateway.charge(charge), oms.Unanswered)

    def lose_refund_answer(self, gateway: SimulatedGateway, refund: oms.Refund) -> None:
        gateway.on(refund.order_id).no_answer_after_refund()
        assert isinstance(gateway.refund(refund), oms.Unanswered)

    def refuse_refund(self, gateway: SimulatedGateway, refund: oms.Refund) -> oms.Refund:
        gateway.on(refund.order_id).refuse_refund("the account is closed")
        return refund


class TestMemoryGateway(_Simulated):
    can_reopen = False

    @pytest.fixture
    def gateway(self) -> Any:
        return SimulatedGateway(MemoryBook(), ManualClock(), success_rate=1.0)


class TestSqliteGateway(_Simulated):
    @pytest.fixture
    def gateway(self, tmp_path: Path) -> Iterator[Any]:
        self.path = tmp_path / "gateway.db"
        gateway = self.reopen(None)
        yield gateway
        gateway.close()

    def reopen(self, gateway: SimulatedGateway | None) -> SimulatedGateway:
        if gateway is not None:
            gateway.close()
        return SimulatedGateway(SqliteBook(self.path), ManualClock(), success_rate=1.0)


class TestScriptedGateway(GatewayContract):
    """A gateway that learns from a file what its charges meet."""

    can_reopen = False

    @pytest.fixture
    def gateway(self, tmp_path: Path) -> Any:
        path = tmp_path / "script.json"
        lines = [
            {"metadata": {"case": "declined"}, "behaviour": "decline"},
            {"metadata": {"case": "lost"}, "behaviour": "late", "seconds": 20},
            {"metadata": {"case": "unreachable"}, "behaviour": "unreachable"},
            {"metadata": {"case": "refund lost"}, "behaviour": "late_refund", "seconds": 20},
            {"metadata": {"case": "refund refused"}, "behaviour": "refuse_refund", "reason": "the account is closed"},
        ]
        path.write_text(json.dumps(lines))
        self.clock = ManualClock()
        return SimulatedGateway(MemoryBook(), self.clock, success_rate=1.0, script=read_script(path))

    def decline(self, gateway: SimulatedGateway, charge: oms.Charge) -> oms.Charge:
        return attrs.evolve(charge, metadata={"case": "declined"})

    def lose_answer(self, gateway: SimulatedGateway, charge: oms.Charge) -> None:
        assert isinstance(gateway.charge(attrs.evolve(charge, metadata={"case": "lost"})), oms.Unanswered)
        self.clock.advance(timedelta(seconds=21))

    def lose_refund_answer(self, gateway: SimulatedGateway, refund: oms.Refund) -> None:
        assert isinstance(gateway.refund(attrs.evolve(refund, metadata={"case": "refund lost"})), oms.Unanswered)
        self.clock.advance(timedelta(seconds=21))

    def refuse_refund(self, gateway: SimulatedGateway, refund: oms.Refund) -> oms.Refund:
        return attrs.evolve(refund, metadata={"case": "refund refused"})

    def test_a_refused_refund_has_the_reason_of_the_file(self, gateway: SimulatedGateway) -> None:
        charge = self.new_charge()
        refused = self.refuse_refund(gateway, part_of(charge, self.captured(gateway, charge), "part"))
        assert self.call(gateway, refused) == oms.Declined("the account is closed")

    def test_an_unreachable_gateway_has_surely_done_nothing(self, gateway: SimulatedGateway) -> None:
        charge = self.new_charge(metadata={"case": "unreachable"})
        assert isinstance(gateway.charge(charge), oms.NotAttempted)
        assert list(gateway.all_entries()) == []


def test_a_book_of_an_older_version_gives_nothing_back_twice(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    suite = TestSqliteGateway()
    suite.path = path
    gateway = suite.reopen(None)
    charge = suite.new_charge()
    captured = gateway.charge(charge)
    shared = {field.name: getattr(charge, field.name) for field in attrs.fields(oms.Charge)}
    refund = oms.Refund(**shared, charge_key=charge.key, payment_id=captured.payment_id)
    assert gateway.refund(refund) == oms.Refunded()
    gateway.close()
    _as_it_was(path)
    following = suite.reopen(None)
    assert following.refund(refund) == oms.Refunded()
    assert following.lookup(refund_lookup_of(refund)) == oms.Refunded()
    assert [one.kind for one in following.all_entries()] == [oms.BookKind.CAPTURE, oms.BookKind.REFUND]
    assert isinstance(following.refund(attrs.evolve(refund, key="another")), oms.Declined)
    following.close()


def _as_it_was(path: Path) -> None:
    """Older versions noted a refund in its page, and had no table of refunds."""
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE refunds")
        connection.execute("UPDATE pages SET refunded = 1")


# -- planted faults: mistakes of a developer, one in each gateway


class RightGateway(oms.PaymentGateway, oms.GatewayBook):
    """Keeps the contract; a subclass gets one thing wrong."""

    def __init__(self) -> None:
        self.book: Book = MemoryBook()
        self.real = SimulatedGateway(self.book, ManualClock(), success_rate=1.0)

    def charge(self, charge: oms.Charge) -> Any:
        return self.real.charge(charge)

    def lookup(self, lookup: oms.Lookup) -> Any:
        return self.real.lookup(lookup)

    def void(self, void: oms.Void) -> Any:
        return self.real.void(void)

    def refund(self, refund: oms.Refund) -> Any:
        return self.real.refund(refund)

    def all_entries(self) -> Any:
        return self.real.all_entries()


class NewKeyEachTime(RightGateway):
    count = 0

    def charge(self, charge: oms.Charge) -> Any:
        self.count += 1
        answer = super().charge(attrs.evolve(charge, key=f"{charge.key}-{self.count}"))
        super().charge(charge)
        return answer


class VoidOfUnknownForgets(RightGateway):
    def void(self, void: oms.Void) -> Any:
        return oms.Voided() if self.book.page(void.key) is None else super().void(void)


class VoidHidesTheCapture(RightGateway):
    def void(self, void: oms.Void) -> Any:
        time.sleep(0.01)  # a charge at the same time comes first
        super().void(void)
        return oms.Voided()


class VoidGivesBack(RightGateway):
    def void(self, void: oms.Void) -> Any:
        answer = super().void(void)
        if isinstance(answer, oms.Captured):
            self.refund(_refund_of(void))
        return answer


class UnknownIsDeclined(RightGateway):
    def lookup(self, lookup: oms.Lookup) -> Any:
        answer = super().lookup(lookup)
        return oms.Declined("no such charge") if isinstance(answer, oms.UnknownCharge) else answer


class LookupCharges(RightGateway):
    def lookup(self, lookup: oms.Lookup) -> Any:
        answer = super().lookup(lookup)
        if isinstance(answer, oms.UnknownCharge):
            return self.charge(_charge_of(lookup))
        return answer


class LookupForgetsRefunded(RightGateway):
    def lookup(self, lookup: oms.Lookup) -> Any:
        page = self.book.page(lookup.key)
        return oms.UnknownCharge() if page is not None and page.refunded else super().lookup(lookup)


class RefundsEachTime(RightGateway):
    count = 0

    def refund(self, refund: oms.Refund) -> Any:
        self.count += 1
        return super().refund(attrs.evolve(refund, key=f"{refund.key}-{self.count}"))


class RefundsTheWhole(RightGateway):
    def refund(self, refund: oms.Refund) -> Any:
        page = self.book.page(refund.charge_key)
        whole = refund.amount if page is None else oms.Money(page.amount, refund.amount.currency)
        return super().refund(attrs.evolve(refund, amount=whole))


class RefundsByTheChargesKey(RightGateway):
    def refund(self, refund: oms.Refund) -> Any:
        return super().refund(attrs.evolve(refund, key=refund.charge_key))


class ChecksTheRestBeforeTheKey(RightGateway):
    """A repeat finds too little left, because the first call has taken it."""

    def refund(self, refund: oms.Refund) -> Any:
        page = self.book.page(refund.charge_key)
        if page is not None and not page.allows_refund(refund.amount.minor):
            return oms.Declined("too little left")
        return super().refund(refund)


class LooksAtTheRestFirst(RightGateway):
    """Several threads all find enough left of the charge."""

    def refund(self, refund: oms.Refund) -> Any:
        page = self.book.page(refund.charge_key)
        if page is None or not page.allows_refund(refund.amount.minor):
            return super().refund(refund)
        time.sleep(0.01)
        super().refund(refund)
        return oms.Refunded()


class TriesRefusedRefundsAgain(RightGateway):
    """A repeat under the key of a refused refund is a new refund."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def refund(self, refund: oms.Refund) -> Any:
        key = f"{refund.key}-again" if refund.key in self.refused else refund.key
        answer = super().refund(attrs.evolve(refund, key=key))
        if isinstance(answer, oms.Declined):
            self.refused.add(refund.key)
        return answer


class AllAttemptsAreOne(RightGateway):
    def refund(self, refund: oms.Refund) -> Any:
        return super().refund(attrs.evolve(refund, key=refund.key.rpartition("/")[0] or refund.key))


class LooksUpChargesOnly(RightGateway):
    """A gateway written before look-ups of refunds: it ignores `of`."""

    def lookup(self, lookup: oms.Lookup) -> Any:
        return super().lookup(attrs.evolve(lookup, of=oms.LookupOf.CHARGE))


class EveryRefundIsFound(RightGateway):
    def lookup(self, lookup: oms.Lookup) -> Any:
        return oms.Refunded() if lookup.of is oms.LookupOf.REFUND else super().lookup(lookup)


class LookupRefunds(RightGateway):
    def lookup(self, lookup: oms.Lookup) -> Any:
        answer = super().lookup(lookup)
        if lookup.of is oms.LookupOf.REFUND and isinstance(answer, oms.UnknownCharge):
            return self.refund(_refund_of(lookup))
        return answer


class FindsOnlyTheRefundsThatItTold(RightGateway):
    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def refund(self, refund: oms.Refund) -> Any:
        self.told.add(refund.key)
        return super().refund(refund)

    def lookup(self, lookup: oms.Lookup) -> Any:
        known = lookup.of is oms.LookupOf.CHARGE or lookup.key in self.told
        return super().lookup(lookup) if known else oms.UnknownCharge()


class RefundIsAlwaysDone(RightGateway):
    def refund(self, refund: oms.Refund) -> Any:
        super().refund(refund)
        return oms.Refunded()


class AnswersAreNone(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        super().charge(charge)


class LongPaymentIds(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        return oms.Captured("p" * 65) if isinstance(super().charge(charge), oms.Captured) else oms.Declined()


class OnePaymentId(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        answer = super().charge(charge)
        return oms.Captured("p-1") if isinstance(answer, oms.Captured) else answer


class RoundsAmounts(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        rounded = oms.Money(charge.amount.minor // 100 * 100, charge.amount.currency)
        return super().charge(attrs.evolve(charge, amount=rounded))


class Asynchronous(RightGateway):
    async def refund(self, refund: oms.Refund) -> Any:  # type: ignore[override]
        return super().refund(refund)


class TooSlow(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        time.sleep(0.2)
        return super().charge(charge)


class ChangesTheMetadata(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        charge.metadata["charged"] = "yes"  # type: ignore[index]
        return super().charge(charge)


class TooMuchMetadata(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        if any(len(value) > 500 for value in charge.metadata.values()):
            raise ValueError("metadata values are at most 500 characters")
        return super().charge(charge)


class BookInUnits(RightGateway):
    def all_entries(self) -> Any:
        return [attrs.evolve(one, amount=one.amount / 100) for one in super().all_entries()]


class NoRefundsInTheBook(RightGateway):
    def all_entries(self) -> Any:
        return [one for one in super().all_entries() if one.kind is not oms.BookKind.REFUND]


class LooksBeforeItCharges(RightGateway):
    """Two threads both find nothing, and both charge."""

    def charge(self, charge: oms.Charge) -> Any:
        known = self.lookup(_lookup_of(charge))
        if isinstance(known, oms.Captured):
            return known
        time.sleep(0.01)
        return super().charge(attrs.evolve(charge, key=f"{charge.key}-{uuid4()}"))


class ForgetsDeclines(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        answer = super().charge(charge)
        if isinstance(answer, oms.Declined):
            self.real = SimulatedGateway(MemoryBook(), ManualClock(), success_rate=1.0)
        return answer


class LookupMakesUpAnId(RightGateway):
    def lookup(self, lookup: oms.Lookup) -> Any:
        answer = super().lookup(lookup)
        return oms.Captured(f"{answer.payment_id}-again") if isinstance(answer, oms.Captured) else answer


class FindsOnlyTheAnswersThatItTold(RightGateway):
    def __init__(self) -> None:
        super().__init__()
        self.charged: set[str] = set()

    def charge(self, charge: oms.Charge) -> Any:
        self.charged.add(charge.key)
        return super().charge(charge)

    def lookup(self, lookup: oms.Lookup) -> Any:
        return super().lookup(lookup) if lookup.key in self.charged else oms.UnknownCharge()


class KeyIsThePaymentId(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        answer = super().charge(charge)
        return oms.Captured(charge.key) if isinstance(answer, oms.Captured) else answer


class CutsTheKey(RightGateway):
    def charge(self, charge: oms.Charge) -> Any:
        answer = super().charge(charge)
        return oms.Captured(charge.key[:64]) if isinstance(answer, oms.Captured) else answer


class Forgetful(RightGateway):
    """Keeps its keys in memory only: the next process knows none of them."""


def _refund_of(call: oms.Void | oms.Lookup) -> oms.Refund:
    shared = {field.name: getattr(call, field.name) for field in attrs.fields(oms.Void)}
    return oms.Refund(**shared, charge_key=getattr(call, "charge_key", None) or call.key)


def _lookup_of(charge: oms.Charge) -> oms.Lookup:
    return oms.Lookup(**{field.name: getattr(charge, field.name) for field in attrs.fields(oms.Charge)})


def _charge_of(lookup: oms.Lookup) -> oms.Charge:
    return oms.Charge(**{field.name: getattr(lookup, field.name) for field in attrs.fields(oms.Charge)})


PLANTED: list[tuple[Callable[[], Any], str]] = [
    (NewKeyEachTime, "test_a_repeated_charge_has_the_same_answer_and_moves_no_money"),
    (VoidOfUnknownForgets, "test_a_voided_key_never_captures"),
    (VoidHidesTheCapture, "test_a_void_of_a_captured_charge_is_too_late"),
    (VoidHidesTheCapture, "test_a_void_finds_a_charge_whose_answer_was_lost"),
    (VoidHidesTheCapture, "test_a_charge_and_a_void_at_once_agree"),
    (VoidGivesBack, "test_a_void_of_a_captured_charge_is_too_late"),
    (UnknownIsDeclined, "test_a_look_up_of_an_unknown_key_is_an_unknown_charge"),
    (LookupCharges, "test_a_look_up_moves_no_money_and_decides_nothing"),
    (LookupForgetsRefunded, "test_a_refund_changes_no_answer_about_its_charge"),
    (RefundsEachTime, "test_refunds_of_several_threads_under_one_key_are_one"),
    (RefundsEachTime, "test_a_refund_gives_the_money_back_once"),
    (RefundsTheWhole, "test_parts_are_refunded_under_keys_of_their_own"),
    (RefundsByTheChargesKey, "test_parts_are_refunded_under_keys_of_their_own"),
    (RefundIsAlwaysDone, "test_refunds_never_exceed_the_charge"),
    (RefundIsAlwaysDone, "test_nothing_is_left_after_a_refund_of_the_whole_charge"),
    (ChecksTheRestBeforeTheKey, "test_a_refund_gives_the_money_back_once"),
    (ChecksTheRestBeforeTheKey, "test_a_repeated_refund_has_its_first_answer_also_after_other_refunds"),
    (LooksAtTheRestFirst, "test_refunds_of_several_threads_never_exceed_the_charge"),
    (TriesRefusedRefundsAgain, "test_a_refused_refund_can_be_made_under_the_key_of_its_next_attempt"),
    (AllAttemptsAreOne, "test_a_refused_refund_can_be_made_under_the_key_of_its_next_attempt"),
    (LooksUpChargesOnly, "test_a_look_up_of_a_refund_has_its_answer"),
    (LooksUpChargesOnly, "test_a_look_up_of_an_unknown_refund_is_an_unknown_charge"),
    (EveryRefundIsFound, "test_a_look_up_of_an_unknown_refund_is_an_unknown_charge"),
    (LookupRefunds, "test_a_look_up_of_an_unknown_refund_is_an_unknown_charge"),
    (FindsOnlyTheRefundsThatItTold, "test_a_lost_answer_to_a_refund_is_found_by_key"),
    (RefundIsAlwaysDone, "test_nothing_is_refunded_where_nothing_was_captured"),
    (AnswersAreNone, "test_a_charge_is_captured"),
    (LongPaymentIds, "test_a_charge_is_captured"),
    (OnePaymentId, "test_charges_under_two_keys_are_two_payments"),
    (RoundsAmounts, "test_the_amount_is_exact"),
    (Asynchronous, "test_its_methods_are_plain_functions"),
    (TooSlow, "test_a_charge_is_captured"),
    (ChangesTheMetadata, "test_a_charge_is_captured"),
    (TooMuchMetadata, "test_the_metadata_may_hold_any_text"),
    (BookInUnits, "test_the_book_has_a_line_for_each_movement"),
    (NoRefundsInTheBook, "test_the_book_has_a_line_for_each_movement"),
    (LooksBeforeItCharges, "test_charges_of_several_threads_under_one_key_are_one"),
    (ForgetsDeclines, "test_a_declined_charge_stays_declined"),
    (LookupMakesUpAnId, "test_a_look_up_finds_a_captured_charge"),
    (FindsOnlyTheAnswersThatItTold, "test_a_lost_answer_is_found_by_key"),
    (KeyIsThePaymentId, "test_the_longest_order_ids_have_payment_ids_that_fit_and_differ"),
    (CutsTheKey, "test_the_longest_order_ids_have_payment_ids_that_fit_and_differ"),
    (Forgetful, "test_every_answer_outlives_its_process"),
]


class _Planted(GatewayContract):
    def decline(self, gateway: RightGateway, charge: oms.Charge) -> oms.Charge:
        gateway.real.on(charge.order_id).decline()
        return charge

    def lose_answer(self, gateway: RightGateway, charge: oms.Charge) -> None:
        gateway.real.charge(charge)

    def lose_refund_answer(self, gateway: RightGateway, refund: oms.Refund) -> None:
        gateway.real.refund(refund)

    def refuse_refund(self, gateway: RightGateway, refund: oms.Refund) -> oms.Refund:
        gateway.real.on(refund.order_id).refuse_refund()
        return refund

    def reopen(self, gateway: RightGateway) -> RightGateway:
        if isinstance(gateway, Forgetful):
            return Forgetful()
        following = type(gateway)()
        following.book, following.real = gateway.book, gateway.real
        return following


def _run(make: Callable[[], Any], test: str) -> None:
    suite = _Planted()
    suite.within_s = 0.1 if make is TooSlow else 5.0
    method = getattr(suite, test)
    assert list(inspect.signature(method).parameters) == ["gateway"]
    method(make())


@pytest.mark.parametrize(("make", "test"), PLANTED, ids=lambda one: getattr(one, "__name__", one))
def test_a_planted_fault_breaks_the_contract(make: Callable[[], Any], test: str) -> None:
    with pytest.raises(Exception) as failed:
        _run(make, test)
    assert not isinstance(failed.value, NotImplementedError)


TESTS = [name for name in dir(GatewayContract) if name.startswith("test_")]


@pytest.mark.parametrize("test", TESTS)
def test_the_gateway_that_they_are_planted_in_keeps_it(test: str) -> None:
    _run(RightGateway, test)


def test_every_test_has_a_planted_fault_that_breaks_it() -> None:
    assert {test for _, test in PLANTED} == set(TESTS)


class TestGatewayWithoutLookUpsOfRefunds(_Planted):
    """A gateway that ignores `Lookup.of` keeps the rest of the contract: `oms` repeats a refund under the same key."""

    looks_up_refunds = can_reopen = False

    @pytest.fixture
    def gateway(self) -> Any:
        return LooksUpChargesOnly()
