"""The rows of a snapshot of a system's records: what the checks get about an order, the gate, and the messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import attrs

from oms.domain.order import Order
from oms.domain.payment import Payment, refund_of_key
from oms.domain.reservation import Reservation
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Movement, Stock
from oms.domain.values import OrderId, Sku
from oms.operations.log_snapshot import LoggedMessage
from oms.ports.broker import TopicPartition
from oms.ports.evidence import BookKind, ServiceEvidence
from oms.ports.stores.rows import DeadLetterState

Passed = Mapping[str, Mapping[TopicPartition, int]]
"""By group: the next offset of each partition. Groups whose position the log doesn't know are left out."""


@attrs.frozen
class Member:
    """A service, or a user's own step, as a consumer of the log."""

    name: str
    group: str
    topics: Collection[str]
    record: ServiceEvidence


@attrs.frozen
class Letter:
    """A dead letter without its content. `copy_of`: the id of the original, if it is a refused copy."""

    service: str
    id: str
    message_id: str
    parked_at: datetime
    state: DeadLetterState
    copy_of: bytes | None


@attrs.frozen
class Unsent:
    """A message that waits in the outbox of `service`, and since when."""

    service: str
    order_id: str
    topic: str
    since: datetime


@attrs.frozen
class Balance:
    """The sum of an order's lines in the gateway's book; amounts in minor units."""

    captures: int = 0
    net: int = 0
    currency: str = ""
    first_at: int = 0
    """When the first line was written, in microseconds since 1970."""

    refunded: int = 0
    refund_ids: tuple[str, ...] = ()
    """The refunds of the lines that name the key of a refund, one for each line."""

    @classmethod
    def of(cls, lines: Iterable[tuple[int, str, int, str, str]]) -> Balance:
        """Sum lines of (at, kind, amount, currency, key of the refund)."""
        captures = captured = refunded = first_at = 0
        currency = ""
        refund_ids: tuple[str, ...] = ()
        for at, kind, amount, code, refund_key in lines:
            first_at = min(first_at, at) if first_at else at
            currency = code or currency
            if kind == BookKind.CAPTURE.value:
                captures, captured = captures + 1, captured + amount
            elif kind == BookKind.REFUND.value:
                refunded += amount
                refund_ids += tuple(filter(None, (refund_of_key(refund_key),)))
        return cls(captures, captured - refunded, currency, first_at, refunded, refund_ids)

    @property
    def captured(self) -> int:
        """The sum of all captures."""
        return self.net + self.refunded


@attrs.frozen
class Missed:
    """A message that a group has neither handled nor parked. `passed`: the group has read later messages."""

    group: str
    topic: str
    partition: int
    offset: int
    passed: bool


@attrs.define
class OrderSnapshot:
    """All records that refer to one id: an order, an ABSENT order, or an id that no service knows as an order.

    The ledger's rows of a refund have an id of their own (`restock_reference`).
    """

    id: OrderId
    order: Order | None = None
    history: list[HistoryEntry] = attrs.field(factory=list)
    responses: list[str] = attrs.field(factory=list)
    """The idempotency keys whose stored response is this order."""

    reservation: Reservation | None = None
    movements: list[Movement] = attrs.field(factory=list)
    """The ledger's rows that refer to this id: of an order, of a refund, or of a change of stock by an operator."""

    payment: Payment | None = None
    messages: list[LoggedMessage] = attrs.field(factory=list)
    """Its messages in the log, by topic, partition and offset."""

    owed: list[tuple[str, str]] = attrs.field(factory=list)
    """Topic and part of its messages that aren't sent yet."""

    balance: Balance | None = None
    gate_holds: bool = False
    missed: list[Missed] = attrs.field(factory=list)


@attrs.frozen
class GateStock:
    """The units that the gate would sell, and the ledger's stock just before; `closed`: it waits for a rebuild."""

    closed: bool
    available: Mapping[Sku, int]
    before: Mapping[Sku, Stock]
