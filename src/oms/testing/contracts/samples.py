"""The orders, messages and rows that the contract suites write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck

from oms.domain.events import OrderRefundRequested
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Currency, Money
from oms.domain.order import Order
from oms.domain.refund import RefundKind
from oms.domain.state_machine import HistoryEntry, Transition
from oms.domain.stated_terms import StatedTerms
from oms.domain.tasks import TaskKind, TaskRequest
from oms.domain.terms import Terms
from oms.domain.values import NO_ITEMS, Items, Metadata, OrderId, UserId
from oms.ports.messages import Headers, Outgoing
from oms.ports.stores.rows import DeadLetter, DeadLetterState, Delivery, OutboxRow
from oms.ports.stores.store import Store

SUITE_CHECKS = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)
"""Hypothesis checks to switch off: a fixture makes an adapter for each example; each subclass is another executor."""

EUR = Currency.of("EUR")
AT = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = timedelta(minutes=15)
ODD_HEADERS: Headers = (("a", b"1"), ("a", b"\x00\xff"), ("empty", b""))
"""A repeated name, bytes that aren't text, and an empty value."""


def order_id(number: int) -> OrderId:
    """Return the id of the n-th sample order."""
    return OrderId(f"order-{number:03d}")


def terms(user: str = "user-1", amount: str = "12.50") -> Terms:
    """Return the terms of an order, with metadata."""
    return Terms.checked(user, Money.of(amount, EUR), {"sku-b": 2, "sku-a": 1}, {"channel": "ärger ✓"})


def detailed_terms(user: str = "user-1") -> Terms:
    """Return the terms of an order with lines and charges."""
    lines = [
        OrderLine.of("sku-b", 2, Money.of("9.99", EUR), "Tasse, 2 Stück ✓ \t\x7f"),
        OrderLine.of("sku-a", 1, Money.of(0, EUR)),
    ]
    charges = [OrderCharge.of("shipping", Money.of("4.90", EUR)), OrderCharge.of("shipping", Money.of(0, EUR))]
    return Terms.checked(user, Money.of("14.89", EUR), metadata={"channel": "web"}, lines=lines, charges=charges)


def stated(user: str = "user-1", amount: str = "12.50") -> StatedTerms:
    """Return the customer and the amount that a payment event states."""
    return StatedTerms(UserId(user), Money.of(amount, EUR))


def placed(number: int, user: str = "user-1", at: datetime = AT) -> Transition[Order]:
    """Return the transition that creates an order."""
    return Order(id=order_id(number)).place(terms(user), at=at, deadline_at=at + LATER)


def history(step: Transition[Order]) -> list[tuple[OrderId, HistoryEntry]]:
    """Return a transition's history as the argument that a store takes."""
    return [(step.aggregate.id, entry) for entry in step.history]


def save_order(store: Store, before: Order, step: Transition[Order]) -> None:
    """Commit a transition of an order."""
    with store.begin() as transaction:
        transaction.save_orders([(before, step.aggregate)], history(step))  # type: ignore[attr-defined]
        transaction.commit()


def refund_requested(
    name: str, amount: str = "0", items: Items = NO_ITEMS, metadata: Metadata | None = None
) -> OrderRefundRequested:
    """Return the request of a refund of the first order, with restock; `metadata` is that of the order if None."""
    agreed = terms()
    return OrderRefundRequested(
        order_id(1),
        agreed.user_id,
        name,
        RefundKind.RETURN,
        items,
        lines=(),
        restock=True,
        amount=Money.of(amount, EUR),
        before_shipment=False,
        reason="broken",
        metadata=agreed.metadata if metadata is None else metadata,
    )


def outgoing(key: bytes | None = b"order-001", value: bytes = b'{"orderId":"order-001"}') -> Outgoing:
    """Return a message to publish."""
    return Outgoing("order.created", key, value, ODD_HEADERS)


def row(id: str, until: datetime | None = None) -> OutboxRow:  # noqa: A002 - the field's name
    """Return an outbox row, leased until `until`."""
    return OutboxRow(id, outgoing(value=id.encode()), until)


def request(
    key: str, due_at: datetime | None = None, kind: TaskKind = TaskKind.CHARGE, payload: str = ""
) -> TaskRequest:
    """Return the request of a task."""
    return TaskRequest(kind, key, due_at, payload)


def letter(id: str, at: datetime = AT, state: DeadLetterState = DeadLetterState.PARKED) -> DeadLetter:  # noqa: A002
    """Return a dead letter with every field filled."""
    return DeadLetter(
        id=id,
        group="order-group",
        message_id=f"message-of-{id}",
        topic="payment.success",
        partition=3,
        offset=2**40,
        key=b"\xff\x00",
        value=b"not json \xfe",
        headers=ODD_HEADERS,
        cause="Undecodable",
        detail="it isn't ✓",
        attempts=5,
        parked_at=at,
        state=state,
        order_id="order-001",
    )


def flush(store: Store, delivery: Delivery) -> None:
    """Commit a delivery in a transaction of its own."""
    with store.begin() as transaction:
        transaction.flush(delivery)
        transaction.commit()


def start(store: Store, *requests: TaskRequest) -> None:
    """Commit new tasks."""
    flush(store, Delivery(tasks=requests))


def owe(store: Store, rows: Sequence[OutboxRow]) -> None:
    """Commit new outbox rows."""
    flush(store, Delivery(outbox=rows))
