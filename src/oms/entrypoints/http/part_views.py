"""Turns what happened to an order after its confirmation into the JSON shapes of responses."""

from __future__ import annotations

from decimal import Decimal

from oms.domain.lines import OrderLine
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.order_table import OrderPayment
from oms.domain.refund import WHOLE, OrderRefund, RefundState, Refusal
from oms.domain.shipment import Shipment
from oms.domain.values import Sku
from oms.entrypoints.http.part_shapes import PaymentView, RefundView, RefusalView, ShipmentView
from oms.entrypoints.http.shapes import LineView, OrderView

_NOTHING = Decimal(0)


def add_parts(view: OrderView, order: Order, *, for_operator: bool) -> None:
    """Add lines, payment, shipments and refunds to the shape of an order; `for_operator` includes refusals."""
    view.lines = _lines(order)
    fulfilment, payment = order.fulfilment, order.payment
    if fulfilment.shipments:
        view.shipments = shipment_views(order)
    if fulfilment.refunds:
        view.refunds = refund_views(order, for_operator=for_operator)
    view.refunded_amount = _refunded(order)
    if payment is not None:
        refunded = payment is OrderPayment.REFUNDED
        view.payment = PaymentView(payment.value, _refusal(order, WHOLE) if for_operator and not refunded else None)


def shipment_views(order: Order) -> list[ShipmentView]:
    """Return the JSON shapes of an order's shipments, oldest first."""
    return [shipment_view(shipment) for shipment in order.fulfilment.shipments]


def shipment_view(shipment: Shipment) -> ShipmentView:
    """Return the JSON shape of a shipment."""
    at = shipment.at.isoformat()
    return ShipmentView(shipment.id, dict(shipment.items.items()), at, shipment.carrier, shipment.tracking_number)


def refund_views(order: Order, *, for_operator: bool) -> list[RefundView]:
    """Return the JSON shapes of an order's refunds, oldest first; `for_operator` includes refusals."""
    fulfilment = order.fulfilment
    return [
        refund_view(refund, fulfilment.state_of(refund), _refusal(order, refund.id) if for_operator else None)
        for refund in fulfilment.refunds
    ]


def refund_view(refund: OrderRefund, state: RefundState, refusal: RefusalView | None = None) -> RefundView:
    """Return the JSON shape of a refund in a state."""
    return RefundView(
        refund.id,
        refund.kind.value,
        state.value,
        refund.amount.amount,
        refund.amount.currency.code,
        refund.restock,
        refund.reason,
        refund.at.isoformat(),
        dict(refund.items.items()) or None,
        refund.outside,
        refusal,
    )


def _refusal(order: Order, of: str) -> RefusalView | None:
    found = order.fulfilment.refusal(of)
    return _refusal_view(found) if found is not None else None


def _refusal_view(refusal: Refusal) -> RefusalView:
    instruction = refusal.instruction.value if refusal.instruction else None
    return RefusalView(
        refusal.of, refusal.attempt, refusal.reason, instruction, refusal.by or None, refusal.why or None
    )


def _refunded(order: Order) -> Decimal:
    """Return the sum of the requested refunds; the total once the payment of a cancelled order is refunded."""
    total = order.agreed.total
    if order.payment is OrderPayment.REFUNDED:
        return total.amount
    refunded = order.fulfilment.refunded
    return Money(refunded, total.currency).amount if refunded else _NOTHING


def _lines(order: Order) -> list[LineView]:
    terms, fulfilment = order.agreed, order.fulfilment
    lines = [_line(line) for line in terms.lines]
    if not lines:
        lines = [LineView(sku, units, 0, 0, 0) for sku, units in terms.items.items()]
    if fulfilment.shipments or fulfilment.refunds:
        counts = fulfilment.counts(terms.items)
        for line in lines:
            count = counts[Sku(line.product_id)]
            line.cancelled, line.shipped, line.returned = count.cancelled, count.shipped, count.returned
    return lines


def _line(line: OrderLine) -> LineView:
    amount = None if line.amount is None else line.amount.amount
    return LineView(line.sku, line.quantity, 0, 0, 0, amount, line.name)
