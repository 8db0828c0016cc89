"""Refuses rows that PostgreSQL's columns couldn't hold, so that the memory stores accept no more than production does.

A text column limits the number of characters and can't hold U+0000. Neither text nor JSON can hold an unpaired
surrogate. Integers have 32 or 64 bits. The lengths are those of `oms.ports.limits`, as in the SQL schema. Each function
raises `Permanent`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from oms.domain.fulfilment import NOTHING_YET, Fulfilment
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, Stock
from oms.domain.tasks import TaskKey
from oms.domain.terms import Terms
from oms.domain.text import is_storable
from oms.domain.values import Metadata
from oms.ports import limits
from oms.ports.broker import TopicPartition
from oms.ports.errors import Permanent
from oms.ports.extensions import Notification
from oms.ports.stores.notification import kind_and_part
from oms.ports.stores.rows import DeadLetter

if TYPE_CHECKING:
    from oms.adapters.memory.service_tables import ResponseRow, StoredOutboxRow, TaskRow

_INT_32, _INT_64 = 2**31, 2**63


def check_text(value: object, limit: int) -> None:
    """Refuse a value that a text column of `limit` characters couldn't hold; None is NULL."""
    if value is None:
        return
    if not isinstance(value, str) or len(value) > limit or not is_storable(value):
        raise Permanent(f"the store can't take this: expected text of at most {limit} characters without U+0000")


def check_unlimited_text(value: object) -> None:
    """Refuse a value that a text column without a limit couldn't hold."""
    if not isinstance(value, str) or not is_storable(value):
        raise Permanent("the store can't take this: expected text without U+0000 and half surrogate pairs")


def check_integer(value: int | None, bound: int = _INT_64) -> None:
    """Refuse a number that is out of its column's range."""
    if value is not None and not -bound <= value < bound:
        raise Permanent("the store can't take this: a whole number has too many bits")


def check_json_text(values: Iterable[str]) -> None:
    """Refuse text that can't be encoded in JSON, which escapes U+0000."""
    for value in values:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Permanent("the store can't take this: half a surrogate pair") from None


def check_money(total: Money | None) -> None:
    """Refuse an amount that its two columns couldn't hold."""
    if total is not None:
        check_integer(total.minor)
        check_text(total.currency.code, limits.CURRENCY)


def check_inbox(key: tuple[str, str], _at: datetime) -> None:
    """Check the row of a handled message."""
    check_text(key[0], limits.ID)
    check_text(key[1], limits.ID)


def check_outbox(key: str, row: StoredOutboxRow) -> None:
    """Check an outbox row."""
    check_text(key, limits.TOKEN)
    check_text(row.message.topic, limits.TOPIC)
    check_json_text(name for name, _ in row.message.headers)


def check_task(key: TaskKey, row: TaskRow) -> None:
    """Check a task."""
    check_text(key.key, limits.TASK_KEY)
    check_unlimited_text(row.payload)
    check_text(row.lease, limits.TOKEN)
    check_integer(row.attempts, _INT_32)
    check_unlimited_text(row.note)
    check_text(row.trace, limits.TRACE)


def check_dead_letter(key: str, letter: DeadLetter) -> None:
    """Check a dead letter. Its texts are made storable when it is built."""
    check_text(key, limits.TOKEN)
    check_integer(letter.partition, _INT_32)
    check_integer(letter.offset)
    check_integer(letter.attempts, _INT_32)


def check_attempt(key: tuple[str, TopicPartition], row: tuple[int, int]) -> None:
    """Check a counter of attempts."""
    group, place = key
    check_text(group, limits.ID)
    check_text(place.topic, limits.TOPIC)
    check_integer(place.partition, _INT_32)
    check_integer(row[0])


def check_response(key: tuple[str, str], row: ResponseRow) -> None:
    """Check the stored response of an idempotency key."""
    check_text(key[0], limits.SCOPE)
    check_text(key[1], limits.KEY)
    check_text(row.response.fingerprint, limits.FINGERPRINT)
    check_unlimited_text(row.response.body)


def check_order(key: str, order: Order) -> None:
    """Check an order."""
    check_text(key, limits.ID)
    check_integer(order.version, _INT_32)
    terms = order.terms
    if terms is not None:
        check_text(terms.user_id, limits.ID)
        check_money(terms.total)
        check_json_text(terms.items)
        check_metadata(terms.metadata)
        if terms.lines:
            check_lines(terms)
    if order.fulfilment is not NOTHING_YET:
        check_fulfilment(order.fulfilment)


def check_history(key: tuple[str, int], entry: HistoryEntry) -> None:
    """Check an entry of an order's history."""
    check_text(key[0], limits.ID)
    check_integer(key[1], _INT_32)
    check_unlimited_text(entry.detail)


def check_stock(key: str, stock: Stock) -> None:
    """Check a product's stock."""
    check_text(key, limits.ID)
    check_integer(stock.on_hand)
    check_integer(stock.held)


def check_ledger(key: tuple[str, str, str], movement: Movement) -> None:
    """Check a row of the stock ledger."""
    check_text(key[0], limits.REFERENCE)
    check_text(key[1], limits.ID)
    check_integer(movement.on_hand)
    check_integer(movement.held)


def check_reservation(key: str, reservation: Reservation) -> None:
    """Check a reservation."""
    check_text(key, limits.ID)
    check_json_text(reservation.items)
    for restock in reservation.restocks:
        check_json_text((restock.refund_id, *restock.items))


def check_payment(key: str, payment: Payment) -> None:
    """Check a payment."""
    check_text(key, limits.ID)
    check_text(payment.user_id, limits.ID)
    check_money(payment.total)
    check_metadata(payment.metadata)
    check_text(payment.payment_id, limits.ID)
    for refund in payment.refunds:
        check_json_text((refund.id, refund.refused, *refund.items))
        check_metadata(refund.metadata)


def check_notification(key: str, one: Notification) -> None:
    """Check a notification."""
    check_text(key, limits.TASK_KEY)
    check_text(one.order_id, limits.ID)
    check_text(kind_and_part(one), limits.TOPIC)
    check_text(one.user_id, limits.ID)
    check_money(one.amount)
    check_metadata(one.metadata)
    check_json_text(one.items)
    check_json_text(_given(one.carrier, one.tracking_number, *(line.name for line in one.lines)))


def check_document(key: tuple[str, str], body: str) -> None:
    """Check a document of a user's own step."""
    check_text(key[0], limits.ID)
    check_text(key[1], limits.DOCUMENT_KEY)
    check_unlimited_text(body)


def check_lines(terms: Terms) -> None:
    """Refuse lines and charges that their column's JSON couldn't hold."""
    check_json_text(_given(*(line.name for line in terms.lines)))
    check_json_text(charge.kind for charge in terms.charges)


def check_fulfilment(fulfilment: Fulfilment) -> None:
    """Refuse shipments, refunds and refusals that their column's JSON couldn't hold."""
    for shipment in fulfilment.shipments:
        check_json_text((shipment.id, *shipment.items, *_given(shipment.carrier, shipment.tracking_number)))
    for refund in fulfilment.refunds:
        check_json_text((refund.id, refund.reason, *refund.items))
    for refusal in fulfilment.refusals:
        check_json_text((refusal.of, refusal.reason, refusal.by, refusal.why))


def _given(*texts: str | None) -> Iterable[str]:
    return (text for text in texts if text is not None)


def check_metadata(pairs: Metadata) -> None:
    """Refuse metadata that its column's JSON couldn't hold."""
    check_json_text(pairs)
    check_json_text(pairs.values())
