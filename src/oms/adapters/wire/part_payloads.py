"""The JSON payloads of the topics about parts of an order: shipments, refunds, completion, instructions."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from oms.adapters.wire.payloads import Payload
from oms.domain.refund import Instruction, RefundKind

MAX_ATTEMPT = 10**6


class PartLine(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True, gc=False):
    """One line that a part concerns: the product's units in this part, and the line's name."""

    product_id: str
    quantity: int
    name: str | None = None


class Shipped(Payload, frozen=True, gc=False):
    """`order.shipped`."""

    user_id: str
    shipment_id: str
    items: Raw
    lines: list[PartLine] | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    capture_amount: Raw | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str] | None = None


class RefundRequested(Payload, frozen=True, gc=False):
    """`order.refund_requested`; no items for goodwill."""

    user_id: str
    refund_id: str
    kind: RefundKind
    items: Raw
    restock: bool
    amount: Raw
    before_shipment: bool
    reason: str
    lines: list[PartLine] | None = None
    metadata: dict[str, str] | None = None


class Completed(Payload, frozen=True, gc=False):
    """`order.completed`; `items` are the shipped units, none if all were cancelled."""

    user_id: str
    total_amount: Raw
    refunded_amount: Raw
    items: Raw
    metadata: dict[str, str] | None = None


class Instructed(Payload, frozen=True, gc=False):
    """`order.payment_instructed`."""

    user_id: str
    of: str
    what: Instruction
    attempt: int
    by: str
    why: str

    def __post_init__(self) -> None:
        """Check the attempt's number."""
        check_attempt(self.attempt)


class RefundResult(Payload, frozen=True, gc=False):
    """`payment.refund_paid`, `payment.refund_failed`."""

    user_id: str
    refund_id: str
    amount: Raw
    items: Raw
    attempt: int
    outside: bool = False
    reason: str | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Check the attempt's number."""
        check_attempt(self.attempt)


def check_attempt(attempt: int) -> None:
    """Raise `ValueError` for a number that isn't from 1 to a million; msgspec reports it as a decoding error."""
    if not 1 <= attempt <= MAX_ATTEMPT:
        raise ValueError(f"`attempt` must be from 1 to {MAX_ATTEMPT}")
