"""What requests and responses look like on the wire, and how they become commands and are made of results."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from oms.domain.errors import InvalidValue
from oms.domain.machine import HistoryEntry
from oms.domain.order import Order
from oms.domain.stock import Stock
from oms.domain.values import ID_PATTERN, MAX_QUANTITY
from oms.ports.store import DeadLetter

Id = Annotated[str, msgspec.Meta(pattern=ID_PATTERN, description="1 to 64 of A-Z a-z 0-9 . _ : -")]
Amount = Annotated[
    float, msgspec.Meta(ge=0, le=10**12, description="In major units of the system's currency, no finer; read exactly")
]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=MAX_QUANTITY)]
Items = Annotated[dict[Id, Quantity], msgspec.Meta(min_length=1, max_length=100)]


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    """camelCase on the wire."""


class PlaceOrder(Struct, forbid_unknown_fields=True):
    """An order to place."""

    user_id: Id
    amount: Amount
    items: Items
    metadata: dict[str, str] | None = None


class PlaceOrderBody(Struct, forbid_unknown_fields=True):
    """The same with its items unread: a product that is named twice must not be lost."""

    user_id: str
    amount: Decimal
    items: msgspec.Raw
    metadata: dict[str, str] | None = None


class CancelOrder(Struct, forbid_unknown_fields=True):
    """Who cancels: `customer` or `operator`; by default as the caller is."""

    by: Annotated[str, msgspec.Meta(pattern="^(customer|operator)$")] | None = None


class SetStock(Struct, forbid_unknown_fields=True):
    """A count."""

    on_hand: Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class AddStock(Struct, forbid_unknown_fields=True):
    """A delta, not 0."""

    delta: Annotated[int, msgspec.Meta(ge=-(10**12), le=10**12)]


class OrderView(Struct):
    """An order."""

    id: str
    items: dict[str, int]
    status: str
    total_amount: Decimal
    user_id: str
    reason: str | None = None
    metadata: dict[str, str] | None = None


class Sort(msgspec.Struct):
    """How a page is sorted, in the shape of the system replaced."""

    empty: bool = True
    sorted: bool = False
    unsorted: bool = True


class Pageable(Struct, omit_defaults=False):
    """What was asked for, in the shape of the system replaced."""

    offset: int
    page_number: int
    page_size: int
    paged: bool = True
    sort: Sort = msgspec.field(default_factory=Sort)
    unpaged: bool = False


class OrderPage(Struct, omit_defaults=False):
    """A page of orders, in the shape of the system replaced."""

    content: list[OrderView]
    empty: bool
    first: bool
    last: bool
    number: int
    number_of_elements: int
    pageable: Pageable
    size: int
    sort: Sort
    total_elements: int
    total_pages: int


class TimelineEntry(Struct, omit_defaults=False):
    """One thing that the order service did or heard."""

    seq: int
    at: str
    trigger: str
    before: str
    after: str


class StockView(Struct, omit_defaults=False):
    """A product's stock."""

    product_id: str
    on_hand: int
    held: int
    available: int


class StockPage(Struct, omit_defaults=False):
    """A page of products."""

    content: list[StockView]
    number: int
    size: int
    total_elements: int


class DeadLetterView(Struct, omit_defaults=False):
    """A message or task that couldn't be handled. `value` is base64."""

    id: str
    service: str
    group: str
    topic: str
    partition: int
    offset: int
    order_id: str | None
    cause: str
    detail: str
    attempts: int
    parked_at: str
    state: str
    value: str | None
    text: str | None


class Problem(msgspec.Struct):
    """RFC 9457, with a stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Health(msgspec.Struct):
    """How it is."""

    status: str
    problems: list[str] = []


_place = msgspec.json.Decoder(PlaceOrderBody)
_encode = msgspec.json.Encoder(decimal_format="number").encode


def read_place(body: bytes) -> tuple[PlaceOrderBody, list[tuple[str, int]]]:
    """The body, and its lines as they stand there, one product twice where it is named twice."""
    parsed = decode(_place, body)
    return parsed, _lines(bytes(parsed.items))


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """A typed body; `InvalidValue` that names the field, or `malformed_json` for what is no JSON."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidValue("invalid_body", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue("malformed_json", f"the body is not JSON: {error}") from None


def _lines(raw: bytes) -> list[tuple[str, int]]:
    try:
        pairs = json.loads(raw, object_pairs_hook=_Pairs, parse_float=_whole, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("malformed_json", f"the items can't be read: {error}") from None
    if not isinstance(pairs, _Pairs):
        raise InvalidValue("invalid_body", "Expected `object` - at `$.items`")
    return list(pairs)


class _Pairs(list[tuple[str, int]]):
    """A JSON object as its pairs."""


def _whole(text: str) -> int:
    """A JSON number that is whole (`2.0` is); anything else is a quantity that is refused."""
    if len(text) > 20:
        return 0
    number = float(text)
    return int(number) if number.is_integer() else 0


def encode(value: object) -> bytes:
    """JSON; decimals are numbers."""
    return _encode(value)


def order_view(order: Order) -> OrderView:
    """An order as callers see it."""
    terms = order.agreed
    return OrderView(
        order.id,
        {**terms.items},  # type: ignore[dict-item]
        order.state.value,
        terms.total.amount,
        terms.user_id,
        order.reason.value if order.reason else None,
        dict(terms.metadata) or None,
    )


def timeline_entry(entry: HistoryEntry) -> TimelineEntry:
    """One line of a timeline."""
    return TimelineEntry(entry.seq, entry.at.isoformat(), entry.trigger, entry.before, entry.after)


def stock_view(stock: Stock) -> StockView:
    """A product as callers see it."""
    return StockView(stock.sku, stock.on_hand, stock.held, stock.available)


def dead_letter_view(service: str, letter: DeadLetter) -> DeadLetterView:
    """A dead letter as operators see it."""
    return DeadLetterView(
        letter.id,
        service,
        letter.group,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.order_id,
        letter.cause,
        letter.detail,
        letter.attempts,
        letter.parked_at.isoformat(),
        letter.state.value,
        base64.b64encode(letter.value).decode() if letter.value is not None else None,
        _text(letter.value),
    )


def _text(value: bytes | None) -> str | None:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
