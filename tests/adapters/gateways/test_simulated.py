"""The simulated gateway's refunds: each key has one outcome, in memory and in a file, whatever the script does to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

import oms
from oms.adapters.gateways.book import Book, MemoryBook
from oms.adapters.gateways.order_script import OrderScript
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.memory.clock import ManualClock
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE

USD = oms.Currency.of("USD")
ORDER = oms.OrderId("o-1")


def money(minor: int) -> oms.Money:
    return oms.Money(minor, USD)


def charge(order: oms.OrderId = ORDER, minor: int = 500) -> oms.Charge:
    return oms.Charge(key=f"oms-{order}", order_id=order, user_id=oms.UserId("u"), amount=money(minor))


def refund(name: str = "r-1", minor: int = 200, attempt: int = 1, order: oms.OrderId = ORDER) -> oms.Refund:
    key = f"oms/{order}/refund/{name}/{attempt}"
    user = oms.UserId("u")
    return oms.Refund(key=key, charge_key=f"oms-{order}", order_id=order, user_id=user, amount=money(minor))


def lookup(of: oms.Refund) -> oms.Lookup:
    fields = {field.name: getattr(of, field.name) for field in attrs.fields(oms.Refund)}
    return oms.Lookup(of=oms.LookupOf.REFUND, **fields)


def refunded(gateway: SimulatedGateway) -> list[tuple[str | None, int]]:
    return [(one.refund_key, one.amount) for one in gateway.all_entries() if one.kind is oms.BookKind.REFUND]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    made: Book = MemoryBook() if request.param == "memory" else SqliteBook(tmp_path / "gateway.db")
    yield made
    made.close()


@pytest.fixture
def gateway(book: Book, clock: ManualClock) -> SimulatedGateway:
    made = SimulatedGateway(book, clock)
    assert isinstance(made.charge(charge()), oms.Captured)
    return made


@pytest.fixture
def script(gateway: SimulatedGateway) -> OrderScript:
    return gateway.on(ORDER)


def test_a_refusal_has_its_reason_and_stays(gateway: SimulatedGateway, script: OrderScript) -> None:
    script.refuse_refund("the account is closed")
    refused = oms.Declined("the account is closed")
    assert gateway.refund(refund()) == gateway.refund(refund()) == gateway.lookup(lookup(refund())) == refused
    assert refunded(gateway) == []
    assert gateway.refund(refund(attempt=2)) == oms.Refunded()
    assert gateway.refund(refund()) == refused
    assert refunded(gateway) == [(refund(attempt=2).key, 200)]


def test_a_lost_call_has_no_effect(gateway: SimulatedGateway, script: OrderScript) -> None:
    script.no_answer_before_refund(times=2)
    for _ in range(2):
        assert isinstance(gateway.refund(refund()), oms.Unanswered)
    assert gateway.lookup(lookup(refund())) == oms.UnknownCharge()
    assert refunded(gateway) == []
    assert gateway.refund(refund()) == oms.Refunded()


def test_a_lost_answer_is_found(gateway: SimulatedGateway, script: OrderScript) -> None:
    script.no_answer_after_refund()
    assert isinstance(gateway.refund(refund()), oms.Unanswered)
    assert gateway.lookup(lookup(refund())) == gateway.refund(refund()) == oms.Refunded()
    assert refunded(gateway) == [(refund().key, 200)]


def test_a_late_refund_is_found_later_and_made_once(
    gateway: SimulatedGateway, script: OrderScript, clock: ManualClock
) -> None:
    script.late_refund(20)
    assert isinstance(gateway.refund(refund()), oms.Unanswered)
    assert gateway.lookup(lookup(refund())) == oms.UnknownCharge()
    assert gateway.refund(refund()) == oms.Refunded()
    clock.advance(timedelta(seconds=21))
    assert gateway.lookup(lookup(refund())) == oms.Refunded()
    assert refunded(gateway) == [(refund().key, 200)]


def test_rules_about_refunds_leave_charges_alone_and_the_other_way_round(
    gateway: SimulatedGateway, script: OrderScript
) -> None:
    script.refuse_refund(times=1)
    script.decline()
    assert isinstance(gateway.charge(charge()), oms.Captured), "the first answer to its key"
    assert gateway.refund(refund()) == oms.Declined("refused")
    assert gateway.refund(refund("r-2")) == oms.Refunded()


def test_many_refunds_at_once_never_exceed_the_charge(gateway: SimulatedGateway) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda number: gateway.refund(refund(f"r-{number}", 30)), range(100)))
    assert answers.count(oms.Refunded()) == 500 // 30
    assert len(refunded(gateway)) == 500 // 30


def test_a_charge_is_captured_although_its_void_was_answered(gateway: SimulatedGateway) -> None:
    other = charge(oms.OrderId("o-2"))
    gateway.on("o-2").capture_anyway()
    void = oms.Void(key=other.key, order_id=other.order_id, user_id=other.user_id, amount=other.amount)
    assert gateway.void(void) == oms.Voided()
    assert isinstance(gateway.charge(other), oms.Captured)
    assert [entry.amount for entry in gateway.all_entries() if entry.key == other.key] == [500]


# -- the file


def test_refusals_and_hidden_refunds_outlive_their_process(tmp_path: Path, clock: ManualClock) -> None:
    first = SimulatedGateway(SqliteBook(tmp_path / "gateway.db"), clock)
    first.charge(charge())
    first.on(ORDER).refuse_refund("the account is closed")
    first.refund(refund())
    first.on(ORDER).late_refund(20)
    first.refund(refund("r-2"))
    first.close()
    second = SimulatedGateway(SqliteBook(tmp_path / "gateway.db"), clock)
    assert second.refund(refund()) == oms.Declined("the account is closed")
    assert second.lookup(lookup(refund("r-2"))) == oms.UnknownCharge()
    clock.advance(timedelta(seconds=21))
    assert second.lookup(lookup(refund("r-2"))) == oms.Refunded()
    second.close()


def test_a_file_without_the_columns_of_refusals_is_read(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "gateway.db"
    first = SimulatedGateway(SqliteBook(path), clock)
    first.charge(charge())
    first.refund(refund())
    first.close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE refunds DROP COLUMN declined")
        connection.execute("ALTER TABLE refunds DROP COLUMN visible_at")
    second = SimulatedGateway(SqliteBook(path), clock)
    assert second.lookup(lookup(refund())) == second.refund(refund()) == oms.Refunded()
    assert isinstance(second.refund(refund("r-2", 400)), oms.Declined)
    second.close()


# -- the repair of a book that was copied at another moment


def paid(name: str, minor: int, **more: object) -> PaymentRefund:
    return attrs.evolve(PaymentRefund(name, money(minor), {}, state=PaymentRefundState.PAID), **more)


def payment(*refunds: PaymentRefund, state: PaymentState = PaymentState.CAPTURED) -> Payment:
    user = oms.UserId("u")
    return Payment(order_id=ORDER, state=state, user_id=user, total=money(500), payment_id="p-1", refunds=refunds)


def test_a_repaired_book_has_the_refunds_that_were_paid_through_the_gateway(book: Book, clock: ManualClock) -> None:
    gateway = SimulatedGateway(book, clock)
    refunds = (
        paid("r-1", 200),
        paid("r-2", 100, attempt=3),
        paid("r-3", 50, outside=True),
        paid("r-4", 0),
        paid("r-5", 60, state=PaymentRefundState.DUE),
        paid("r-6", 70, state=PaymentRefundState.REFUSED),
    )
    assert gateway.repair_book([payment(*refunds)]) == 3
    assert refunded(gateway) == [(refund("r-1").key, 200), (refund("r-2", attempt=3).key, 100)]
    assert gateway.repair_book([payment(*refunds)]) == 0


def test_a_repaired_book_has_the_refund_of_a_whole_order(book: Book, clock: ManualClock) -> None:
    gateway = SimulatedGateway(book, clock)
    assert gateway.repair_book([payment(state=PaymentState.REFUNDED)]) == 2
    assert refunded(gateway) == [(f"oms-{ORDER}", 500)]


def test_a_repaired_book_has_the_attempt_that_was_paid(book: Book, clock: ManualClock) -> None:
    gateway = SimulatedGateway(book, clock)
    gateway.repair_book([payment(paid(WHOLE, 500, attempt=2), state=PaymentState.REFUNDED)])
    assert refunded(gateway) == [(f"oms/{ORDER}/refund/whole/2", 500)]


def test_a_repaired_book_lacks_the_refund_that_was_resolved(book: Book, clock: ManualClock) -> None:
    gateway = SimulatedGateway(book, clock)
    gateway.repair_book([payment(paid(WHOLE, 500, outside=True), state=PaymentState.REFUNDED)])
    assert refunded(gateway) == []


def test_the_rest_of_a_charge_without_a_payment_is_refunded(gateway: SimulatedGateway) -> None:
    gateway.refund(refund())
    assert gateway.repair_book([]) == 1
    assert refunded(gateway) == [(refund().key, 200), (f"oms-{ORDER}", 300)]
