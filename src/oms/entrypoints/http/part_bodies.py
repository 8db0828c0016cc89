"""Reads the bodies of shipments, refunds and decisions about refused refunds: exact numbers, each name once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.money import Currency, Money
from oms.domain.refund import Instruction
from oms.entrypoints.http.body import amount_in, items_in, read_typed
from oms.entrypoints.http.part_shapes import ABSENT, InstructPaymentBody, RefundOrderBody, ShipOrderBody

_ship = msgspec.json.Decoder(ShipOrderBody)
_refund = msgspec.json.Decoder(RefundOrderBody)
_instruct = msgspec.json.Decoder(InstructPaymentBody)


def read_shipment(order_id: str, body: bytes) -> ShipOrder:
    """Return the command of a body, which may be empty; raises `InvalidValue` or `HttpProblem` for a wrong field."""
    parsed = read_typed(_ship, body) if body else ShipOrderBody()
    return ShipOrder.of(order_id, _items(parsed.items), parsed.carrier, parsed.tracking_number)


def read_refund(order_id: str, body: bytes, currency: Currency) -> RefundOrder:
    """Return the command of a body; raises `InvalidValue` or `HttpProblem` for a wrong field."""
    parsed = read_typed(_refund, body)
    items, amount = _items(parsed.items), _amount(parsed.amount, currency)
    return RefundOrder.of(order_id, parsed.kind, parsed.reason, items=items, amount=amount, restock=parsed.restock)


def read_instruction(what: Instruction, order_id: str, body: bytes) -> InstructPayment:
    """Return the command of a body; raises `InvalidValue` or `HttpProblem` for a wrong field."""
    parsed = read_typed(_instruct, body)
    return InstructPayment.to(what, order_id, parsed.of, parsed.why)


def _items(raw: msgspec.Raw) -> Mapping[str, int] | None:
    return None if bytes(raw) == ABSENT else items_in(bytes(raw))


def _amount(raw: msgspec.Raw, currency: Currency) -> Decimal | None:
    """Return the amount in major units; raises `InvalidValue` if the currency has fewer decimal places."""
    return None if bytes(raw) == ABSENT else Money.of(amount_in(bytes(raw), "amount"), currency).amount
