"""The column `fulfilment`: an order's shipments, refunds and refusals as JSON.

Amounts are in minor units of the order's currency. Fields with their default value are left out, and unknown fields are
ignored.
"""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType

import msgspec

from oms.adapters.sql.stores.rows import dump_json, money
from oms.domain.fulfilment import Fulfilment
from oms.domain.refund import Instruction, OrderRefund, RefundKind, RefundState, Refusal
from oms.domain.shipment import Shipment
from oms.domain.values import Sku


class _Shipment(msgspec.Struct, omit_defaults=True, frozen=True):
    id: str
    items: dict[Sku, int]
    at: datetime
    carrier: str | None = None
    tracking_number: str | None = None


class _Refund(msgspec.Struct, omit_defaults=True, frozen=True):
    id: str
    kind: RefundKind
    minor: int
    reason: str
    at: datetime
    items: dict[Sku, int] = {}
    restock: bool = False
    before_shipment: bool = False
    after_completion: bool = False
    state: RefundState = RefundState.DUE
    outside: bool = False


class _Refusal(msgspec.Struct, omit_defaults=True, frozen=True):
    of: str
    attempt: int
    reason: str = ""
    instruction: Instruction | None = None
    by: str = ""
    why: str = ""


class _Fulfilment(msgspec.Struct, omit_defaults=True, frozen=True):
    shipments: list[_Shipment] = []
    refunds: list[_Refund] = []
    refusals: list[_Refusal] = []


_read = msgspec.json.Decoder(_Fulfilment).decode


def dump_fulfilment(fulfilment: Fulfilment) -> str:
    """Return the parts of an order as JSON; `Permanent` for text that JSON can't hold."""
    return dump_json(
        _Fulfilment(
            [
                _Shipment(one.id, dict(one.items), one.at, one.carrier, one.tracking_number)
                for one in fulfilment.shipments
            ],
            [_refund_row(one) for one in fulfilment.refunds],
            [
                _Refusal(one.of, one.attempt, one.reason, one.instruction, one.by, one.why)
                for one in fulfilment.refusals
            ],
        )
    )


def _refund_row(refund: OrderRefund) -> _Refund:
    return _Refund(
        id=refund.id,
        kind=refund.kind,
        minor=refund.amount.minor,
        reason=refund.reason,
        at=refund.at,
        items=dict(refund.items),
        restock=refund.restock,
        before_shipment=refund.before_shipment,
        after_completion=refund.after_completion,
        state=refund.state,
        outside=refund.outside,
    )


def load_fulfilment(text: str, currency: str) -> Fulfilment:
    """Return the parts that were stored as JSON; `currency` is the code of the order's currency."""
    stored = _read(text)
    return Fulfilment(
        tuple(
            Shipment(one.id, MappingProxyType(one.items), one.at, one.carrier, one.tracking_number)
            for one in stored.shipments
        ),
        tuple(_refund_of(one, currency) for one in stored.refunds),
        tuple(Refusal(one.of, one.attempt, one.reason, one.instruction, one.by, one.why) for one in stored.refusals),
    )


def _refund_of(row: _Refund, currency: str) -> OrderRefund:
    return OrderRefund(
        id=row.id,
        kind=row.kind,
        items=MappingProxyType(row.items),
        amount=money(row.minor, currency),
        restock=row.restock,
        reason=row.reason,
        before_shipment=row.before_shipment,
        at=row.at,
        state=row.state,
        outside=row.outside,
        after_completion=row.after_completion,
    )
