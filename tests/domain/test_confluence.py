"""P8: whatever the order in which a consumer gets an order's messages, with repeats, it ends the same.

Every permutation of every set of messages that one order's life can send to a consumer is applied, raw (no inbox),
each message twice: once in its place and once more at the end. The sets that a reader can follow are written out;
the last tests take every set that the model reaches, with the causes of each message as they are, and swap every two
messages that wait for a consumer at the same time. Swaps of neighbours make up every permutation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import combinations, permutations
from typing import Any

import attrs
import pytest

from oms.domain.errors import TermsMismatch
from oms.domain.events import OrderPaymentInstructed, OrderRefundRequested, Reason, Shortage
from oms.domain.money import Currency, Money
from oms.domain.order import Order
from oms.domain.order_table import OrderTrigger
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefundState
from oms.domain.refund import Instruction, RefundKind
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.state_machine import Transition
from oms.domain.stated_terms import StatedTerms
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku, UserId
from tests.domain.model import AGGREGATE, CALLS, HANDLERS, Model, Scope, View
from tests.domain.model_parts import TWO_LAMPS

AT = datetime(2026, 1, 1, tzinfo=UTC)
END = AT + timedelta(minutes=15)
TOTAL = Money(1000, Currency.of("USD"))
TERMS = Terms.checked("u", TOTAL, {"a": 2})
ID = OrderId("o")

Apply = Callable[..., Transition]


def heard(trigger: OrderTrigger, stated: StatedTerms | None = None) -> Apply:
    return lambda order: order.hear(trigger, at=AT, stated=stated)


def refused(apply: Apply) -> Apply:
    """A message that the order may refuse: it is parked then, and the order stays as it is."""

    def try_it(order: Order) -> Transition[Order]:
        try:
            return apply(order)
        except TermsMismatch:
            return Transition(order)

    return try_it


OWN = StatedTerms(UserId("u"), TOTAL)
CHEAP = StatedTerms(UserId("u"), Money(1, TOTAL.currency))
STRANGER = StatedTerms(UserId("mallory"), TOTAL)


ORDER: dict[str, Apply] = {
    "created": lambda order: order.created(TERMS, at=AT, deadline_at=END),
    "reserved": lambda order: order.reserved(TERMS, at=AT, deadline_at=END),
    "rejected": heard(OrderTrigger.REJECTED),
    "released": heard(OrderTrigger.RELEASED),
    "success": heard(OrderTrigger.PAID, OWN),
    "failed": heard(OrderTrigger.DECLINED, OWN),
    "voided": heard(OrderTrigger.VOIDED, OWN),
    "refunded": heard(OrderTrigger.REFUNDED, OWN),
}
FORGED: dict[str, Apply] = {
    f"{name} of {by}": refused(heard(trigger, stated))
    for name, trigger in (
        ("success", OrderTrigger.PAID),
        ("failed", OrderTrigger.DECLINED),
        ("voided", OrderTrigger.VOIDED),
        ("refunded", OrderTrigger.REFUNDED),
    )
    for by, stated in (("0.01", CHEAP), ("a stranger", STRANGER))
}
STOCK: dict[str, Apply] = {
    "fits": lambda reservation: reservation.hold(TERMS, at=AT),
    "short": lambda reservation: reservation.reject((Shortage(Sku("a"), 2, 1),), at=AT),
    "confirmed": lambda reservation: reservation.commit(at=AT),
    "cancelled": lambda reservation: reservation.release(at=AT),
}
MONEY: dict[str, Apply] = {
    "reserved": lambda payment: payment.start(TERMS, at=AT),
    "cancelling": lambda payment: payment.cancel(UserId("u"), TOTAL, at=AT),
}


def end(start: object, steps: Sequence[Apply]) -> tuple[object, list[str]]:
    aggregate, published = start, []
    for apply in [*steps, *steps]:
        step = apply(aggregate)
        aggregate = step.aggregate
        published += sorted(event.topic for event in step.events)
    return aggregate, published


def ends(start: object, known: dict[str, Apply], names: Sequence[str]) -> set[tuple[object, tuple[str, ...]]]:
    found = set()
    for order in permutations(names):
        aggregate, published = end(start, [known[name] for name in order])
        assert len(published) == len(set(published)), (order, published)
        found.add((aggregate.state, getattr(aggregate, "reason", None), tuple(sorted(published))))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("start", ["foreign", "own", "legacy"])
@pytest.mark.parametrize(
    "names",
    [
        ("created",),
        ("created", "reserved", "success"),
        ("created", "reserved", "failed", "released"),
        ("created", "rejected"),
    ],
)
def test_an_order_nobody_cancels(start: str, names: tuple[str, ...]) -> None:
    order = Order(id=ID)
    if start == "own":
        order = order.place(TERMS, at=AT, deadline_at=END).aggregate
    if start == "legacy":
        order = order.imported(TERMS, at=AT, created_at=AT).aggregate
    assert len(ends(order, ORDER, names)) == 1


@pytest.mark.parametrize("start", ["foreign", "own", "legacy"])
@pytest.mark.parametrize("forged", [*FORGED, *combinations(FORGED, 2)], ids=str)
@pytest.mark.parametrize(
    "names", [("created", "success"), ("created", "failed"), ("created", "reserved"), ("created", "rejected")]
)
def test_forged_payment_news_changes_no_end(start: str, forged: Any, names: tuple[str, ...]) -> None:
    """In every order of arrival the end is that of the true messages alone."""
    order = Order(id=ID)
    if start == "own":
        order = order.place(TERMS, at=AT, deadline_at=END).aggregate
    if start == "legacy":
        order = order.imported(TERMS, at=AT, created_at=AT).aggregate
    forgeries = (forged,) if isinstance(forged, str) else forged
    assert ends(order, ORDER | FORGED, (*names, *forgeries)) == ends(order, ORDER, names)


def test_a_reservation_of_other_terms_changes_no_end() -> None:
    """For an order that is here. One that is adopted takes the terms of the first message that has all of them."""
    order = Order(id=ID).place(TERMS, at=AT, deadline_at=END).aggregate
    other = Terms.checked("u", TOTAL, {"a": 1})
    forged = {"forged": refused(lambda order: order.reserved(other, at=AT, deadline_at=END))}
    for names in (("created",), ("created", "reserved", "success"), ("created", "rejected")):
        assert ends(order, ORDER | forged, (*names, "forged")) == ends(order, ORDER, names)


@pytest.mark.parametrize("reason", [Reason.CUSTOMER, Reason.OPERATOR, None])
@pytest.mark.parametrize(
    "names",
    [
        ("created", "reserved", "voided", "released"),
        ("created", "reserved", "success", "refunded", "released"),
        ("created", "reserved", "refunded", "released"),
        ("created", "reserved", "failed", "released"),
        ("created", "rejected", "voided", "released"),
    ],
)
def test_an_order_that_was_cancelled(reason: Reason | None, names: tuple[str, ...]) -> None:
    order = Order(id=ID).place(TERMS, at=AT, deadline_at=END).aggregate
    step = order.cancel(reason, at=AT) if reason else order.deadline(at=AT)
    (found,) = ends(step.aggregate, ORDER, names)
    assert found[1] is (reason or Reason.DEADLINE)


@pytest.mark.parametrize(
    "names",
    [
        ("fits", "confirmed"),
        ("fits", "cancelled"),
        ("short", "cancelled"),
        ("short",),
        ("fits", "confirmed", "cancelled"),
    ],
)
def test_a_reservation(names: tuple[str, ...]) -> None:
    """`order.confirmed` follows from the hold, so it never comes first; a cancel may overtake anything."""
    found = set()
    for order in permutations(names):
        if (
            "confirmed" in order
            and order.index("confirmed") < order.index("fits")
            and "cancelled" not in order[: order.index("confirmed")]
        ):
            continue
        aggregate, published = end(Reservation(order_id=ID), [STOCK[name] for name in order])
        assert len(published) == len(set(published))
        found.add(aggregate.state)  # type: ignore[attr-defined]
    assert len(found) == (2 if names == ("short", "cancelled") else 1)


GATEWAY: dict[PaymentState, tuple[Apply, ...]] = {
    PaymentState.INITIATED: (
        lambda p: p.captured("x", at=AT),
        lambda p: p.declined(at=AT),
        lambda p: p.unanswered(at=AT),
    ),
    PaymentState.UNKNOWN: (lambda p: p.captured("x", at=AT), lambda p: p.declined(at=AT)),
    PaymentState.VOIDING: (
        lambda p: p.void_done(at=AT),
        lambda p: p.void_lost("x", at=AT),
        lambda p: p.declined(at=AT),
    ),
    PaymentState.REFUNDING: (lambda p: p.refund_done(at=AT),),
}


def money_ends(payment: Payment, left: tuple[str, ...], published: tuple[str, ...], found: set) -> None:
    """Every interleaving of messages with everything a gateway may answer meanwhile."""
    moves = [(MONEY[name], tuple(other for other in left if other != name)) for name in left]
    moves += [(answer, left) for answer in GATEWAY.get(payment.state, ())]
    if not moves:
        found.add((payment.state, published))
    for apply, rest in moves:
        step = apply(payment)
        money_ends(step.aggregate, rest, (*published, *(e.topic for e in step.events)), found)


def test_a_payment_that_is_cancelled_ends_without_money_whatever_comes_first() -> None:
    found: set[tuple[PaymentState, tuple[str, ...]]] = set()
    money_ends(Payment(order_id=ID), ("reserved", "cancelling"), (), found)
    assert {state for state, _ in found} == {PaymentState.VOIDED, PaymentState.REFUNDED, PaymentState.DECLINED}
    for _, published in found:
        closing = [topic for topic in published if topic != "payment.success"]
        assert len(closing) == 1, "order.cancelling is answered exactly once"


def test_a_payment_that_nobody_cancels() -> None:
    found: set[tuple[PaymentState, tuple[str, ...]]] = set()
    money_ends(Payment(order_id=ID), ("reserved",), (), found)
    assert found == {
        (PaymentState.CAPTURED, ("payment.success",)),
        (PaymentState.DECLINED, ("payment.failed",)),
    }


@cache
def explored(scope: Scope) -> tuple[Model, frozenset[int]]:
    """The model of a scope, and the numbers of the views that an order reaches in it."""
    model = Model(scope)
    return model, frozenset(number for world in model.explore().worlds for number in world.orders)


def waiting(scope: Scope, service: str) -> Iterator[tuple[View, tuple[str, ...]]]:
    """Each view that an order reaches, with the messages that wait for a service there, two at a time."""
    model, reached = explored(scope)
    seen = set()
    for number in reached:
        view = model.views[number]
        fresh = model.named(view.sent & ~getattr(view, f"seen_{service}"))
        messages = sorted(name for name, i in fresh.items() if service in model.routing[model.messages[i].topic])
        for pair in combinations(messages, 2):
            local = view._replace(seen_order=0, seen_inventory=0, seen_payment=0)
            if (local, pair) not in seen:
                seen.add((local, pair))
                yield local, pair


def swapped(model: Model, view: View, service: str, pair: tuple[str, ...], *, short: bool = False) -> Any:
    """The two views that the two orders of a pair lead to, with the units that each moved (on hand, held)."""
    known = model.named(view.sent)
    found = []
    for order in (pair, pair[::-1]):
        after, on_hand, held = view, 0, 0
        for message in order:
            topic = model.messages[known[message]].topic
            reject = short and topic == "order.created"
            call = CALLS["reject"] if reject else HANDLERS[service, topic]
            name = "reject" if reject else topic
            after, more, more_held = model.apply(after, service, name, call, bit=1 << known[message])
            on_hand, held = on_hand + more, held + more_held
        found.append((after, on_hand, held))
    return found


SCOPES = {"own": Scope(), "foreign": Scope(orders=(False,)), "legacy": Scope(orders=(False,), legacy=True)}


@pytest.mark.parametrize("scope", SCOPES)
def test_any_two_messages_that_wait_for_an_order_can_be_swapped(scope: str) -> None:
    model, _ = explored(SCOPES[scope])
    pairs = list(waiting(SCOPES[scope], "order"))
    assert len(pairs) > 200
    for view, pair in pairs:
        first, second = swapped(model, view, "order", pair)
        assert first == second, (model.locals[view.order], pair)


@pytest.mark.parametrize("short", [False, True])
def test_any_two_messages_that_wait_for_a_reservation_can_be_swapped(short: bool) -> None:
    """Strictly so for its stock. Where a cancel overtakes its order, a hold that lasted no time isn't told of."""
    model, _ = explored(Scope())
    for view, pair in waiting(Scope(), "inventory"):
        (first, *units), (second, *other_units) = swapped(model, view, "inventory", pair, short=short)
        assert units == other_units
        ends = {model.locals[after.reservation].state for after in (first, second)}
        if pair == ("order.cancelled", "order.created"):
            assert ends <= {ReservationState.RELEASED, ReservationState.REJECTED}
            assert model.topics(first.sent ^ second.sent) <= TOLD_OF_A_MOMENT
        else:
            assert first == second


TOLD_OF_A_MOMENT = {"inventory.reserved", "inventory.rejected", "inventory.released"}


def test_only_a_cancel_and_its_hold_meet_at_a_payment() -> None:
    """No other two messages wait for it; whichever is first, the money comes to nothing (tested above)."""
    assert {pair for _, pair in waiting(Scope(), "payment")} == {("inventory.reserved", "order.cancelling")}


PARTS = {
    name: attrs.evolve(Scope(), **changes, units=2, terms=TWO_LAMPS, lost=False, refusals=False, deadline=False)
    for name, changes in {
        "parcel, cancelled unit, return": {
            "parts": ("ship one", "cancel another", "take one back"),
            "gateway_refusals": 1,
            "customer": False,
            "operator": False,
        },
        "goodwill twice, or cancelled": {"parts": ("goodwill", "goodwill of nothing"), "gateway_refusals": 1},
    }.items()
}


@pytest.mark.parametrize("service", ["order", "inventory", "payment"])
@pytest.mark.parametrize("scope", PARTS)
def test_any_two_messages_about_parts_can_be_swapped(scope: str, service: str) -> None:
    """The services know, publish and owe the same afterwards; so the calls to the gateway are the same too."""
    model, _ = explored(PARTS[scope])
    about_parts = 0
    for view, pair in waiting(PARTS[scope], service):
        if not any(" " in message for message in pair):
            continue
        about_parts += 1
        first, second = swapped(model, view, service, pair)
        assert first == second, (model.locals[getattr(view, AGGREGATE[service])], pair)
    assert about_parts > 5 or (scope, service) in NEVER_TWO


NEVER_TWO = {("goodwill twice, or cancelled", "inventory")}
"""Goodwill moves no units, so that only its message and the confirmation meet there."""


def refund_requested(refund_id: str, minor: int) -> Apply:
    event = OrderRefundRequested(
        ID, UserId("u"), refund_id, RefundKind.GOODWILL, {}, (), False, Money(minor, TOTAL.currency), True, "why"
    )
    return lambda payment: payment.refund_requested(event, at=AT)


PAYMENT_PARTS: dict[str, Apply] = {
    "refund of 3": refund_requested("r-1", 300),
    "refund of 7": refund_requested("r-2", 700),
    "refund of nothing": refund_requested("r-3", 0),
    "shipped": lambda payment: payment.shipped(at=AT),
    "completed": lambda payment: payment.completed(at=AT),
}


def called(payment: Payment, book: dict[str, int]) -> Payment:
    """The payment after each call that it owes; the gateway refuses the first attempt of the refund of 3."""
    for refund in payment.refunds:
        key = payment.refund_key(refund)
        if refund.state is PaymentRefundState.DUE:
            refuses = key.endswith("/r-1/1")
            book[key] = 0 if refuses else refund.amount.minor
            answer = (
                payment.part_refund_refused(refund.id, "no funds", at=AT)
                if refuses
                else payment.part_refund_paid(refund.id, at=AT)
            )
            payment = answer.aggregate
    return payment


def retried(payment: Payment, what: Instruction) -> Payment:
    """The payment after an operator's decision about each refund that the gateway refused."""
    for refund in payment.refunds:
        event = OrderPaymentInstructed(ID, UserId("u"), refund.id, what, 1, "ops", "why")
        for _ in range(2):
            payment = payment.instructed(event, at=AT).aggregate
    return payment


@pytest.mark.parametrize(("what", "given"), [(Instruction.RETRY, 1000), (Instruction.RESOLVE, 700)])
def test_the_gateways_book_is_the_same_whatever_the_order_of_the_messages(what: Instruction, given: int) -> None:
    """Every permutation, with the calls to the gateway after any of its messages, each message twice."""
    ends = set()
    for order in permutations(PAYMENT_PARTS):
        for calls_after in range(1, len(order) + 1):
            payment: Payment = Payment(order_id=ID).start(TERMS, at=AT).aggregate
            payment = payment.captured("p-1", at=AT).aggregate
            book: dict[str, int] = {}
            for number, name in enumerate((*order, *order), 1):
                payment = PAYMENT_PARTS[name](payment).aggregate
                if number >= calls_after:
                    payment = called(payment, book)
            payment = called(retried(payment, what), book)
            assert sum(book.values()) == given
            states = sorted((refund.id, refund.state.value, refund.outside) for refund in payment.refunds)
            ends.add((tuple(sorted(book.items())), tuple(states), tuple(sorted(map(repr, payment.part_events())))))
    assert len(ends) == 1
