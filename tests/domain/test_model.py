"""The whole system, every order of events: no cell that can't be is reached, and every end is right."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import attrs
import pytest

from oms.domain.events import (
    InventoryReserved,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    PaymentVoided,
)
from oms.domain.order_table import ORDER_TABLE, OrderState, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, PaymentState, PaymentTrigger
from oms.domain.reservation import RESERVATION_TABLE, ReservationState, ReservationTrigger
from oms.domain.saga import routes
from oms.domain.state_machine import Cell, Effect, move, stay
from oms.domain.stated_terms import StatedTerms
from tests.domain.model import HANDLERS, Explored, Flaw, Model, Scope

OWN, FOREIGN, SOLD_OUT = Scope(), Scope(orders=(False,)), Scope(units=0)
TWO = Scope(orders=(True, True), repeats=False, operator=False, deadline=False, lost=False, refusals=False)
"""Two orders on one unit, either cancelled by its customer at any moment."""
PATIENT = Scope(orders=(False,), customer=False, operator=False, deadline=False)
"""Nobody cancels and no deadline helps: the order has to end by itself."""
LEGACY = Scope(orders=(False,), legacy=True)
"""An order of the system replaced whose message is still under way: imported and resumed at any moment, or never."""
DRAINED = Scope(orders=(False,), legacy=True, drained=True)
LEFT_ALONE = Scope(orders=(False,), legacy=True, customer=False, operator=False, deadline=False)
DRAINED_ALONE = Scope(orders=(False,), legacy=True, drained=True, customer=False, operator=False, deadline=False)

FORGED = Scope(orders=(False,), forged=True, repeats=False, operator=False, lost=False)
"""Somebody writes payment news with another amount at any moment, also before the order is known."""

ALL_ENDS = {("CONFIRMED",), ("CANCELLED",), ("REJECTED",)}


@cache
def exploration(scope: Scope) -> tuple[Model, Explored]:
    """A scope as it is, explored once for all tests; not for those that bend a table."""
    model = Model(scope)
    return model, model.explore()


def explored(scope: Scope) -> Explored:
    return exploration(scope)[1]


@pytest.mark.parametrize("scope", [OWN, FOREIGN], ids=["own", "foreign"])
def test_one_order(scope: Scope) -> None:
    result = explored(scope)
    assert result.ends == ALL_ENDS
    assert result.states > 1000


def test_an_order_of_the_system_replaced_whose_message_is_still_under_way_ends_like_any_other() -> None:
    assert explored(LEGACY).ends == ALL_ENDS
    assert explored(LEFT_ALONE).ends == ALL_ENDS


def test_an_order_of_the_system_replaced_rests_until_somebody_resumes_or_cancels_it() -> None:
    assert explored(DRAINED).ends == {*ALL_ENDS, ("LEGACY",)}


def test_forged_payment_news_changes_nothing() -> None:
    """Whatever it overtakes: the promises hold in every state, the ends are the same, and nothing is impossible."""
    assert explored(FORGED).ends == ALL_ENDS
    assert explored(attrs.evolve(FORGED, orders=(True,))).ends == ALL_ENDS


@pytest.mark.parametrize("own", [True, False])
def test_an_order_service_that_takes_any_amount_is_caught(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StatedTerms, "differ_from", lambda _self, _terms: False)
    with pytest.raises(Flaw):
        Model(attrs.evolve(FORGED, orders=(own,))).explore()


def test_nothing_in_stock() -> None:
    assert explored(SOLD_OUT).ends == {("CANCELLED",), ("REJECTED",)}


def test_no_order_needs_its_deadline() -> None:
    assert explored(PATIENT).ends == ALL_ENDS


@pytest.mark.slow
def test_two_orders_on_one_unit() -> None:
    result = explored(TWO)
    assert ("CONFIRMED", "CONFIRMED") not in result.ends
    assert ("CONFIRMED", "REJECTED") in result.ends
    assert result.states > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("orders", [(True, True), (True, False)], ids=["own and own", "own and foreign"])
def test_two_orders_with_everything_that_can_happen(orders: tuple[bool, bool]) -> None:
    result = explored(Scope(orders=orders))
    assert ("CONFIRMED", "CONFIRMED") not in result.ends
    assert result.states > 300_000


@pytest.mark.slow
def test_two_orders_on_two_units_can_both_be_confirmed() -> None:
    scope = Scope(orders=(True, True), units=2, repeats=False, customer=False, deadline=False, lost=False)
    assert ("CONFIRMED", "CONFIRMED") in explored(scope).ends


def caught(**bent: Any) -> str:
    """What the model says of a planted flaw, in the first scope that meets it."""
    for scope in (OWN, FOREIGN, SOLD_OUT, PATIENT, LEGACY, DRAINED, LEFT_ALONE, DRAINED_ALONE, TWO):
        try:
            Model(scope, **bent).explore()
        except Flaw as flaw:
            return str(flaw)
    return ""


NOTED: Cell[Any] = stay(Effect.NOTED)
O, P, R = OrderState, PaymentState, ReservationState  # noqa: E741 - the three machines
OT, PT, RT = OrderTrigger, PaymentTrigger, ReservationTrigger
PLANTED: Mapping[str, tuple[Any, Any, Any, Cell[Any], str]] = {
    "a cancel voids at once a charge that may be out": (
        PAYMENT_TABLE, P.INITIATED, PT.CANCELLING, move(P.VOIDED, PaymentVoided), "P4"),
    "a cancel voids at once a charge that got no answer": (
        PAYMENT_TABLE, P.UNKNOWN, PT.CANCELLING, move(P.VOIDED, PaymentVoided), "P4"),
    "no answer is taken for declined": (
        PAYMENT_TABLE, P.INITIATED, PT.NO_ANSWER, move(P.DECLINED, PaymentFailed), "P4"),
    "a void that came too late is taken for done": (
        PAYMENT_TABLE, P.VOIDING, PT.VOID_LOST, move(P.VOIDED, PaymentVoided), "P4"),
    "captured money isn't refunded": (PAYMENT_TABLE, P.CAPTURED, PT.CANCELLING, NOTED, "P6"),
    "nobody owes the refund": (PAYMENT_TABLE, P.CAPTURED, PT.CANCELLING, move(P.REFUNDING), "P6"),
    "a late capture isn't refunded": (PAYMENT_TABLE, P.VOIDING, PT.CAPTURED, move(P.VOIDED, PaymentVoided), "P4"),
    "no tombstone at payment": (PAYMENT_TABLE, P.ABSENT, PT.CANCELLING, NOTED, "P6"),
    "no tombstone at inventory": (RESERVATION_TABLE, R.ABSENT, RT.CANCELLED, NOTED, "P2"),
    "a rejection isn't sticky": (RESERVATION_TABLE, R.REJECTED, RT.FITS, move(R.HELD, InventoryReserved), "P2"),
    "a release isn't sticky": (RESERVATION_TABLE, R.RELEASED, RT.FITS, move(R.HELD, InventoryReserved), "published twice"),
    "sold units aren't restocked": (RESERVATION_TABLE, R.COMMITTED, RT.CANCELLED, NOTED, "P2"),
    "held units aren't freed": (RESERVATION_TABLE, R.HELD, RT.CANCELLED, NOTED, "P2"),
    "a late success confirms": (ORDER_TABLE, O.CANCELLING, OT.PAID, move(O.CONFIRMED, OrderConfirmed), ""),
    "a cancel ends the order at once": (
        ORDER_TABLE, O.RESERVED, OT.CUSTOMER_CANCEL, move(O.CANCELLED, OrderCancelled), "P4"),
    "an operator's cancel ends a confirmed order at once": (
        ORDER_TABLE, O.CONFIRMED, OT.OPERATOR_CANCEL, move(O.CANCELLED, OrderCancelled), "P4"),
    "a decline while cancelling is lost": (ORDER_TABLE, O.CANCELLING, OT.DECLINED, NOTED, "P6"),
    "a capture for a legacy order is only noted": (ORDER_TABLE, O.LEGACY, OT.PAID, NOTED, "P6"),
    "a decline for a legacy order is only noted": (ORDER_TABLE, O.LEGACY, OT.DECLINED, NOTED, "P6"),
    "a rejection of a legacy order is only noted": (ORDER_TABLE, O.LEGACY, OT.REJECTED, NOTED, "P6"),
    "a legacy order is cancelled at once": (
        ORDER_TABLE, O.LEGACY, OT.OPERATOR_CANCEL, move(O.CANCELLED, OrderCancelled), "P4"),
    "an import announces its order": (ORDER_TABLE, O.ABSENT, OT.IMPORTED, move(O.LEGACY, OrderCreated), "P4"),
    "a resumed order isn't announced": (ORDER_TABLE, O.LEGACY, OT.RESUMED, move(O.CREATED), "P6"),
    "a refund never ends the order": (ORDER_TABLE, O.CANCELLING, OT.REFUNDED, NOTED, "P6"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_flaw_is_caught(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table, state, trigger, cell, promise = PLANTED[planted]
    monkeypatch.setitem(table[state], trigger, cell)
    said = caught()
    assert said
    assert promise in said


def test_a_legacy_order_that_only_notes_what_happens_to_it_keeps_stock_and_money(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for trigger in (OT.RESERVED, OT.PAID):
        monkeypatch.setitem(ORDER_TABLE[O.LEGACY], trigger, NOTED)  # type: ignore[arg-type]
    assert "P6: LEGACY with HELD stock, and money: captured" in caught()


def test_stock_released_before_the_money_is_settled_is_caught() -> None:
    topics = dict(routes())
    topics["order.cancelling"], topics["order.cancelled"] = ("inventory", "payment"), ()
    handlers = {**HANDLERS, ("inventory", "order.cancelling"): HANDLERS["inventory", "order.cancelled"]}
    assert "stock released while the money isn't settled" in caught(routing=topics, handlers=handlers)


HARMLESS = {("order", "inventory.released"), ("order", "inventory.reserved"), ("order", "order.created")}
"""The order service only notes the first; of the two others either adopts a foreign order."""


LATER = {
    (service, topic)
    for service, topic in HANDLERS
    if topic in ("order.refund_requested", "order.payment_instructed", "payment.refund_paid", "payment.refund_failed")
}
"""Messages about parts of a confirmed order (test_model_parts.py)."""

NOT_NEEDED = {
    ("order", "inventory.reserved"),  # the payment's news says it too
    ("order", "inventory.released"),  # for the timeline
    ("payment", "order.shipped"),  # the money is captured already
    ("payment", "order.completed"),
    *LATER,
}


@pytest.mark.parametrize(("service", "topic"), sorted(set(HANDLERS) - NOT_NEEDED))
def test_a_forgotten_subscription_is_caught(service: str, topic: str) -> None:
    routing = {**routes(), topic: tuple(other for other in routes()[topic] if other != service)}
    assert caught(routing=routing)
