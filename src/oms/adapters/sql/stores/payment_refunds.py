"""The column `refunds`: a payment's refunds as JSON, with amounts in minor units of the payment's currency.

Fields with their default value are left out, and unknown fields are ignored.
"""

from __future__ import annotations

from types import MappingProxyType

import msgspec

from oms.adapters.sql.stores.rows import dump_json, money
from oms.domain.payment import Payment
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.values import Metadata, Sku


class _Refund(msgspec.Struct, omit_defaults=True, frozen=True):
    """One refund; `metadata` is left out if it is the payment's, which most refunds have."""

    id: str
    minor: int
    state: PaymentRefundState
    items: dict[Sku, int] = {}
    metadata: dict[str, str] | None = None
    attempt: int = 1
    outside: bool = False
    refused: str = ""


_read = msgspec.json.Decoder(list[_Refund]).decode


def dump_refunds(payment: Payment) -> str:
    """Return a payment's refunds as JSON; `Permanent` for text that JSON can't hold."""
    return dump_json([_row_of(refund, payment.metadata) for refund in payment.refunds])


def _row_of(refund: PaymentRefund, usual: Metadata) -> _Refund:
    return _Refund(
        id=refund.id,
        minor=refund.amount.minor,
        state=refund.state,
        items=dict(refund.items),
        metadata=None if refund.metadata == usual else dict(refund.metadata),
        attempt=refund.attempt,
        outside=refund.outside,
        refused=refund.refused,
    )


def load_refunds(text: str, currency: str, usual: Metadata) -> tuple[PaymentRefund, ...]:
    """Return the refunds that were stored as JSON, given the code of the payment's currency and its metadata."""
    return tuple(
        PaymentRefund(
            id=row.id,
            amount=money(row.minor, currency),
            items=MappingProxyType(row.items),
            metadata=usual if row.metadata is None else MappingProxyType(row.metadata),
            state=row.state,
            attempt=row.attempt,
            outside=row.outside,
            refused=row.refused,
        )
        for row in _read(text)
    )
