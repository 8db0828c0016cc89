"""P4: an order's money, compared with the gateway's own book."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from oms.domain.order import Order, OrderState
from oms.domain.values import OrderId
from oms.operations import order_promises
from oms.operations.log_snapshot import microseconds
from oms.operations.order_promises import Found
from oms.operations.record_snapshot import RecordSnapshot
from oms.operations.snapshot_rows import Balance, OrderSnapshot
from oms.operations.violations import MOST_LISTED, Violation

MOST_DOUBTFUL = 100_000
"""Orders that don't agree with the gateway's book and are read again."""


class MoneyCheck:
    """Checks P4 of each order in one pass, and reads the orders that don't agree with the book again at the end."""

    def __init__(self, record: RecordSnapshot) -> None:
        self._evidence, self._others = record.evidence, record.other_payments
        self._doubtful: dict[OrderId, tuple[OrderState, Violation]] = {}
        self._doubts = 0
        self._first_at: int | None = None
        """When the first line about this system was written, in microseconds since 1970."""

        self._unbooked: list[tuple[int, OrderId, Violation]] = []
        """The latest confirmed orders without a line in a book that may have begun after them."""

        self._count_unbooked = 0

    @property
    def covers(self) -> bool:
        """Whether the book holds payments of this system."""
        return self._evidence.whole_book or self._first_at is not None or self._count_unbooked == 0

    def take(self, one: OrderSnapshot, found: Found) -> None:
        """Check one order."""
        order = one.order if one.order is not None and one.order.terms is not None else None
        known = order is not None or one.payment is not None
        if one.balance is not None:
            if known or self._evidence.whole_book:
                self._charges(one, order, one.balance, found)
            else:
                self._others += 1
        if order is not None and order.state.resting:
            for wrong in order_promises.balance(order, one.balance):
                self._doubt(order, one.balance, wrong)

    def _charges(self, one: OrderSnapshot, order: Order | None, balance: Balance, found: Found) -> None:
        if self._first_at is None or balance.first_at < self._first_at:
            self._first_at = balance.first_at
        for wrong in order_promises.charges(one.id, order, balance):
            found(wrong, False)  # noqa: FBT003
        if order is None and balance.captures and balance.net:
            detail = f"was captured for an order that isn't there; {balance.net} minor units are left"
            found(Violation("P4", one.id, detail), True)  # noqa: FBT003

    def _doubt(self, order: Order, balance: Balance | None, wrong: Violation) -> None:
        if balance is None and not self._evidence.whole_book:
            self._count_unbooked += 1
            at = microseconds(order.created_at) if order.created_at is not None else 0
            push = heapq.heappush if len(self._unbooked) < MOST_LISTED else heapq.heappushpop
            push(self._unbooked, (at, order.id, wrong))
            return
        self._doubts += 1
        if len(self._doubtful) < MOST_DOUBTFUL:
            self._doubtful[order.id] = (order.state, wrong)

    def look_again(self, found: Found) -> None:
        """Report the doubtful orders that are still in the state in which they didn't agree with the book."""
        judged = [one for one in self._unbooked if self._first_at is not None and one[0] >= self._first_at]
        self._count_unbooked -= len(judged)
        for _, order_id, wrong in judged:
            self._doubtful[order_id] = (OrderState.CONFIRMED, wrong)
        if not self._doubtful:
            return
        for order in self._evidence.order.all_orders():
            doubtful = self._doubtful.get(order.id)
            if doubtful is not None and doubtful[0] is order.state:
                found(doubtful[1], order.state is OrderState.LEGACY)

    def notes(self) -> Iterator[str]:
        """Yield a line for each part of the money that isn't checked, with the reason."""
        if self._count_unbooked:
            count = self._count_unbooked
            orders = "1 confirmed order isn't" if count == 1 else f"{count} confirmed orders aren't"
            why = "it begins later" if self._first_at is not None else "it has no payment of this system"
            yield f"{orders} in the gateway's book: {why}"
        if self._others:
            payments = "1 payment" if self._others == 1 else f"{self._others} payments"
            yield f"the gateway's book has {payments} of other systems"
        if self._doubts > len(self._doubtful):
            known = len(self._doubtful)
            yield f"{self._doubts} orders don't fit the gateway's book; {known} of them were looked at again"
