"""What requests and responses look like on the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from oms.domain.commands import MAX_UNITS
from oms.domain.events import Reason
from oms.domain.order import OrderState
from oms.domain.values import ID_PATTERN, MAX_LINES, MAX_QUANTITY
from oms.ports.stores.rows import DeadLetterState

Id = Annotated[str, Meta(pattern=ID_PATTERN, description="1 to 64 of `A-Z a-z 0-9 . _ : -`")]
Amount = Annotated[float, Meta(ge=0, description="A number in major units of the currency, no finer; read exactly")]
"""As it is documented. What is read and written are decimals: no amount is ever a float."""

Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
Items = Annotated[
    dict[Id, Quantity],
    Meta(min_length=1, max_length=MAX_LINES, description="Units of each product"),
]
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", description="Text without U+0000")]
Metadata = Annotated[dict[Text, Text], Meta(description="Your own text, at most 4 KiB, kept with the order")]


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    """camelCase on the wire."""


class PlaceOrder(Struct, forbid_unknown_fields=True):
    """An order to place."""

    user_id: Id
    amount: Amount
    items: Items
    metadata: Metadata | None = None


class PlaceOrderBody(Struct, forbid_unknown_fields=True):
    """`PlaceOrder` as it is read: numbers stay as they are written, and are read exactly."""

    user_id: str
    amount: msgspec.Raw
    items: msgspec.Raw
    metadata: dict[str, str] | None = None


class SpringOrderBody(Struct):
    """`PlaceOrderBody` as the Spring system reads it: unknown fields have no effect."""

    user_id: str
    amount: msgspec.Raw
    items: msgspec.Raw
    metadata: dict[str, str] | None = None


class CancelOrder(Struct, forbid_unknown_fields=True):
    """Who cancels. By default an operator cancels as operator, everybody else as customer."""

    by: Literal["customer", "operator"] | None = None


class SetStock(Struct, forbid_unknown_fields=True):
    """A count: so many units are on hand."""

    on_hand: Annotated[int, Meta(ge=0, le=MAX_UNITS)]


class AddStock(Struct, forbid_unknown_fields=True):
    """A delta: so many units came or, negative, were lost; not 0."""

    delta: Annotated[int, Meta(ge=-MAX_UNITS, le=MAX_UNITS)]


class SetStockBody(Struct, forbid_unknown_fields=True):
    """`SetStock` as it is read: the number stays as it is written."""

    on_hand: msgspec.Raw


class AddStockBody(Struct, forbid_unknown_fields=True):
    """`AddStock` as it is read: the number stays as it is written."""

    delta: msgspec.Raw


class OrderView(Struct):
    """An order."""

    id: str
    items: dict[str, int]
    status: str
    total_amount: Decimal
    user_id: str
    reason: str | None = None
    metadata: dict[str, str] | None = None
    currency: str | None = None
    """ISO 4217 code; absent in the shape of the Spring system, which has no such field."""


class Sort(msgspec.Struct, frozen=True):
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
    sort: Sort = Sort()
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
    """One thing that the order service did or heard. `trigger` is a topic, a command or `deadline`."""

    seq: int
    at: str
    trigger: str
    before: str
    after: str


class StockView(Struct, omit_defaults=False):
    """A product's stock: `available` is what isn't held."""

    product_id: str
    on_hand: int
    held: int
    available: int


class GateView(Struct, omit_defaults=False):
    """The epoch that the stock gate is in."""

    epoch: int


class StockPage(Struct, omit_defaults=False):
    """A page of products."""

    content: list[StockView]
    number: int
    size: int
    total_elements: int


class DeadLetterSummary(Struct, omit_defaults=False):
    """A message or task that couldn't be handled, without what it holds."""

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


class Header(Struct, omit_defaults=False):
    """A header of a message; `value` is its text, or base64 where `base64` says so."""

    name: str
    value: str
    base64: bool


class DeadLetterView(DeadLetterSummary, omit_defaults=False):
    """The same with what it holds: key and value in base64, the value as text too where it is text."""

    message_id: str
    key: str | None
    value: str | None
    text: str | None
    headers: list[Header]


class Problem(msgspec.Struct, omit_defaults=True, frozen=True):
    """RFC 9457, with a stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None


class Health(msgspec.Struct, frozen=True):
    """How it is; `problems` is empty when all is well."""

    status: str
    problems: tuple[str, ...] = ()


class ProblemDetail(msgspec.Struct, frozen=True):
    """One thing that fails: its code, the service, what it is (a topic, a call, a worker), since when, and why."""

    code: str
    service: str
    subject: str
    since: str
    failures: int
    detail: str


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ready`, `degraded` or `not ready`.

    `problems` and `degraded` are codes: the former keep it from its work, meanwhile the latter don't. `details` are for
    operators; no other caller gets them.
    """

    status: str
    problems: tuple[str, ...]
    degraded: tuple[str, ...]
    details: tuple[ProblemDetail, ...] = ()


STATUSES = tuple(state.value for state in OrderState if state is not OrderState.ABSENT)
REASONS = tuple(reason.value for reason in Reason)
LETTER_STATES = tuple(state.value for state in DeadLetterState)
ENUMS = {
    ("OrderView", "status"): STATUSES,
    ("OrderView", "reason"): REASONS,
    ("DeadLetterSummary", "state"): LETTER_STATES,
    ("DeadLetterView", "state"): LETTER_STATES,
}
"""Fields that are written as text and documented with all their values."""

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: object) -> bytes:
    """JSON; decimals are numbers."""
    return _encoder.encode(value)
