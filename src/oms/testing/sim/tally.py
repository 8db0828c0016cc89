"""Counts the results of a campaign: a search without any refund proves nothing about refunds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from oms.domain.events import Reason
from oms.domain.order import Order
from oms.domain.order_table import OrderState, OrderTrigger
from oms.domain.refund import OrderRefund, RefundKind
from oms.domain.state_machine import HistoryEntry
from oms.ports.evidence import BookKind
from oms.testing.sim.simulated_system import SimulatedSystem

COUNTED: Mapping[str, str] = {
    "confirmed": "orders that ended confirmed",
    "cancelled": "orders that ended cancelled",
    "rejected": "orders that were out of stock",
    "declined": "charges that the gateway declined",
    "late payments": "payments that arrived after the order had begun to be cancelled",
    "voids": "keys blocked at the gateway",
    "refunds": "captured charges that were refunded",
    "redeliveries": "messages that were delivered again",
    "rebuilds": "rebuilds of the gate, without the first one",
    "parked": "dead letters",
    "deadlines won": "orders cancelled by their deadline",
    "deadlines lost": "orders that ended in another way after their deadline",
}
"""The counters that must be above zero in a meaningful campaign."""

COUNTED_AFTER_CONFIRMATION: Mapping[str, str] = {
    "fulfilling": "orders that ended with a part shipped or refunded, and units open",
    "completed": "orders of which every unit was shipped or cancelled",
    "shipments": "parcels",
    "cancelled units": "units that were taken out of an order",
    "returned units": "units that came back",
    "goodwill": "refunds of money only",
    "restocks": "refunds whose units are available again",
    "parts refunded": "refunds that the gateway paid for parts of an order",
    "refused refunds": "attempts of refunds that the gateway refused",
    "retried": "refused refunds that an operator had repeated",
    "resolved": "refused refunds that an operator paid by other means",
    "refused operations": "shipments and refunds that the order service refused",
}
"""The counters that must be above zero in a campaign with shipments and refunds, besides `COUNTED`."""

_ENDS = {"confirmed": OrderState.CONFIRMED, "cancelled": OrderState.CANCELLED, "rejected": OrderState.REJECTED}
_BOOK = {"declined": BookKind.DECLINE, "voids": BookKind.VOID, "refunds": BookKind.REFUND}
_TOO_LATE = (OrderState.CANCELLING.value, OrderState.CANCELLED.value)


def tally(system: SimulatedSystem) -> Counter[str]:
    """Return the counters of one system at rest."""
    records = system.records
    orders = list(records["order"].orders.rows.values())
    entries = records["order"].history.rows
    kinds = Counter(entry.kind for entry in (system.evidence.book.all_entries() if system.evidence.book else ()))
    counted: Counter[str] = Counter({name: kinds[kind] for name, kind in _BOOK.items()})
    for name, end in _ENDS.items():
        counted[name] = sum(order.state is end for order in orders)
    counted["late payments"] = sum(map(_late, entries.values()))
    counted["redeliveries"] = max(0, system.codec.decoded - sum(len(record.inbox.rows) for record in records.values()))
    counted["rebuilds"] = max(0, records["inventory"].gate.rows["gate"] - 1)
    counted["parked"] = sum(len(record.dead_letters.rows) for record in records.values())
    counted["deadlines won"] = sum(order.reason is Reason.DEADLINE for order in orders)
    counted["deadlines lost"] = sum(map(_has_outlived_its_deadline, orders))
    if system.operators.all:
        counted.update(_after_confirmation(system))
    return counted


def _after_confirmation(system: SimulatedSystem) -> Counter[str]:
    orders = list(system.records["order"].orders.rows.values())
    refunds = [one for order in orders for one in order.fulfilment.refunds]
    triggers = Counter(entry.trigger for entry in system.records["order"].history.rows.values())
    operations = system.operators.all.values()
    labels = [one.label for one in operations if one.refusal is None]
    reservations = system.records["inventory"].reservations.rows.values()
    entries = system.evidence.book.all_entries() if system.evidence.book else ()
    return Counter(
        {
            "fulfilling": sum(order.state is OrderState.FULFILLING for order in orders),
            "completed": sum(order.state is OrderState.COMPLETED for order in orders),
            "shipments": sum(len(order.fulfilment.shipments) for order in orders),
            "cancelled units": _units(refunds, RefundKind.CANCEL),
            "returned units": _units(refunds, RefundKind.RETURN),
            "goodwill": sum(one.kind is RefundKind.GOODWILL for one in refunds),
            "restocks": sum(len(row.restocks) for row in reservations),
            "parts refunded": sum((entry.refund_key or "").startswith("oms/") for entry in entries),
            "refused refunds": triggers[OrderTrigger.REFUND_FAILED.value],
            "retried": sum(label.startswith("retry ") for label in labels),
            "resolved": sum(label.startswith("resolve ") for label in labels),
            "refused operations": sum(one.refusal is not None for one in operations),
        }
    )


def _units(refunds: Sequence[OrderRefund], kind: RefundKind) -> int:
    return sum(sum(one.items.values()) for one in refunds if one.kind is kind)


def _late(entry: HistoryEntry) -> bool:
    return entry.trigger == OrderTrigger.PAID.value and entry.before in _TOO_LATE


def _has_outlived_its_deadline(order: Order) -> bool:
    """Whether an order ended in another way after its deadline."""
    deadline_at, updated_at = order.deadline_at, order.updated_at
    if order.reason is Reason.DEADLINE or deadline_at is None or updated_at is None:
        return False
    return updated_at >= deadline_at
