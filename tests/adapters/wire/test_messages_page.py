"""docs/messages.md: its examples are the bytes that the codec writes, and it names all fields, headers and reasons."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from oms.adapters.wire import JsonCodec
from oms.adapters.wire.shapes import SHAPES
from oms.domain.events import (
    EVENTS,
    Event,
    PaymentRefunded,
    PaymentSucceeded,
    PaymentVoided,
    Reason,
)
from oms.domain.money import Currency
from oms.ports.messages import Cause, MessageId, Record
from tests.support.files import DOCS

PAGE = (DOCS / "messages.md").read_text()
CODEC = JsonCodec(Currency.of("USD"))
WITHOUT_REASON = {PaymentSucceeded, PaymentVoided, PaymentRefunded}
"""They share their payload with `payment.failed`, the only payment event with a reason."""
ROWS = {topic: (value, rest) for topic, value, rest in re.findall(r"^\| `([\w.]+)` \| `(\{.*?\})`(.*)$", PAGE, re.M)}


def test_the_page_has_an_example_of_each_topic() -> None:
    assert sorted(ROWS) == sorted(event.topic for event in EVENTS)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: str(kind.topic))
def test_an_example_is_written_as_it_is_read(kind: type[Event]) -> None:
    value = ROWS[kind.topic][0].encode()
    message = CODEC.decode(Record(kind.topic, 0, 0, None, value, ()))
    assert message.event is not None
    assert CODEC.encode(message.event, Cause(), datetime.now(UTC)).value == value


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: str(kind.topic))
def test_a_row_names_every_field_that_is_written(kind: type[Event]) -> None:
    value, rest = ROWS[kind.topic]
    for field in msgspec.structs.fields(SHAPES[kind].payload):
        if field.name == "reason" and kind in WITHOUT_REASON:
            continue
        assert f'"{field.encode_name}"' in value or f"`{field.encode_name}`" in rest
        assert (f"`{field.encode_name}`" in rest.split("|")[-2]) is not field.required


def test_the_page_names_every_header_and_reason() -> None:
    cause = Cause(MessageId("11111111-1111-5111-8111-111111111111"), f"00-{'a' * 32}-{'b' * 16}-01")
    event = CODEC.decode(Record("payment.voided", 0, 0, None, ROWS["payment.voided"][0].encode(), ())).event
    assert event is not None
    names = [name for name, _ in CODEC.encode(event, cause, datetime.now(UTC)).headers]
    assert [name for name in (*names, *(reason.value for reason in Reason)) if f"`{name}`" not in PAGE] == []
