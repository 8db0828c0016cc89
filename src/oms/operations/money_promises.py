"""P4: the money of orders and payments, compared with the gateway's own book."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.payment import Payment, PaymentState
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE, RefundState
from oms.domain.values import OrderId
from oms.operations.log_snapshot import microseconds
from oms.operations.order_promises import CONFIRMED, Found, waits_for_operator
from oms.operations.record_snapshot import RecordSnapshot
from oms.operations.snapshot_rows import Balance, OrderSnapshot
from oms.operations.violations import MOST_LISTED, Violation

MOST_DOUBTFUL = 100_000
"""Orders, and payments, that don't agree with the gateway's book and are read again."""


def balance(order: Order, payment: Payment | None, found: Balance | None) -> Iterator[Violation]:
    """P4: the gateway's balance of an order that has ended (or is LEGACY) is what the order demands.

    Refunds that the order service hasn't heard of as paid may have been paid. Only the payment shows that the refund of
    a cancelled order was paid outside of the gateway.
    """
    least, most = _demanded(order, payment)
    net = found.net if found is not None else 0
    if not least <= net <= most:
        wanted = f"{most}" if least == most else f"{least} to {most}"
        detail = f"is {order.state.value}, the gateway's balance is {net} minor units instead of {wanted}"
        yield Violation("P4", order.id, detail)


def _demanded(order: Order, payment: Payment | None) -> tuple[int, int]:
    """Return the least and the greatest balance that the order allows, in minor units."""
    total = order.terms.total.minor if order.terms is not None else 0
    if order.state not in CONFIRMED:
        whole = payment.refund(WHOLE) if payment is not None else None
        not_paid = whole is not None and (whole.outside or whole.state is PaymentRefundState.REFUSED)
        return 0, total if order.state is OrderState.CANCELLED and not_paid else 0
    by_gateway = [one for one in order.fulfilment.refunds if not one.outside]
    paid = sum(one.amount.minor for one in by_gateway if one.state is RefundState.PAID)
    return total - sum(one.amount.minor for one in by_gateway), total - paid


def payment_balance(payment: Payment, found: Balance) -> Iterator[Violation]:
    """P4: the gateway's balance of a payment without a call under way is what the payment's state demands."""
    wanted = _left(payment, found)
    if wanted is not None and found.net != wanted:
        detail = (
            f"its payment is {_told(payment)}, the gateway's balance is {found.net} minor units instead of {wanted}"
        )
        yield Violation("P4", payment.order_id, detail, payment.order_id)


def _left(payment: Payment, found: Balance) -> int | None:
    """Return the balance that the payment demands, in minor units; None while a call may change it.

    A refund that was refused is still in the book, and so is one that was paid by other means than the gateway.
    """
    if any(refund.state is PaymentRefundState.DUE for refund in payment.refunds):
        return None
    match payment.state:
        case PaymentState.CAPTURED:
            total = payment.total.minor if payment.total is not None else 0
            return total - sum(one.amount.minor for one in payment.refunds if _moved(one))
        case PaymentState.DECLINED | PaymentState.VOIDED | PaymentState.REFUNDED | PaymentState.REFUNDING:
            whole = payment.refund(WHOLE)
            if whole is not None and not _moved(whole):
                return found.captured
            return None if payment.state is PaymentState.REFUNDING else 0
        case _:
            return None


def _moved(refund: PaymentRefund) -> bool:
    """Whether the gateway moved the money of a refund."""
    return refund.state is PaymentRefundState.PAID and not refund.outside


def _told(payment: Payment) -> str:
    states = Counter(f"{one.state.value} outside" if one.outside else one.state.value for one in payment.refunds)
    refunds = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return payment.state.value + (f" (refunds: {refunds})" if refunds else "")


def charges(order_id: OrderId, order: Order | None, found: Balance) -> Iterator[Violation]:
    """P4 of every order: never two captures, no refund paid twice, and all in its own currency."""
    if found.captures > 1:
        yield Violation("P4", order_id, f"was captured {found.captures} times")
    for refund_id, count in Counter(found.refund_ids).items():
        if count > 1:
            yield Violation("P4", order_id, f"the gateway paid its refund {refund_id} {count} times")
    if found.captures and found.net < 0:
        yield Violation("P4", order_id, f"{found.refunded} minor units of {found.captured} were refunded")
    agreed = order.agreed.total.currency.code if order is not None and order.terms is not None else ""
    if agreed and found.currency and found.currency != agreed:
        yield Violation("P4", order_id, f"is in {agreed}, the gateway's book in {found.currency}")


class MoneyCheck:
    """Checks P4 in one pass, and reads the orders and payments that don't agree with the book again at the end."""

    def __init__(self, record: RecordSnapshot) -> None:
        self._evidence, self._others = record.evidence, record.other_payments
        self._doubtful: dict[OrderId, tuple[object, Violation]] = {}
        self._payments: dict[OrderId, tuple[object, Violation]] = {}
        self._doubts = 0
        self._first_at: int | None = None
        """When the first line about this system was written, in microseconds since 1970."""

        self._unbooked: list[tuple[int, OrderId, object, Violation]] = []
        """The latest confirmed orders without a line in a book that may have begun after them."""

        self._count_unbooked = 0

    @property
    def covers(self) -> bool:
        """Whether the book holds payments of this system."""
        return self._evidence.whole_book or self._first_at is not None or self._count_unbooked == 0

    def take(self, one: OrderSnapshot, found: Found) -> None:
        """Check one order and its payment."""
        order = one.order if one.order is not None and one.order.terms is not None else None
        known = order is not None or one.payment is not None
        if one.balance is not None:
            if known or self._evidence.whole_book:
                self._charges(one, order, one.balance, found)
            else:
                self._others += 1
        wrong = list(balance(order, one.payment, one.balance)) if order is not None and order.state.resting else []
        if order is not None and wrong:
            self._doubt(order, one.balance, wrong[0])
        elif self._rests(order) and one.payment is not None and (one.balance or self._evidence.whole_book):
            self._doubt_payment(one.payment, one.balance or Balance())

    def _rests(self, order: Order | None) -> bool:
        return order is not None and (order.state.resting or waits_for_operator(order))

    def _charges(self, one: OrderSnapshot, order: Order | None, balance: Balance, found: Found) -> None:
        if self._first_at is None or balance.first_at < self._first_at:
            self._first_at = balance.first_at
        for wrong in charges(one.id, order, balance):
            found(wrong, False)  # noqa: FBT003
        if order is None and balance.captures and balance.net:
            detail = f"was captured for an order that isn't there; {balance.net} minor units are left"
            found(Violation("P4", one.id, detail), True)  # noqa: FBT003

    def _doubt(self, order: Order, balance: Balance | None, wrong: Violation) -> None:
        if balance is None and not self._evidence.whole_book:
            self._count_unbooked += 1
            at = microseconds(order.created_at) if order.created_at is not None else 0
            push = heapq.heappush if len(self._unbooked) < MOST_LISTED else heapq.heappushpop
            push(self._unbooked, (at, order.id, _stake(order), wrong))
            return
        self._doubts += 1
        if len(self._doubtful) < MOST_DOUBTFUL:
            self._doubtful[order.id] = (_stake(order), wrong)

    def _doubt_payment(self, payment: Payment, balance: Balance) -> None:
        for wrong in payment_balance(payment, balance):
            self._doubts += 1
            if len(self._payments) < MOST_DOUBTFUL:
                self._payments[payment.order_id] = (payment, wrong)

    def look_again(self, found: Found) -> None:
        """Report the doubtful orders and payments that haven't changed since they didn't agree with the book."""
        judged = [one for one in self._unbooked if self._first_at is not None and one[0] >= self._first_at]
        self._count_unbooked -= len(judged)
        for _, order_id, stake, wrong in judged:
            self._doubtful[order_id] = (stake, wrong)
        for order in self._evidence.order.all_orders() if self._doubtful else ():
            doubtful = self._doubtful.get(order.id)
            if doubtful is not None and doubtful[0] == _stake(order):
                found(doubtful[1], order.state is OrderState.LEGACY)
        for payment in self._evidence.payment.all_payments() if self._payments else ():
            doubted = self._payments.get(payment.order_id)
            if doubted is not None and doubted[0] == payment:
                found(doubted[1], False)  # noqa: FBT003

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
        known = len(self._doubtful) + len(self._payments)
        if self._doubts > known:
            yield f"{self._doubts} orders don't fit the gateway's book; {known} of them were looked at again"


def _stake(order: Order) -> tuple[OrderState, int]:
    """Return the part of an order on which its money depends."""
    return order.state, len(order.fulfilment.refunds)
