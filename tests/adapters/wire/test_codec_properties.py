"""What holds for every event and for any bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from string import ascii_letters, digits

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.adapters.wire import JsonCodec, fields
from oms.adapters.wire.part_payloads import MAX_ATTEMPT
from oms.domain import events
from oms.domain.errors import InvalidValue
from oms.domain.events import Reason, Shortage
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.domain.refund import Instruction, RefundKind
from oms.domain.terms import Terms
from oms.domain.values import MAX_QUANTITY, OrderId, checked_items
from oms.ports.messages import Cause, CustomEvent, Message, MessageId, Record, Undecodable

EUR = Currency.of("EUR")
CODEC = JsonCodec(EUR)

ids = st.text(ascii_letters + digits + "._:-", min_size=1, max_size=64)
order_ids = st.one_of(st.uuids().map(str), ids)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
amounts = st.integers(0, MAX_MINOR).map(lambda minor: Money(minor, EUR))
items = st.dictionaries(ids, st.integers(1, MAX_QUANTITY), min_size=1, max_size=12).map(checked_items)
metadata = st.dictionaries(text, text, max_size=5)
small = st.integers(0, MAX_MINOR // 100).map(lambda minor: Money(minor, EUR))
names = st.none() | text.filter(len)
plain_lines = st.builds(OrderLine.of, ids, st.integers(1, MAX_QUANTITY), st.none(), names)
priced_lines = st.builds(OrderLine.of, ids, st.integers(1, MAX_QUANTITY), small, names)
all_charges = st.lists(st.builds(OrderCharge.of, ids, small), max_size=3)


def unique(lines: st.SearchStrategy[OrderLine]) -> st.SearchStrategy[list[OrderLine]]:
    return st.lists(lines, min_size=1, max_size=5, unique_by=lambda line: line.sku)


def priced_terms(user: str, lines: list[OrderLine], charges: list[OrderCharge], metadata: dict[str, str]) -> Terms:
    stated = [*(line.amount.minor for line in lines if line.amount), *(charge.amount.minor for charge in charges)]
    return Terms.checked(user, Money(sum(stated), EUR), metadata=metadata, lines=lines, charges=charges)


terms = st.one_of(
    st.builds(Terms.checked, ids, amounts, items, metadata),
    st.builds(Terms.checked, ids, amounts, metadata=metadata, lines=unique(plain_lines)),
    st.builds(priced_terms, ids, unique(priced_lines), all_charges, metadata),
)
reasons = st.sampled_from(Reason)
shortages = st.builds(Shortage, ids, st.integers(1, MAX_QUANTITY), st.integers(0, 10**12))
causes = st.builds(
    Cause,
    st.none() | st.uuids().map(str),
    st.none()
    | st.builds(
        "00-{:032x}-{:016x}-0{}".format, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 1)
    ),
)
part_ids = st.text(ascii_letters + digits + "._:-", min_size=1, max_size=36)
short_text = text.filter(len)
moments = st.datetimes(timezones=st.just(UTC))

FIELDS = {
    "terms": terms,
    "user_id": ids,
    "amount": amounts,
    "total": amounts,
    "items": st.just({}) | items,
    "metadata": metadata,
    "payment_id": text,
    "reason": reasons,
    "shortages": st.lists(shortages, max_size=5).map(tuple),
    "shipment_id": part_ids,
    "refund_id": part_ids,
    "of": part_ids,
    "lines": unique(plain_lines).map(tuple) | st.just(()),
    "carrier": short_text,
    "tracking_number": short_text,
    "capture_amount": amounts,
    "refunded": amounts,
    "kind": st.sampled_from(RefundKind),
    "what": st.sampled_from(Instruction),
    "restock": st.booleans(),
    "before_shipment": st.booleans(),
    "outside": st.booleans(),
    "attempt": st.integers(1, MAX_ATTEMPT),
    "by": short_text,
    "why": short_text,
}
"""Values of each field that events have, by its name."""


def values(field: attrs.Attribute[object]) -> st.SearchStrategy[object]:
    found = short_text if field.name == "reason" and "str" in str(field.type) else FIELDS[field.name]
    return st.none() | found if field.default is None else found


EVENTS = {kind: tuple(map(values, attrs.fields(kind)[1:])) for kind in events.EVENTS}
any_event = st.one_of([st.builds(kind, order_ids, *parts) for kind, parts in EVENTS.items()])


@pytest.mark.parametrize("kind", events.EVENTS)
def test_each_event_goes_there_and_back(kind: type[events.Event]):
    @given(event=st.builds(kind, order_ids, *EVENTS[kind]), cause=causes, at=moments)
    def check(event: events.Event, cause: Cause, at: datetime) -> None:
        sent = CODEC.encode(event, cause, at)
        record = Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers)
        message = CODEC.decode(record)
        bare = CODEC.decode(Record(sent.topic, 1, 1, None, sent.value))
        assert message.event == event == bare.event
        assert message.cause == cause
        assert message.id == bare.id == MessageId(dict(sent.headers)["ce_id"].decode())
        assert CODEC.encode(message.event, Cause(), at).value == sent.value

    check()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


@given(order=order_ids, body=st.dictionaries(text, json_values, max_size=5))
def test_custom_events_go_there_and_back(order: str, body: dict[str, object]):
    event = CustomEvent("shop.own", OrderId(order), {**body, "orderId": order})
    sent = CODEC.encode(event, Cause(), datetime(2026, 1, 1, tzinfo=UTC))
    assert CODEC.decode(Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers)).event == event


TOPICS = [*events.BY_TOPIC, "shop.own", "order.dlq"]
FIELDS = [
    "orderId",
    "userId",
    "totalAmount",
    "items",
    "lines",
    "charges",
    "metadata",
    "amount",
    "paymentId",
    "reason",
    "shortages",
    "refundId",
    "restock",
    "attempt",
]
odd_values = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(FIELDS, json_values | ids),
    ).map(lambda value: json.dumps(value).encode()),
)


def answer(topic: str, value: bytes | None) -> None:
    """A message, or a clear refusal, and nothing else."""
    record = Record(topic, 0, 0, None, value)
    refusal = ""
    try:
        message = CODEC.decode(record)
    except Undecodable as refused:
        refusal = str(refused)
    if refusal:
        assert refusal.startswith(f"{topic}: ")
        assert refusal.isprintable()
    else:
        assert isinstance(message, Message)
        assert message.event is not None or message.id == CODEC.name(record)


@given(topic=st.sampled_from(TOPICS), value=st.none() | odd_values)
def test_any_bytes_are_a_message_or_undecodable(topic: str, value: bytes | None):
    answer(topic, value)


@given(event=any_event, data=st.data())
def test_damaged_messages_are_a_message_or_undecodable(event: events.Event, data: st.DataObject):
    value = bytearray(CODEC.encode(event, Cause(), datetime(2026, 1, 1, tzinfo=UTC)).value)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(value) - 1))
        value[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not value:
            break
    answer(event.topic, bytes(value))


quantities = st.one_of(
    st.integers(-1, 100_001).map(str),
    st.floats(0, 20_000).map(repr),
    st.sampled_from(["1.0", "1e2", "1e5", "0.0", "-0", "true", "null", '"1"', "[]", "{}", "99999999999999999999"]),
)
lines = st.lists(st.tuples(st.sampled_from(["a", "b", "c.d", "a b", "\\u0061", ""]) | ids, quantities), max_size=5)


def attempt(read, *given):
    try:
        return read(*given)
    except InvalidValue as refused:
        return refused.code


@given(lines=lines, gap=st.sampled_from(["", " "]))
def test_the_short_way_to_items_agrees_with_the_long_one(lines: list[tuple[str, str]], gap: str):
    raw = ("{" + ",".join(f'"{sku}":{gap}{quantity}' for sku, quantity in lines) + "}").encode()
    assert attempt(fields.read_items, fields.Raw(raw)) == attempt(fields._read_lines, raw)


@given(
    amount=st.decimals(-10, 10**14, allow_nan=False, places=None).map(str)
    | st.from_regex(r"-?[0-9]{1,16}(\.[0-9]{1,5})?", fullmatch=True),
    code=st.sampled_from(["EUR", "JPY", "KWD", "CLF"]),
)
def test_the_short_way_to_amounts_agrees_with_the_domain(amount: str, code: str):
    currency = Currency.of(code)
    read = attempt(fields.read_amount, fields.Raw(amount.encode()), currency, "amount")
    assert read == attempt(Money.of, amount, currency)


@given(minor=st.integers(0, MAX_MINOR), code=st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_amounts_are_written_as_money_shows_them(minor: int, code: str):
    money = Money(minor, Currency.of(code))
    written = bytes(fields.write_amount(money))
    assert written.decode() == f"{money.amount:f}"
    assert fields.read_amount(fields.Raw(written), money.currency, "amount") == money
