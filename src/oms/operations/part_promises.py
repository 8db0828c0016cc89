"""Checks the promises about the shipments and refunds of one order: units, restocks, and both views of a refund."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush

from oms.domain.order import Order
from oms.domain.order_table import OrderState, OrderTrigger
from oms.domain.payment import Payment
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE, OrderRefund, RefundState
from oms.domain.reservation import Reservation, Restock, restock_reference
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, MovementKind
from oms.domain.values import Items, Sku
from oms.operations.snapshot_rows import OrderSnapshot
from oms.operations.violations import Violation

_SHIPS = (OrderTrigger.SHIP.value, OrderTrigger.SHIP_LAST.value)
_REFUNDS = tuple(
    one.value for one in (OrderTrigger.CANCEL_UNITS, OrderTrigger.CANCEL_LAST_UNITS, OrderTrigger.GIVE_BACK)
)


def units(order: Order) -> Iterator[Violation]:
    """P12: no unit is cancelled, shipped or returned beyond what was ordered, and no more money is refunded than paid.

    The order's state says whether units are open.
    """
    done = order.fulfilment
    if order.terms is None or not (done.shipments or done.refunds):
        if order.state in (OrderState.FULFILLING, OrderState.COMPLETED):
            yield _wrong(order, f"is {order.state.value} without a shipment or refund")
        return
    ordered = order.terms.items
    parts = [*(one.items for one in done.shipments), *(one.items for one in done.refunds)]
    strange = sorted({sku for items in parts for sku in items} - set(ordered))
    if strange:
        yield _wrong(order, f"ships or refunds {strange[0]}, which it doesn't contain")
    for sku, one in done.counts(ordered).items():
        if one.open < 0 or one.returned > one.shipped:
            counts = f"{one.cancelled} cancelled, {one.shipped} shipped, {one.returned} returned"
            yield _wrong(order, f"{one.ordered} units of {sku} were ordered; {counts}")
    if done.refunded > order.terms.total.minor:
        yield _wrong(order, f"refunds {done.refunded} minor units of {order.terms.total.minor}")
    wanted = OrderState.FULFILLING if done.open_items(ordered) else OrderState.COMPLETED
    if order.state is not wanted:
        yield _wrong(order, f"is {order.state.value}; by its shipments and refunds it is {wanted.value}")


def history(order: Order, entries: Sequence[HistoryEntry]) -> Iterator[Violation]:
    """P5: the history has one entry for each shipment and for each refund."""
    done = order.fulfilment
    if not (done.shipments or done.refunds):
        return
    for name, parts, triggers in (("shipments", done.shipments, _SHIPS), ("refunds", done.refunds, _REFUNDS)):
        count = sum(entry.trigger in triggers for entry in entries)
        if count != len(parts):
            yield Violation("P5", order.id, f"has {len(parts)} {name}, its history has {count}", order.id)


def refunds(order: Order, payment: Payment | None) -> Iterator[Violation]:
    """P12 at rest: every refund is PAID or REFUSED, and the order service has heard of it."""
    known = {one.id: one for one in payment.refunds} if payment is not None else {}
    for refund in order.fulfilment.refunds:
        found = known.pop(refund.id, None)
        if found is None:
            yield _wrong(order, f"refund {refund.id} is unknown to the payment service")
            continue
        if found.state is PaymentRefundState.DUE:
            yield _wrong(order, f"refund {refund.id} is DUE, and no call to the gateway is planned")
        elif _order_view(order, refund) != _payment_view(found):
            ours, theirs = _told(*_order_view(order, refund)), _told(*_payment_view(found))
            yield _wrong(order, f"refund {refund.id} is {ours} in the order, and {theirs} in the payment")
    whole = known.pop(WHOLE, None)
    yield from _whole(order, whole)
    for refund_id in known:
        yield _wrong(order, f"its payment has refund {refund_id}, which the order doesn't have")


def _whole(order: Order, whole: PaymentRefund | None) -> Iterator[Violation]:
    """P12 of the refund of a cancelled order: the order service knows whether it waits for an operator."""
    refusal = order.fulfilment.refusal(WHOLE)
    heard = refusal is not None and refusal.instruction is None
    waits = whole is not None and whole.state is PaymentRefundState.REFUSED
    if whole is not None and whole.state is PaymentRefundState.DUE:
        yield _wrong(order, f"refund {WHOLE} is DUE, and no call to the gateway is planned")
    elif heard != waits:
        ours, theirs = ("REFUSED" if one else "not REFUSED" for one in (heard, waits))
        yield _wrong(order, f"refund {WHOLE} is {ours} in the order, and {theirs} in the payment")


View = tuple[str, int, Mapping[Sku, int], bool, int]
"""State, amount in minor units, units, outside, and the attempt that the gateway refused (0 if it isn't REFUSED)."""


def _order_view(order: Order, refund: OrderRefund) -> View:
    state, refusal = order.fulfilment.state_of(refund), order.fulfilment.refusal(refund.id)
    attempt = refusal.attempt if refusal is not None and state is RefundState.REFUSED else 0
    return state.value, refund.amount.minor, dict(refund.items), refund.outside, attempt


def _payment_view(refund: PaymentRefund) -> View:
    attempt = refund.attempt if refund.state is PaymentRefundState.REFUSED else 0
    return refund.state.value, refund.amount.minor, dict(refund.items), refund.outside, attempt


def _told(state: str, minor: int, items: Mapping[Sku, int], outside: bool, attempt: int) -> str:  # noqa: FBT001
    more = " outside" if outside else f" at attempt {attempt}" if attempt else ""
    return f"{state}{more} ({minor} minor units, {dict(items)})"


def waiting(order: Order) -> int:
    """Return the number of refunds that wait for an operator, because the gateway refused them."""
    return sum(refusal.instruction is None for refusal in order.fulfilment.refusals)


def missing_restocks(order: Order, reservation: Reservation | None) -> Iterator[tuple[str, Violation]]:
    """P2: yield each refund whose units should be available again and aren't, with its id."""
    found = {one.refund_id: one.items for one in reservation.restocks} if reservation is not None else {}
    for refund in order.fulfilment.refunds:
        if refund.restock and found.get(refund.id) != refund.items:
            there = f"inventory has {dict(found[refund.id])}" if refund.id in found else "inventory hasn't"
            yield (
                refund.id,
                Violation("P2", order.id, f"refund {refund.id} restocks {dict(refund.items)}, {there}", order.id),
            )


def unknown_restocks(reservation: Reservation, order: Order | None) -> Iterator[Violation]:
    """P2: inventory has restocked nothing but refunds of the order, whose record is younger."""
    for one in reservation.restocks:
        refund = order.fulfilment.refund(one.refund_id) if order is not None else None
        if refund is None or not refund.restock:
            order_id = reservation.order_id
            yield Violation("P2", order_id, f"refund {one.refund_id} was restocked, and not requested", order_id)


class Restocks:
    """Compares the reservations with the ledger's rows of refunds (P3), in one pass over ascending ids.

    The rows of a refund have an id of their own, which follows that of its order: those of the orders in between are
    kept.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, Restock] = {}
        self._references: list[str] = []

    def take(self, one: OrderSnapshot) -> Iterator[Violation]:
        """Check the rows with this id, and those that should have come before it."""
        while self._references and self._references[0] < one.id:
            yield from self._compared(heappop(self._references), ())
        if self._references and self._references[0] == one.id:
            yield from self._compared(heappop(self._references), one.movements)
        else:
            yield from restocked(one.id, None, [row for row in one.movements if row.kind is MovementKind.REFUND])
        for restock in one.reservation.restocks if one.reservation is not None else ():
            reference = restock_reference(one.id, restock.refund_id)
            self._wanted[reference] = restock
            heappush(self._references, reference)

    def rest(self) -> Iterator[Violation]:
        """Check what is left at the end."""
        while self._references:
            yield from self._compared(heappop(self._references), ())

    def _compared(self, reference: str, rows: Sequence[Movement]) -> Iterator[Violation]:
        return restocked(reference, self._wanted.pop(reference).items, rows)


def restocked(reference: str, items: Items | None, rows: Sequence[Movement]) -> Iterator[Violation]:
    """P3: the ledger has one row for each product of a restocked refund; `items` is None without a restock."""
    wanted = Counter({(sku, MovementKind.REFUND, count, 0): 1 for sku, count in (items or {}).items()})
    found = Counter((row.sku, row.kind, row.on_hand, row.held) for row in rows)
    if found != wanted:
        said = "not restocked" if items is None else f"restocked with {dict(items)}"
        ledger = ", ".join(f"{kind.value} {count} of {sku}" for sku, kind, count, _ in found.elements()) or "no rows"
        yield Violation("P3", reference, f"this refund is {said}; its ledger has {ledger}", reference.partition("/")[0])


def _wrong(order: Order, detail: str) -> Violation:
    return Violation("P12", order.id, detail, order.id)
