"""Refunds at the gateway: each attempt has one key, a refusal is final, and a lost answer is one refund."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.adapters.gateways.book import MemoryBook
from oms.adapters.gateways.script import Behaviour, Rule, Script
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.system.clock import SystemClock
from oms.application.gateway_tasks import ALERT_EVERY_ATTEMPTS
from oms.domain.payment import PaymentState
from oms.testing import Shop
from tests.support.answering_gateway import ByTurns, Gateway

REFUSED, SILENT = "the gateway refused a refund", "payment without an answer"


def sold(gateway: oms.PaymentGateway) -> tuple[Shop, oms.Order]:
    """A shop whose only order is confirmed and paid: 3 lamps for 30."""
    shop = Shop(gateway=gateway)
    order = shop.place({"lamp": 3}, amount=30, user="ann", metadata={"campaign": "spring"})
    shop.run()
    return shop, order


def alerts(shop: Shop) -> list[str]:
    return [alert.event for alert in shop.telemetry.alerts]


def refunds(gateway: Gateway) -> list[Any]:
    return [request for request in gateway.got if isinstance(request, oms.Refund)]


# -- the calls


def test_a_refund_of_a_part_has_its_own_key_and_amount() -> None:
    gateway = Gateway()
    shop, order = sold(gateway)
    first = shop.refund(order, "CANCEL", {"lamp": 1}, amount=10)
    second = shop.refund(order, "GOODWILL", amount="0.50")
    shop.run()
    shared: dict[str, Any] = {
        "charge_key": f"oms-{order.id}",
        "order_id": order.id,
        "user_id": "ann",
        "metadata": {"campaign": "spring"},
        "payment_id": "p-1",
    }
    assert refunds(gateway) == [
        oms.Refund(key=f"oms/{order.id}/refund/{refund.id}/1", amount=shop.app.money(amount), **shared)
        for refund, amount in ((first, 10), (second, "0.50"))
    ]
    shop.expect(order).refund(first, "PAID").refund(second, "PAID").payment("CAPTURED").nothing_parked()
    assert alerts(shop) == []


def test_a_refund_of_nothing_makes_no_call() -> None:
    gateway = Gateway()
    shop, order = sold(gateway)
    refund = shop.refund(order, "CANCEL", {"lamp": 1}, amount=0)
    shop.run()
    shop.expect(order).refund(refund, "PAID")
    assert refunds(gateway) == []


# -- a refusal


def test_a_refused_refund_is_not_repeated() -> None:
    gateway = Gateway(refund=lambda: oms.Declined("the account is closed"))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    shop.advance(hours=5)
    assert len(refunds(gateway)) == 1
    shop.expect(order).refund(refund, "REFUSED").payment("CAPTURED").nothing_parked()
    shop.expect().published("payment.refund_failed").nothing_owed()
    assert alerts(shop) == [REFUSED]
    about = {"order_id": order.id, "refund": refund.id, "attempt": "1", "reason": "the account is closed"}
    assert about.items() <= shop.telemetry.alerts[0].fields.items()
    (line,) = [line for line in shop.telemetry.notes if line.event == "Refund refused"]
    assert line.fields == {"order_id": order.id, "refund": refund.id, "reason": "the account is closed"}
    assert shop.app.health().degraded == ()


def test_a_retry_has_a_new_key_and_the_same_amount() -> None:
    gateway = Gateway(refund=ByTurns(oms.Declined("no"), oms.Declined("still no"), oms.Refunded()))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    for _ in range(2):
        shop.retry_payment(order, refund)
        shop.run()
    shop.advance(hours=1)
    assert [one.key for one in refunds(gateway)] == [f"oms/{order.id}/refund/{refund.id}/{n}" for n in (1, 2, 3)]
    assert {one.amount for one in refunds(gateway)} == {shop.app.money(1)}
    assert alerts(shop) == [REFUSED, REFUSED]
    shop.expect(order).refund(refund, "PAID").nothing_parked()
    shop.expect().published("payment.refund_failed", times=2).published("payment.refund_paid")


def test_a_resolved_refund_makes_no_further_call() -> None:
    gateway = Gateway(refund=lambda: oms.Declined("no"))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    shop.resolve_payment(order, refund, why="paid by bank transfer")
    shop.advance(hours=1)
    assert len(refunds(gateway)) == 1
    shop.expect(order).refund(refund, "PAID").nothing_parked()
    shop.expect().published("payment.refund_paid").nothing_owed()


def test_a_refused_refund_of_a_whole_order_waits_for_an_operator_too() -> None:
    gateway = Gateway(refund=ByTurns(oms.Declined("no"), oms.Refunded()))
    shop, order = sold(gateway)
    shop.cancel(order, by_operator=True)
    shop.advance(hours=1)
    shop.expect(order).payment("REFUNDING").nothing_parked()
    assert alerts(shop) == [REFUSED]
    shop.retry_payment(order)
    shop.run()
    assert [one.key for one in refunds(gateway)] == [f"oms-{order.id}", f"oms/{order.id}/refund/whole/2"]
    shop.expect(order).cancelled().payment("REFUNDED").nothing_parked()


def test_a_refused_refund_of_a_whole_order_can_be_resolved() -> None:
    gateway = Gateway(refund=lambda: oms.Declined("no"))
    shop, order = sold(gateway)
    shop.cancel(order, by_operator=True)
    shop.run()
    shop.resolve_payment(order)
    shop.advance(hours=1)
    assert len(refunds(gateway)) == 1
    shop.expect(order).cancelled().payment("REFUNDED").nothing_parked()
    shop.expect().published("payment.refunded").nothing_owed()


def test_hostile_text_in_a_refusal_is_stored() -> None:
    gateway = Gateway(refund=lambda: oms.Declined("half an emoji \ud83d\0" + "x" * 1_000_000))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    shop.expect(order).refund(refund, "REFUSED").nothing_parked()


# -- no answer


@pytest.mark.parametrize("answer", [oms.Unanswered("503"), oms.Pending("bank"), OSError("lost"), None], ids=repr)
def test_a_refund_without_an_answer_is_looked_up(answer: object) -> None:
    gateway = Gateway(refund=ByTurns(answer), lookup=oms.Refunded)
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "refund", "lookup"]
    (request,) = refunds(gateway)
    shared = {field.name: getattr(request, field.name) for field in attrs.fields(oms.Refund)}
    assert gateway.got[-1] == oms.Lookup(of=oms.LookupOf.REFUND, **shared)
    shop.expect(order).refund(refund, "PAID").nothing_parked()


def test_the_refund_of_a_whole_order_is_looked_up_by_the_charges_key() -> None:
    gateway = Gateway(refund=oms.Unanswered, lookup=oms.Refunded)
    shop, order = sold(gateway)
    shop.cancel(order, by_operator=True)
    shop.advance(minutes=1)
    lookup = gateway.got[-1]
    assert (lookup.of, lookup.key, lookup.charge_key) == (oms.LookupOf.REFUND, f"oms-{order.id}", f"oms-{order.id}")
    shop.expect(order).cancelled().payment("REFUNDED")


def test_a_refusal_can_be_found_by_a_look_up() -> None:
    gateway = Gateway(refund=oms.Unanswered, lookup=lambda: oms.Declined("the account is closed"))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "refund", "lookup"]
    shop.expect(order).refund(refund, "REFUSED")
    assert alerts(shop) == [REFUSED]


@pytest.mark.parametrize("found", [oms.UnknownCharge(), oms.Captured("p-1"), oms.Authorised("p-1")], ids=repr)
def test_a_look_up_that_does_not_know_the_refund_repeats_it_at_once_under_its_key(found: object) -> None:
    """A gateway that was written before look-ups of refunds answers about the charge."""
    gateway = Gateway(refund=ByTurns(oms.Unanswered(), oms.Refunded()), lookup=lambda: found)
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    shop.advance(seconds=0.25)
    assert gateway.calls() == ["charge", "refund", "lookup", "refund"]
    assert len({one.key for one in refunds(gateway)}) == 1
    shop.expect(order).refund(refund, "PAID").nothing_parked()


@pytest.mark.parametrize("error", [KeyError("a bug"), oms.Voided(), None], ids=repr)
def test_a_look_up_that_fails_lets_the_refund_be_repeated_under_its_key(error: object) -> None:
    gateway = Gateway(refund=ByTurns(oms.Unanswered(), oms.Refunded()), lookup=ByTurns(error))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "refund", "lookup", "refund"]
    assert len({one.key for one in refunds(gateway)}) == 1
    shop.expect(order).refund(refund, "PAID").nothing_parked()


def test_a_look_up_without_an_answer_is_repeated() -> None:
    undecided = ByTurns(oms.NotAttempted(), oms.Unanswered(), oms.Pending(), oms.Refunded())
    gateway = Gateway(refund=oms.Unanswered, lookup=undecided)
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "refund", "lookup", "lookup", "lookup", "lookup"]
    shop.expect(order).refund(refund, "PAID")


def test_a_refund_that_was_not_attempted_is_made_again_without_a_look_up() -> None:
    gateway = Gateway(refund=ByTurns(oms.NotAttempted("refused"), oms.NotAttempted("refused"), oms.Refunded()))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.run()
    shop.advance(seconds=1)
    assert gateway.calls() == ["charge", "refund", "refund", "refund"]
    assert len({one.key for one in refunds(gateway)}) == 1
    shop.expect(order).refund(refund, "PAID")


@pytest.mark.parametrize("found", [oms.UnknownCharge(), oms.Unanswered(), KeyError("a bug")], ids=repr)
def test_a_refund_that_is_never_answered_raises_an_alert_and_degrades_the_health(found: object) -> None:
    gateway = Gateway(refund=oms.Unanswered, lookup=ByTurns(found))
    shop, order = sold(gateway)
    refund = shop.refund(order, "GOODWILL", amount=1)
    shop.advance(minutes=20)
    calls = len(gateway.got) - 1
    assert calls > 2 * ALERT_EVERY_ATTEMPTS
    assert alerts(shop) == [SILENT] * (calls // ALERT_EVERY_ATTEMPTS)
    assert {alert.fields["order_id"] for alert in shop.telemetry.alerts} == {order.id}
    assert len({one.key for one in refunds(gateway)}) == 1
    shop.expect(order).refund(refund, "DUE").payment("CAPTURED").nothing_parked()
    assert [problem.condition.value for problem in shop.app.health().degraded] == ["calls_failing"]
    assert "recovered" not in [line.event for line in shop.telemetry.notes], "no look-up hides the failing refund"


# -- a process that dies


@pytest.mark.parametrize("crash", ["crash_after_call", "crash_before_commit", "crash_after_commit"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_process_that_dies_during_a_refund_leaves_one_refund(crash: str, whole: bool) -> None:
    shop = Shop()
    order = shop.place({"lamp": 3}, amount=30)
    shop.run()
    if whole:
        shop.cancel(order, by_operator=True)
    else:
        refund = shop.refund(order, "CANCEL", {"lamp": 1}, amount=10)
    of = {} if crash == "crash_after_call" else {"of": "tasks"}
    getattr(shop.worker("payment"), crash)(**of)
    shop.run()
    shop.advance(minutes=5)
    found = [entry.amount for entry in shop.gateway.all_entries() if entry.kind is oms.BookKind.REFUND]
    assert found == [3000 if whole else 1000]
    if whole:
        shop.expect(order).cancelled().paid_nothing()
    else:
        shop.expect(order).refund(refund, "PAID").paid(20)
    shop.expect().promises_kept().nothing_owed().nothing_parked()
    shop.close()


def test_a_system_that_is_started_again_looks_up_a_refund_that_was_under_way(tmp_path: Path) -> None:
    clock, data = ManualClock(), tmp_path / "data"
    gateway = SimulatedGateway(SqliteBook(tmp_path / "book.db"), clock)
    with Shop(profile="embedded", data=data, gateway=gateway, clock=clock) as shop:
        order = shop.place({"lamp": 3}, amount=30)
        shop.run()
        gateway.on(order.id).no_answer_after_refund()
        refund = shop.refund(order, "CANCEL", {"lamp": 1}, amount=10)
        shop.run()
        shop.expect(order).refund(refund, "DUE")
    gateway = SimulatedGateway(SqliteBook(tmp_path / "book.db"), clock)
    with Shop(profile="embedded", data=data, gateway=gateway, clock=clock) as shop:
        shop.advance(minutes=1)
        shop.expect(order).refund(refund, "PAID").paid(20)
        shop.expect().promises_kept()
    made = [entry.amount for entry in SqliteBook.read_only(tmp_path / "book.db").all_entries()]
    assert made == [3000, 1000]


# -- a gateway that breaks its promise


def test_a_charge_under_way_that_captures_after_its_void_is_refunded() -> None:
    """The void is answered while the charge is still on its way; the charge is captured all the same."""
    rules = [Rule(Behaviour.DELAY, user="ann", seconds=1), Rule(Behaviour.CAPTURE_ANYWAY, user="ann")]
    gateway = SimulatedGateway(MemoryBook(), SystemClock(), script=Script(rules))
    telemetry = RecordingTelemetry()
    with oms.create(profile="memory", gateway=gateway, telemetry=telemetry, default_stock=9, environ={}) as app:
        order = app.orders.place(app.draft("ann", 30, {"lamp": 1}))
        assert within(10, lambda: payment_of(app, order) is PaymentState.INITIATED)
        app.orders.cancel(oms.CancelOrder(order.id))
        assert within(10, lambda: payment_of(app, order) is PaymentState.VOIDED)
        kinds = [oms.BookKind.CAPTURE, oms.BookKind.REFUND]
        assert within(10, lambda: [entry.kind for entry in gateway.all_entries()] == kinds)
    assert [alert.event for alert in telemetry.alerts] == ["the gateway captured a payment that it had voided"]


def payment_of(app: oms.App, order: oms.Order) -> PaymentState | None:
    found = app.system.assemblies["payment"].service.store.payments([order.id]).get(order.id)
    return found.state if found is not None else None


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


# -- a gateway that was written before look-ups of refunds


class OldGateway(SimulatedGateway):
    """Ignores `Lookup.of`, and loses the first answer to each refund."""

    lost: frozenset[str] = frozenset()

    def lookup(self, lookup: oms.Lookup) -> Any:
        return super().lookup(attrs.evolve(lookup, of=oms.LookupOf.CHARGE))

    def refund(self, refund: oms.Refund) -> Any:
        answer = super().refund(refund)
        if refund.key in self.lost:
            return answer
        self.lost |= {refund.key}
        return oms.Unanswered("timed out")


def test_an_old_gateway_makes_each_refund_once() -> None:
    gateway = OldGateway(MemoryBook(), ManualClock())
    shop, order = sold(gateway)
    other = shop.place(amount=5)
    shop.run()
    parts = [shop.refund(order, "GOODWILL", amount=1), shop.refund(order, "GOODWILL", amount=2)]
    shop.cancel(other, by_operator=True)
    shop.advance(minutes=1)
    made = sorted(entry.amount for entry in gateway.all_entries() if entry.kind is oms.BookKind.REFUND)
    assert made == [100, 200, 500]
    for part in parts:
        shop.expect(order).refund(part, "PAID")
    shop.expect(other).cancelled().payment("REFUNDED")
    shop.expect().promises_kept()
