"""What the model knows of shipments and refunds: the commands of operators, and the promises about units and money."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import Conflict
from oms.domain.events import Event, OrderCompleted
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefundState
from oms.domain.refund import WHOLE, Instruction
from oms.domain.reservation import Reservation, ReservationState
from oms.domain.state_machine import Transition
from oms.domain.terms import Terms
from oms.domain.values import OrderId, Sku

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = OrderId("order-1")
SKU = Sku("lamp")
USD = Currency.of("USD")
TWO_LAMPS = Terms.checked(
    "user-1",
    Money.of(25, USD),
    metadata={"gift": "yes"},
    lines=[OrderLine.of(SKU, 2, Money.of("19.99", USD), "Lamp")],
    charges=[OrderCharge.of("shipping", Money.of("5.01", USD))],
)
"""Two units whose price can't be halved, and a charge that no default amount contains."""

Call = Callable[[Any, Any], Transition[Any]]


def _ship(part: str, items: Mapping[str, int] | None) -> Call:
    command = ShipOrder.of(ORDER, items)
    return lambda order, _: _new(order, part).ship(command, part, at=NOW)


def _refund(part: str, kind: str, **details: Any) -> Call:
    command = RefundOrder.of(ORDER, kind, "why", **details)
    return lambda order, _: _new(order, part).refund(command, part, at=NOW)


def _new(order: Order, part: str) -> Order:
    """The order, unless it has this part already: the service makes a new id for each command."""
    if any(one.id == part for one in (*order.fulfilment.shipments, *order.fulfilment.refunds)):
        raise Conflict("used", part)
    return order


ONE = {SKU: 1}
PARTS: Mapping[str, Call] = {
    "ship one": _ship("s-1", ONE),
    "ship the rest": _ship("s-2", None),
    "cancel one": _refund("c-1", "CANCEL", items=ONE),
    "cancel another": _refund("c-2", "CANCEL", items=ONE, restock=False),
    "cancel the rest": _refund("c-3", "CANCEL"),
    "take one back": _refund("r-1", "RETURN", items=ONE, restock=True),
    "take another back": _refund("r-2", "RETURN", items=ONE, amount="1.00"),
    "goodwill": _refund("g-1", "GOODWILL", amount="3.00"),
    "goodwill of nothing": _refund("g-2", "GOODWILL", amount=0),
}
"""Commands of operators; the amounts of the others follow from the lines."""


def instructions(order: Order) -> Iterator[tuple[str, Call]]:
    """What operators can tell the payment service about the refusals that the order knows."""
    for refusal in order.fulfilment.refusals:
        for what in Instruction:
            command = InstructPayment.to(what, ORDER, refusal.of, "why")
            yield f"{what.value} {refusal.of}", lambda known, _, command=command: known.instruct(command, "ops", at=NOW)


def without_sequence(aggregate: Any) -> Any:
    """The aggregate, with its refunds by id: their sequence makes no difference to what it does."""
    if isinstance(aggregate, Order) and aggregate.fulfilment.refunds:
        known = aggregate.fulfilment
        refunds, refusals = sorted(known.refunds, key=_by_id), sorted(known.refusals, key=lambda one: one.of)
        return attrs.evolve(aggregate, fulfilment=attrs.evolve(known, refunds=tuple(refunds), refusals=tuple(refusals)))
    if isinstance(aggregate, Payment):
        return attrs.evolve(aggregate, refunds=tuple(sorted(aggregate.refunds, key=_by_id)))
    if isinstance(aggregate, Reservation):
        restocks = tuple(sorted(aggregate.restocks, key=lambda one: one.refund_id))
        return attrs.evolve(aggregate, restocks=restocks)
    return aggregate


def _by_id(refund: Any) -> str:
    return str(refund.id)


def announced(aggregate: Any) -> tuple[Event, ...]:
    """The events about parts that an aggregate says it has published, and that of its completion."""
    if isinstance(aggregate, Payment):
        return aggregate.part_events()
    if not isinstance(aggregate, Order) or aggregate.terms is None:
        return ()
    completed = (aggregate.event(OrderCompleted),) if aggregate.state is OrderState.COMPLETED else ()
    return (*aggregate.part_events(), *completed)


def outside(payment: Payment) -> int:
    """What was given back outside of the gateway, in minor units."""
    return sum(one.amount.minor for one in payment.refunds if one.state is PaymentRefundState.PAID and one.outside)


def retried_parts(payment: Payment) -> Iterator[str]:
    """The refused attempts that were followed by another one."""
    return (f"{one.id}/{attempt}" for one in payment.refunds for attempt in range(1, one.attempt))


def restocked(reservation: Reservation) -> int:
    """The units that refunds made available again, each refund once."""
    units = {one.refund_id: sum(one.items.values()) for one in reservation.restocks}
    return sum(units.values())


def wrong_units(order: Order) -> str:
    """What is wrong with an order's units and money at any moment; empty if nothing is."""
    if order.terms is None:
        return ""
    fulfilment, ordered = order.fulfilment, order.terms.items
    for sku, one in fulfilment.counts(ordered).items():
        if one.open < 0 or not 0 <= one.returned <= one.shipped:
            return f"P12: {sku}: {one}"
    if fulfilment.refunded > order.terms.total.minor:
        return f"P12: {fulfilment.refunded} refunded of {order.terms.total}"
    over = order.state is OrderState.COMPLETED
    begun = bool(fulfilment.shipments or fulfilment.refunds)
    if begun and order.state not in (OrderState.FULFILLING, OrderState.COMPLETED):
        return f"P12: {order.state.value} with parts"
    if over is (bool(fulfilment.open_items(ordered)) or not begun) and (over or begun):
        return f"P12: {order.state.value}, and open are {dict(fulfilment.open_items(ordered))}"
    return ""


_RESULTS = (PaymentState.CAPTURED, PaymentState.DECLINED, PaymentState.VOIDED, PaymentState.REFUNDED)


def wrong_at_end(order: Order, reservation: Reservation, payment: Payment, money: int) -> str:
    """What the services and the gateway's book disagree about once nothing has to happen; empty if they agree."""
    known = order.payment.value if order.payment is not None else None
    if payment.state in _RESULTS and known != payment.state.value:
        return f"P4: the order has heard {known} of the payment, which is {payment.state.value}"
    if order.state in (OrderState.CONFIRMED, OrderState.FULFILLING, OrderState.COMPLETED):
        return _wrong_refunds(order, reservation, payment, money)
    whole = payment.refund(WHOLE)
    if payment.state is PaymentState.REFUNDED and order.fulfilment.refusals:
        return f"P12: refunded, and {order} knows a refusal"
    if whole is not None and whole.state is PaymentRefundState.REFUSED:
        known = order.fulfilment.refusal(WHOLE)
        return "" if known is not None and known.attempt == whole.attempt else f"P12: {order} doesn't know of {whole}"
    return "" if money == outside(payment) else f"P4: {order.state.value}, and the gateway's book says {money}"


def _wrong_refunds(order: Order, reservation: Reservation, payment: Payment, money: int) -> str:
    assert order.terms is not None
    if payment.state is not PaymentState.CAPTURED or reservation.state is not ReservationState.COMMITTED:
        return f"P4: {order.state.value} and {payment.state.value}, {reservation.state.value}"
    refunds = {
        one.id: (one.amount, order.fulfilment.state_of(one).value, one.outside) for one in order.fulfilment.refunds
    }
    theirs = {one.id: (one.amount, one.state.value, one.outside) for one in payment.refunds}
    if refunds != theirs or any(state == "DUE" for _, state, _ in refunds.values()):
        return f"P12: refunds of the order: {refunds}, of the payment: {theirs}"
    paid = sum(amount.minor for amount, state, by_hand in refunds.values() if state == "PAID" and not by_hand)
    if money != order.terms.total.minor - paid:
        return f"P4: the gateway's book says {money}, refunds of {paid} were paid"
    wanted = {one.id: dict(one.items) for one in order.fulfilment.refunds if one.restock}
    given = {one.refund_id: dict(one.items) for one in reservation.restocks}
    return "" if wanted == given else f"P2: {given} was restocked, not {wanted}"
