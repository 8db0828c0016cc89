"""What rows the memory stores refuse: the ones that PostgreSQL's columns couldn't hold.

Text of a column is limited in characters and can't hold U+0000; neither text nor JSON can hold half a surrogate pair;
numbers are bounded by 32 or 64 bits. Lengths are those of `oms.ports.limits`, as in the SQL schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, Stock
from oms.domain.tasks import TaskKey
from oms.domain.text import is_storable
from oms.domain.values import Metadata
from oms.ports import limits
from oms.ports.broker import TopicPartition
from oms.ports.errors import Permanent
from oms.ports.extensions import Notification
from oms.ports.stores.rows import DeadLetter

if TYPE_CHECKING:
    from oms.adapters.memory.service_tables import AnswerRow, StoredOutboxRow, TaskRow

_INT_32, _INT_64 = 2**31, 2**63


def text(value: object, limit: int) -> None:
    """Refuse what a text column of so many characters couldn't hold; None is NULL."""
    if value is None:
        return
    if not isinstance(value, str) or len(value) > limit or not is_storable(value):
        raise Permanent(f"the store can't take this: expected text of at most {limit} characters without U+0000")


def free_text(value: object) -> None:
    """Refuse what a text column without a limit couldn't hold."""
    if not isinstance(value, str) or not is_storable(value):
        raise Permanent("the store can't take this: expected text without U+0000 and half surrogate pairs")


def whole(value: int | None, bound: int = _INT_64) -> None:
    """Refuse a number beyond the bits of its column."""
    if value is not None and not -bound <= value < bound:
        raise Permanent("the store can't take this: a whole number has too many bits")


def in_json(values: Iterable[str]) -> None:
    """Refuse text that can't be encoded in JSON, which escapes U+0000."""
    for value in values:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Permanent("the store can't take this: half a surrogate pair") from None


def money(total: Money | None) -> None:
    """Refuse an amount that its two columns couldn't hold."""
    if total is not None:
        whole(total.minor)
        text(total.currency.code, limits.CURRENCY)


def inbox_row(key: tuple[str, str], _at: datetime) -> None:
    """Refuse a handled message's row."""
    text(key[0], limits.ID)
    text(key[1], limits.ID)


def outbox_row(key: str, row: StoredOutboxRow) -> None:
    """Refuse an outbox row."""
    text(key, limits.TOKEN)
    text(row.message.topic, limits.TOPIC)
    in_json(name for name, _ in row.message.headers)


def task_row(key: TaskKey, row: TaskRow) -> None:
    """Refuse a task."""
    text(key.key, limits.TASK_KEY)
    free_text(row.payload)
    text(row.lease, limits.TOKEN)
    whole(row.attempts, _INT_32)
    free_text(row.note)
    text(row.trace, limits.TRACE)


def letter_row(key: str, letter: DeadLetter) -> None:
    """Refuse a dead letter; its texts are storable as it is made."""
    text(key, limits.TOKEN)
    whole(letter.partition, _INT_32)
    whole(letter.offset)
    whole(letter.attempts, _INT_32)


def attempt_row(key: tuple[str, TopicPartition], row: tuple[int, int]) -> None:
    """Refuse a counter of attempts."""
    group, place = key
    text(group, limits.ID)
    text(place.topic, limits.TOPIC)
    whole(place.partition, _INT_32)
    whole(row[0])


def answer_row(key: tuple[str, str], row: AnswerRow) -> None:
    """Refuse a kept answer."""
    text(key[0], limits.SCOPE)
    text(key[1], limits.KEY)
    text(row.answer.fingerprint, limits.FINGERPRINT)
    free_text(row.answer.body)


def order_row(key: str, order: Order) -> None:
    """Refuse an order."""
    text(key, limits.ID)
    whole(order.version, _INT_32)
    terms = order.terms
    if terms is not None:
        text(terms.user_id, limits.ID)
        money(terms.total)
        in_json(terms.items)
        metadata(terms.metadata)


def history_row(key: tuple[str, int], entry: HistoryEntry) -> None:
    """Refuse a line of an order's history."""
    text(key[0], limits.ID)
    whole(key[1], _INT_32)
    free_text(entry.detail)


def stock_row(key: str, stock: Stock) -> None:
    """Refuse a product."""
    text(key, limits.ID)
    whole(stock.on_hand)
    whole(stock.held)


def ledger_row(key: tuple[str, str, str], movement: Movement) -> None:
    """Refuse a movement of stock."""
    text(key[0], limits.ID)
    text(key[1], limits.ID)
    whole(movement.on_hand)
    whole(movement.held)


def reservation_row(key: str, reservation: Reservation) -> None:
    """Refuse a reservation."""
    text(key, limits.ID)
    in_json(reservation.items)


def payment_row(key: str, payment: Payment) -> None:
    """Refuse a payment."""
    text(key, limits.ID)
    text(payment.user_id, limits.ID)
    money(payment.total)
    metadata(payment.metadata)
    text(payment.payment_id, limits.ID)


def notification_row(key: str, one: Notification) -> None:
    """Refuse a notification."""
    text(key, limits.TASK_KEY)
    text(one.order_id, limits.ID)
    text(one.kind, limits.TOPIC)
    text(one.user_id, limits.ID)
    money(one.amount)
    metadata(one.metadata)


def document_row(key: tuple[str, str], body: str) -> None:
    """Refuse a step's document."""
    text(key[0], limits.ID)
    text(key[1], limits.DOCUMENT_KEY)
    free_text(body)


def metadata(pairs: Metadata) -> None:
    """Refuse metadata that its column's JSON couldn't hold."""
    in_json(pairs)
    in_json(pairs.values())
