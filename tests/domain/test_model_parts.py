"""Shipments and refunds of a confirmed order, every order of events: units and money are right at every end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import attrs
import pytest

from oms.domain import fulfilment, part_events
from oms.domain.events import (
    OrderCancelling,
    OrderCompleted,
    OrderRefundRequested,
    PaymentRefunded,
    PaymentRefundPaid,
)
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, OrderState, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, Payment, PaymentState, PaymentTrigger
from oms.domain.payment_refund import REFUND_TABLE, PaymentRefund, PaymentRefundState, RefundTrigger
from oms.domain.reservation import RESERVATION_TABLE, Reservation, ReservationState, ReservationTrigger, Restock
from oms.domain.saga import routes
from oms.domain.state_machine import Cell, Effect, Transition, evolve, move, stay
from oms.domain.tasks import TaskKind
from tests.domain.model import HANDLERS, Explored, Flaw, Model, Scope, View
from tests.domain.model_parts import TWO_LAMPS
from tests.domain.test_model import LATER

CALM = Scope(
    units=2,
    terms=TWO_LAMPS,
    customer=False,
    operator=False,
    deadline=False,
    lost=False,
    refusals=False,
    declines=False,
)
"""Two units in one order, which nothing keeps from its confirmation."""


def scope(*parts: str, **changes: Any) -> Scope:
    return attrs.evolve(CALM, parts=parts, **changes)


SCOPES: Mapping[str, Scope] = {
    "news before the order, a late deadline, lost answers": scope(
        "ship one", "goodwill", orders=(False,), lost=True, deadline=True, customer=True
    ),
    "goodwill, or cancelled by an operator; two refusals": scope(
        "goodwill", "goodwill of nothing", operator=True, gateway_refusals=2
    ),
    "a gateway that captures what it voided": scope("goodwill", customer=True, late_capture=True, gateway_refusals=1),
    "both units cancelled, one by one or together": scope(
        "cancel one", "cancel another", "cancel the rest", operator=True
    ),
    "two parcels, both come back": scope("ship one", "ship the rest", "take one back", "take another back"),
    "a parcel, a cancelled unit and a return; one refusal": scope(
        "ship one", "cancel another", "take one back", gateway_refusals=1
    ),
}
SIX = ("ship one", "ship the rest", "cancel one", "cancel another", "take one back", "goodwill")


@cache
def explored(named: Scope) -> Explored:
    return Model(named).explore()


@pytest.mark.parametrize("name", SCOPES)
def test_units_and_money_are_right_at_every_end(name: str) -> None:
    result = explored(SCOPES[name])
    assert ("CONFIRMED",) in result.ends
    print(f"{name}: {result.states} states, {result.transitions} transitions")


def test_an_order_ends_completed_cancelled_or_waits_for_an_operator() -> None:
    ends = {name: explored(SCOPES[name]).ends for name in SCOPES}
    assert ("COMPLETED",) in ends["two parcels, both come back"]
    assert ("CANCELLING",) not in ends["both units cancelled, one by one or together"]
    waits = ends["goodwill, or cancelled by an operator; two refusals"]
    assert {("CANCELLING",), ("CANCELLED",), ("FULFILLING",)} <= waits


FOUR = ("ship one", "cancel another", "take one back", "goodwill")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "states"),
    [
        (scope(*SIX), 50_000),
        (scope("ship one", "cancel another", "goodwill", operator=True, gateway_refusals=2), 7_000),
    ],
    ids=["without refusals", "two refusals"],
)
def test_many_commands_in_every_order(named: Scope, states: int) -> None:
    result = explored(named)
    assert result.states > states
    print(f"{result.states} states, {result.transitions} transitions")


@pytest.mark.hunts
@pytest.mark.parametrize(
    ("named", "states"),
    [
        (scope(*FOUR, operator=True, gateway_refusals=1), 130_000),
        (scope(*SIX, operator=True, gateway_refusals=1), 370_000),
    ],
    ids=["four commands", "six commands"],
)
def test_all_commands_with_one_refusal(named: Scope, states: int) -> None:
    result = explored(named)
    assert result.states > states
    print(f"{result.states} states, {result.transitions} transitions")


class Recording(dict[Any, Any]):
    """A row of a state table that notes which of its cells are read."""

    def __init__(self, row: Mapping[Any, Any]) -> None:
        super().__init__(row)
        self.read: set[Any] = set()

    def __getitem__(self, trigger: Any) -> Any:
        self.read.add(trigger)
        return super().__getitem__(trigger)


FROM_OTHERS = (Scope(), Scope(orders=(False,)), Scope(units=0), Scope(orders=(False,), legacy=True))


def test_every_cell_that_moves_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that no exploration reaches would be promises that no test checks."""
    tables: tuple[Any, ...] = (ORDER_TABLE, RESERVATION_TABLE, PAYMENT_TABLE, REFUND_TABLE)
    for table in tables:
        for state, row in table.items():
            monkeypatch.setitem(table, state, Recording(row))
    for one in (*FROM_OTHERS, *SCOPES.values()):
        Model(one).explore()
    missing = [
        f"{state}: {trigger}"
        for table in tables
        for state, row in table.items()
        for trigger, cell in row.items()
        if cell.effect is Effect.MOVE and trigger not in row.read
    ]
    assert missing == ["PaymentRefundState.REFUSED: RefundTrigger.PAID"], "only a gateway that contradicts itself"


def caught(kind: type[Model] = Model, **bent: Any) -> str:
    """What the model says of a planted flaw, in the first scope that meets it."""
    for one in SCOPES.values():
        try:
            kind(one, **bent).explore()
        except Flaw as flaw:
            return str(flaw)
    return ""


NOTED: Cell[Any] = stay(Effect.NOTED)
O, P, R, PR = OrderState, PaymentState, ReservationState, PaymentRefundState  # noqa: E741 - the four machines
OT, PT, RT, RefT = OrderTrigger, PaymentTrigger, ReservationTrigger, RefundTrigger
PLANTED: Mapping[str, tuple[Any, Any, Any, Cell[Any], str]] = {
    "an order is completed twice": (
        ORDER_TABLE, O.COMPLETED, OT.GIVE_BACK, move(O.COMPLETED, OrderRefundRequested, OrderCompleted),
        "published twice"),
    "the last unit doesn't complete the order": (
        ORDER_TABLE, O.FULFILLING, OT.CANCEL_LAST_UNITS, move(O.FULFILLING, OrderRefundRequested), "P12"),
    "an operator cancels an order that was shipped in part": (
        ORDER_TABLE, O.FULFILLING, OT.OPERATOR_CANCEL, move(O.CANCELLING, OrderCancelling), "P12"),
    "a refund isn't announced": (ORDER_TABLE, O.FULFILLING, OT.GIVE_BACK, move(O.FULFILLING), "P8"),
    "a unit of an order that isn't confirmed is refunded": (
        ORDER_TABLE, O.CANCELLING, OT.GIVE_BACK, move(O.CANCELLING, OrderRefundRequested), "P12"),
    "an instruction isn't sent": (ORDER_TABLE, O.FULFILLING, OT.INSTRUCT, move(O.FULFILLING), "P8"),
    "payment ignores a refund": (PAYMENT_TABLE, P.CAPTURED, PT.PART_REFUND, NOTED, "P12"),
    "a refused whole refund counts as paid": (
        PAYMENT_TABLE, P.REFUNDING, PT.REFUND_REFUSED, move(P.REFUNDED, PaymentRefunded), "P8"),
    "no call follows a retry of the whole": (PAYMENT_TABLE, P.REFUNDING, PT.RETRY, move(P.REFUNDING), "P6"),
    "no process owes a refund": (REFUND_TABLE, PR.ABSENT, RefT.REQUESTED, move(PR.DUE), "P12"),
    "a refund is paid without a call": (
        REFUND_TABLE, PR.ABSENT, RefT.REQUESTED, move(PR.PAID, PaymentRefundPaid), "P4"),
    "a refusal counts as paid": (REFUND_TABLE, PR.DUE, RefT.REFUSED, move(PR.PAID, PaymentRefundPaid), "P6"),
    "a repeated request pays again": (
        REFUND_TABLE, PR.PAID, RefT.REQUESTED, move(PR.DUE, starts=TaskKind.REFUND), "published twice"),
    "a refund that an operator resolved is paid as well": (
        REFUND_TABLE, PR.REFUSED, RefT.RESOLVE, move(PR.DUE, starts=TaskKind.REFUND), "P4"),
    "held units aren't restocked": (RESERVATION_TABLE, R.HELD, RT.REFUND, NOTED, "P2"),
    "sold units aren't restocked": (RESERVATION_TABLE, R.COMMITTED, RT.REFUND, NOTED, "P2"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_flaw_is_caught(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table, state, trigger, cell, promise = PLANTED[planted]
    monkeypatch.setitem(table[state], trigger, cell)
    assert promise in caught()


class NewKeys(Model):
    """The payment service calls under a new key after a call whose answer was lost."""

    def refund_key(self, view: View, refund: PaymentRefund) -> str:
        key = super().refund_key(view, refund)
        return f"{key}/again" if key in dict(view.refunds) and view.refused == 0 else key


def test_a_refund_that_is_paid_twice_after_a_lost_answer_is_caught() -> None:
    assert "P4" in caught(NewKeys)


def restocked_each_time(row: Reservation, event: OrderRefundRequested) -> Transition[Reservation]:
    restock = Restock(event.refund_id, event.items)
    return Transition(evolve(row, restocks=(*row.restocks, restock) if event.restock else row.restocks))


def test_a_repeated_message_that_restocks_again_is_caught() -> None:
    handlers = {**HANDLERS, ("inventory", "order.refund_requested"): restocked_each_time}
    assert "P2" in caught(handlers=handlers)


def forgets_late_refusals(order: Order, event: Any) -> bool:
    return False


def completed_with_all_refunds(order_id: Any, terms: Any, known: Any) -> OrderCompleted:
    refunded = Money(known.refunded, terms.total.currency)
    return OrderCompleted(order_id, terms.user_id, terms.total, refunded, known.shipped_items, terms.metadata)


def same_attempt(self: PaymentRefund, trigger: RefundTrigger, refused: str = "") -> Any:
    after, cell = _AFTER(self, trigger, refused)
    return attrs.evolve(after, attempt=1), cell


_AFTER = PaymentRefund.after
BENT: Mapping[str, tuple[Any, str, Callable[..., Any], str]] = {
    "more units are shipped and cancelled than were ordered": (fulfilment, "_check_units", lambda *_: None, "P12"),
    "a late refusal overrides a paid refund": (Order, "_outdated", forgets_late_refusals, "published twice"),
    "the completion counts later refunds": (part_events, "completed", completed_with_all_refunds, "P8"),
    "a retry has the key of the refused attempt": (PaymentRefund, "after", same_attempt, "published twice"),
    "an old instruction is followed again": (
        Payment, "instructed", lambda self, event, at: self._apply_part(
            self.refund(event.of), RefundTrigger.RETRY, at), "P12"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("planted", BENT)
def test_a_planted_fault_in_the_rules_is_caught(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, bent, promise = BENT[planted]
    monkeypatch.setattr(owner, name, bent)
    said = caught()
    assert said
    assert promise in said


@pytest.mark.slow
@pytest.mark.parametrize(("service", "topic"), sorted(LATER))
def test_a_forgotten_subscription_is_caught(service: str, topic: str) -> None:
    routing = {**routes(), topic: tuple(other for other in routes()[topic] if other != service)}
    assert caught(routing=routing)
