"""Counts the results of a campaign: a search without any refund proves nothing about refunds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from oms.domain.events import Reason
from oms.domain.order import OrderState, OrderTrigger
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
    counted["deadlines lost"] = sum(
        order.reason is not Reason.DEADLINE and bool(order.deadline_at) and order.updated_at >= order.deadline_at
        for order in orders
    )
    return counted


def _late(entry: HistoryEntry) -> bool:
    return entry.trigger == OrderTrigger.PAID.value and entry.before in _TOO_LATE
