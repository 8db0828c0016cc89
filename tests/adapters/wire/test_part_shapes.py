"""Messages about shipments and refunds: they come back as they were sent, and bad ones are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from oms.adapters.wire import part_payloads
from oms.adapters.wire.codec import JsonCodec
from oms.adapters.wire.part_shapes import PART_SHAPES
from oms.adapters.wire.shape import Shape
from oms.domain.events import (
    Event,
    OrderCompleted,
    OrderPaymentInstructed,
    OrderRefundRequested,
    OrderShipped,
    PaymentRefundFailed,
    PaymentRefundPaid,
)
from oms.domain.lines import OrderLine
from oms.domain.money import Currency, Money
from oms.domain.refund import Instruction, RefundKind
from oms.domain.values import OrderId, Sku, UserId
from oms.ports.messages import Cause, Record, Undecodable

AT = datetime(2026, 1, 1, tzinfo=UTC)
EUR = Currency.of("EUR")
CODEC = JsonCodec(EUR)
ORDER, USER, LAMP = OrderId("o-1"), UserId("u"), Sku("lamp")
LINES = (OrderLine(LAMP, 1, None, "Lampe ✓"), OrderLine(Sku("bulb"), 3))
ITEMS = {LAMP: 1, Sku("bulb"): 3}
AMOUNT = Money.of("6.66", EUR)
EVENTS: tuple[Event, ...] = (
    OrderShipped(ORDER, USER, "s-1", ITEMS, LINES, "DHL", "00340", AMOUNT, {"gift": "yes"}),
    OrderShipped(ORDER, USER, "s-2", {LAMP: 1}, capture_amount=Money(0, EUR)),
    OrderRefundRequested(
        ORDER, USER, "r-1", RefundKind.RETURN, ITEMS, LINES, True, AMOUNT, False, "scratched", {"gift": "yes"}
    ),
    OrderRefundRequested(ORDER, USER, "r-2", RefundKind.GOODWILL, {}, (), False, Money(0, EUR), True, "late"),
    OrderCompleted(ORDER, USER, Money.of(20, EUR), AMOUNT, ITEMS, {"gift": "yes"}),
    OrderCompleted(ORDER, USER, Money.of(20, EUR), Money.of(20, EUR), {}),
    OrderPaymentInstructed(ORDER, USER, "whole", Instruction.RETRY, 1, "ops", "card was renewed"),
    PaymentRefundPaid(ORDER, USER, "r-1", AMOUNT, ITEMS, 2, True, None, {"gift": "yes"}),
    PaymentRefundFailed(ORDER, USER, "r-1", AMOUNT, {}, 1, reason="no funds"),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.topic)
def test_an_event_comes_back_as_it_was_sent(event: Event) -> None:
    sent = CODEC.encode(event, Cause(), AT)
    message = CODEC.decode(Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers))
    assert message.event == event
    assert isinstance(PART_SHAPES[type(event)], Shape)
    without_headers = CODEC.decode(Record(sent.topic, 0, 7, None, sent.value))
    assert without_headers.id == message.id == dict(sent.headers)["ce_id"].decode()


def test_each_part_has_a_message_of_its_own() -> None:
    ids = [dict(CODEC.encode(event, Cause(), AT).headers)["ce_id"] for event in EVENTS]
    assert len(set(ids)) == len(ids) - 1, "an order is completed once"


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (EVENTS[0], {"shipmentId": "x" * 37}),
        (EVENTS[0], {"shipmentId": "a/b"}),
        (EVENTS[0], {"items": {"lamp": 0}}),
        (EVENTS[0], {"lines": [{"productId": "lamp", "quantity": 1, "name": "\x00"}]}),
        (EVENTS[0], {"carrier": ""}),
        (EVENTS[0], {"captureAmount": -1}),
        (EVENTS[2], {"kind": "GIFT"}),
        (EVENTS[2], {"restock": 1}),
        (EVENTS[2], {"amount": 0.001}),
        (EVENTS[2], {"reason": "x" * 501}),
        (EVENTS[6], {"attempt": 0}),
        (EVENTS[6], {"attempt": part_payloads.MAX_ATTEMPT + 1}),
        (EVENTS[6], {"what": "pay"}),
        (EVENTS[7], {"attempt": "1"}),
    ],
)
def test_a_bad_message_is_refused(event: Event, change: dict[str, object]) -> None:
    sent = CODEC.encode(event, Cause(), AT)
    body = json.loads(sent.value) | change
    with pytest.raises(Undecodable):
        CODEC.decode(Record(sent.topic, 0, 0, sent.key, json.dumps(body).encode(), sent.headers))
