"""Maps the events about parts of an order to payloads and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from oms.adapters.wire import part_payloads as wire
from oms.adapters.wire.fields import (
    read_amount,
    read_metadata,
    read_released,
    write_amount,
    write_items,
    write_metadata,
)
from oms.adapters.wire.shape import Shape
from oms.domain import events
from oms.domain.commands import MAX_CARRIER, MAX_REASON
from oms.domain.errors import InvalidValue
from oms.domain.events import Event
from oms.domain.lines import OrderLine
from oms.domain.money import Currency
from oms.domain.values import OrderId, UserId, checked_id, checked_part_id, checked_text


def _shipped_to_wire(event: events.OrderShipped) -> wire.Shipped:
    capture = event.capture_amount
    return wire.Shipped(
        event.order_id,
        event.user_id,
        event.shipment_id,
        write_items(event.items),
        _write_lines(event.lines),
        event.carrier,
        event.tracking_number,
        write_amount(capture) if capture is not None else msgspec.UNSET,
        write_metadata(event.metadata),
    )


def _shipped_to_event(
    kind: type[events.OrderShipped], order: OrderId, payload: wire.Shipped, currency: Currency
) -> Event:
    capture = payload.capture_amount
    return kind(
        order,
        _user(payload.user_id),
        checked_part_id(payload.shipment_id, name="shipmentId"),
        read_released(payload.items),
        _read_lines(payload.lines),
        _text(payload.carrier, "carrier", MAX_CARRIER),
        _text(payload.tracking_number, "trackingNumber", MAX_CARRIER),
        read_amount(capture, currency, "captureAmount") if isinstance(capture, Raw) else None,
        read_metadata(payload.metadata),
    )


def _requested_to_wire(event: events.OrderRefundRequested) -> wire.RefundRequested:
    return wire.RefundRequested(
        event.order_id,
        event.user_id,
        event.refund_id,
        event.kind,
        write_items(event.items),
        event.restock,
        write_amount(event.amount),
        event.before_shipment,
        event.reason,
        _write_lines(event.lines),
        write_metadata(event.metadata),
    )


def _requested_to_event(
    kind: type[events.OrderRefundRequested], order: OrderId, payload: wire.RefundRequested, currency: Currency
) -> Event:
    return kind(
        order,
        _user(payload.user_id),
        checked_part_id(payload.refund_id, name="refundId"),
        payload.kind,
        read_released(payload.items),
        _read_lines(payload.lines),
        payload.restock,
        read_amount(payload.amount, currency, "amount"),
        payload.before_shipment,
        checked_text(payload.reason, "reason", MAX_REASON),
        read_metadata(payload.metadata),
    )


def _completed_to_wire(event: events.OrderCompleted) -> wire.Completed:
    return wire.Completed(
        event.order_id,
        event.user_id,
        write_amount(event.total),
        write_amount(event.refunded),
        write_items(event.items),
        write_metadata(event.metadata),
    )


def _completed_to_event(
    kind: type[events.OrderCompleted], order: OrderId, payload: wire.Completed, currency: Currency
) -> Event:
    return kind(
        order,
        _user(payload.user_id),
        read_amount(payload.total_amount, currency, "totalAmount"),
        read_amount(payload.refunded_amount, currency, "refundedAmount"),
        read_released(payload.items),
        read_metadata(payload.metadata),
    )


def _instructed_to_wire(event: events.OrderPaymentInstructed) -> wire.Instructed:
    return wire.Instructed(event.order_id, event.user_id, event.of, event.what, event.attempt, event.by, event.why)


def _instructed_to_event(
    kind: type[events.OrderPaymentInstructed], order: OrderId, payload: wire.Instructed, _: Currency
) -> Event:
    return kind(
        order,
        _user(payload.user_id),
        checked_part_id(payload.of, name="of"),
        payload.what,
        payload.attempt,
        checked_text(payload.by, "by", MAX_CARRIER),
        checked_text(payload.why, "why", MAX_REASON),
    )


def _result_to_wire(event: events.PaymentRefundPaid | events.PaymentRefundFailed) -> wire.RefundResult:
    return wire.RefundResult(
        event.order_id,
        event.user_id,
        event.refund_id,
        write_amount(event.amount),
        write_items(event.items),
        event.attempt,
        event.outside,
        event.reason,
        write_metadata(event.metadata),
    )


def _result_to_event(
    kind: type[events.PaymentRefundPaid], order: OrderId, payload: wire.RefundResult, currency: Currency
) -> Event:
    return kind(
        order,
        _user(payload.user_id),
        checked_part_id(payload.refund_id, name="refundId"),
        read_amount(payload.amount, currency, "amount"),
        read_released(payload.items),
        payload.attempt,
        payload.outside,
        _text(payload.reason, "reason", MAX_REASON),
        read_metadata(payload.metadata),
    )


def _user(text: str) -> UserId:
    return UserId(checked_id(text, name="userId"))


def _text(text: str | None, name: str, longest: int) -> str | None:
    return None if text is None else checked_text(text, name, longest)


def _write_lines(lines: Iterable[OrderLine]) -> list[wire.PartLine] | None:
    return [wire.PartLine(line.sku, line.quantity, line.name) for line in lines] or None


def _read_lines(lines: list[wire.PartLine] | None) -> tuple[OrderLine, ...]:
    try:
        return tuple(OrderLine.of(line.product_id, line.quantity, None, line.name) for line in lines or ())
    except InvalidValue as refused:
        raise InvalidValue(refused.code, f"lines: {refused.detail}") from None


_REFUND_RESULT = Shape(wire.RefundResult, _result_to_wire, _result_to_event)

PART_SHAPES: Mapping[type[Event], Shape] = {
    events.OrderShipped: Shape(wire.Shipped, _shipped_to_wire, _shipped_to_event),
    events.OrderRefundRequested: Shape(wire.RefundRequested, _requested_to_wire, _requested_to_event),
    events.OrderCompleted: Shape(wire.Completed, _completed_to_wire, _completed_to_event),
    events.OrderPaymentInstructed: Shape(wire.Instructed, _instructed_to_wire, _instructed_to_event),
    events.PaymentRefundPaid: _REFUND_RESULT,
    events.PaymentRefundFailed: _REFUND_RESULT,
}
