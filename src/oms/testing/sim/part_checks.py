"""Checks of shipments and refunds at rest that the promises don't cover: operators' responses, and notifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from oms.domain.events import OrderCompleted, OrderShipped, PaymentRefundPaid
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.refund import RefundState
from oms.operations.promises import Violation
from oms.testing.sim.simulated_system import SimulatedSystem


def part_violations(system: SimulatedSystem) -> Iterator[Violation]:
    """Yield violations about operations without a response, or carried out twice, and about notifications."""
    yield from _operations(system)
    orders = system.records["order"].orders.rows.values()
    if any(order.fulfilment.shipments or order.fulfilment.refunds for order in orders):
        yield from _notifications(system)


def _operations(system: SimulatedSystem) -> Iterator[Violation]:
    """P10: each operation has a response, and each shipment and refund is in the response of one operation.

    In the system of a hunted test, which places orders itself, there are shipments and refunds of the test too.
    """
    operations = system.operators.all.values()
    for one in operations:
        if not one.ended:
            yield Violation("P10", one.label, "never had a response")
    answered = Counter(one.part for one in operations if one.part is not None)
    there = Counter(part for order in system.records["order"].orders.rows.values() for part in _part_ids(order))
    of_operators = there.keys() if system.scope.orders else set[str]()
    for part in answered.keys() | of_operators:
        if answered[part] != 1 or there[part] != 1:
            detail = f"{answered[part]} operations were answered with this part, {there[part]} are there"
            yield Violation("P10", part, detail)


def _part_ids(order: Order) -> Iterator[str]:
    yield from (one.id for one in order.fulfilment.shipments)
    yield from (one.id for one in order.fulfilment.refunds)


def _notifications(system: SimulatedSystem) -> Iterator[Violation]:
    """P9: there is one notification of each shipment, of each refund that was paid, and of the completion."""
    rows = system.records["notification"].notifications.rows.values()
    found = Counter(
        (row.notification.order_id, row.notification.kind, row.notification.part)
        for row in rows
        if row.notification.kind in _KINDS
    )
    wanted = Counter(
        (order.id, kind, part)
        for order in system.records["order"].orders.rows.values()
        for kind, part in _wanted(order)
    )
    for order_id, kind, part in (found - wanted) | (wanted - found):
        counts = f"{found[order_id, kind, part]} times instead of {wanted[order_id, kind, part]}"
        yield Violation("P9", order_id, f"has a notification of {kind} {part} {counts}", order_id)


_KINDS = (OrderShipped.topic, PaymentRefundPaid.topic, OrderCompleted.topic)


def _wanted(order: Order) -> Iterator[tuple[str, str]]:
    yield from ((OrderShipped.topic, one.id) for one in order.fulfilment.shipments)
    for refund in order.fulfilment.refunds:
        if refund.state is RefundState.PAID:
            yield PaymentRefundPaid.topic, refund.id
    if order.state is OrderState.COMPLETED:
        yield OrderCompleted.topic, ""
