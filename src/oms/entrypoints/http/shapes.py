"""The JSON of requests and responses."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from oms.domain.commands import MAX_UNITS
from oms.domain.events import Reason
from oms.domain.lines import MAX_CHARGES
from oms.domain.order_table import OrderPayment, OrderState
from oms.domain.refund import Instruction, RefundKind, RefundState
from oms.domain.values import MAX_LINES
from oms.entrypoints.http.json_types import Amount, Id, Items, Metadata, Name, Quantity, Struct
from oms.entrypoints.http.part_shapes import PaymentView, RefundView, ShipmentView
from oms.ports.stores.rows import DeadLetterState


class OrderLine(Struct, forbid_unknown_fields=True):
    """One product. `amount` is the price of the whole line, net of discount; all lines have one, or none has."""

    product_id: Id
    quantity: Quantity
    amount: Amount | None = None
    name: Name | None = None


class OrderCharge(Struct, forbid_unknown_fields=True):
    """An amount that belongs to no product, such as shipping; `kind` is your own word."""

    kind: Id
    amount: Amount


Lines = Annotated[list[OrderLine], Meta(min_length=1, max_length=MAX_LINES, description="Instead of `items`")]
Charges = Annotated[list[OrderCharge], Meta(max_length=MAX_CHARGES, description="Only with amounts of lines")]


class PlaceOrder(Struct, forbid_unknown_fields=True):
    """An order to place, of either `items` or `lines`. If lines have amounts, these and the charges are `amount`."""

    user_id: Id
    amount: Amount
    items: Items | UnsetType = UNSET
    lines: Lines | UnsetType = UNSET
    charges: Charges | None = None
    metadata: Metadata | None = None


class LineBody(Struct, forbid_unknown_fields=True):
    """`OrderLine` as it is parsed: numbers stay text, so that they are read exactly."""

    product_id: str
    quantity: msgspec.Raw
    amount: msgspec.Raw | UnsetType = UNSET
    name: str | None = None


class ChargeBody(Struct, forbid_unknown_fields=True):
    """`OrderCharge` as it is parsed: the number stays text."""

    kind: str
    amount: msgspec.Raw


class PlaceOrderBody(Struct, forbid_unknown_fields=True):
    """`PlaceOrder` as it is parsed: numbers stay text, so that they are read exactly."""

    user_id: str
    amount: msgspec.Raw
    items: msgspec.Raw | UnsetType = UNSET
    metadata: dict[str, str] | None = None
    lines: list[LineBody] | UnsetType = UNSET
    charges: list[ChargeBody] | None = None


class SpringOrderBody(Struct):
    """`PlaceOrderBody` as the Spring system parses it: unknown fields, such as `lines`, are ignored."""

    user_id: str
    amount: msgspec.Raw
    items: msgspec.Raw
    metadata: dict[str, str] | None = None


class CancelOrder(Struct, forbid_unknown_fields=True):
    """Who cancels. By default an operator cancels as operator, every other caller as customer."""

    by: Literal["customer", "operator"] | None = None


class SetStock(Struct, forbid_unknown_fields=True):
    """The number of units on hand, as counted."""

    on_hand: Annotated[int, Meta(ge=0, le=MAX_UNITS)]


class AddStock(Struct, forbid_unknown_fields=True):
    """The number of units received or, negative, lost; not 0."""

    delta: Annotated[int, Meta(ge=-MAX_UNITS, le=MAX_UNITS)]


class SetStockBody(Struct, forbid_unknown_fields=True):
    """`SetStock` as it is parsed: the number stays text."""

    on_hand: msgspec.Raw


class AddStockBody(Struct, forbid_unknown_fields=True):
    """`AddStock` as it is parsed: the number stays text."""

    delta: msgspec.Raw


class LineView(Struct):
    """One product of an order: the units that were ordered, and how many of them were cancelled, shipped and returned.

    `amount` is the price of the whole line, if it was stated.
    """

    product_id: str
    ordered: int
    cancelled: int
    shipped: int
    returned: int
    amount: Decimal | None = None
    name: str | None = None


class ChargeView(Struct):
    """An amount in the total that belongs to no product."""

    kind: str
    amount: Decimal


class OrderView(Struct):
    """An order. `charges`, `shipments` and `refunds` are there if it has some.

    `refundedAmount` is the sum of all refunds that were requested; see their states.
    """

    id: str
    items: dict[str, int]
    status: str
    total_amount: Decimal
    user_id: str
    reason: str | None = None
    metadata: dict[str, str] | None = None
    currency: str | None = None
    """ISO 4217 code."""

    lines: list[LineView] | None = None
    charges: list[ChargeView] | None = None
    refunded_amount: Decimal | None = None
    payment: PaymentView | None = None
    shipments: list[ShipmentView] | None = None
    refunds: list[RefundView] | None = None


NOT_IN_SPRING = ("currency", "lines", "charges", "refundedAmount", "payment", "shipments", "refunds")
"""Fields of an order that are absent under `OMS_HTTP_COMPAT=spring`: the Spring system has no such fields."""


class Sort(msgspec.Struct, frozen=True):
    """How a page is sorted, as the Spring system reports it."""

    empty: bool = True
    sorted: bool = False
    unsorted: bool = True


class Pageable(Struct, omit_defaults=False):
    """The requested page, as the Spring system reports it."""

    offset: int
    page_number: int
    page_size: int
    paged: bool = True
    sort: Sort = Sort()
    unpaged: bool = False


class OrderPage(Struct, omit_defaults=False):
    """A page of orders, as the Spring system returns it."""

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


class TimelineEntry(Struct):
    """One transition of the order. `trigger` is a topic, a command or `deadline`. Only operators get `detail`."""

    seq: int
    at: str
    trigger: str
    before: str
    after: str
    detail: str = ""


class StockView(Struct, omit_defaults=False):
    """A product's stock: `available` units are on hand and not held for orders."""

    product_id: str
    on_hand: int
    held: int
    available: int


class GateView(Struct, omit_defaults=False):
    """The epoch of the stock gate."""

    epoch: int


class StockPage(Struct, omit_defaults=False):
    """A page of products."""

    content: list[StockView]
    number: int
    size: int
    total_elements: int


class DeadLetterSummary(Struct, omit_defaults=False):
    """A message or task that couldn't be handled, without its content."""

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
    """A header of a message; `value` is text, or base64 if `base64` is true."""

    name: str
    value: str
    base64: bool


class DeadLetterView(DeadLetterSummary, omit_defaults=False):
    """A dead letter with its content: key and value in base64; `text` is the value if it is UTF-8."""

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
    """The state of the process; `problems` is empty when all is well."""

    status: str
    problems: tuple[str, ...] = ()


class ProblemDetail(msgspec.Struct, frozen=True):
    """One open problem: its code, the service, the topic, call or worker concerned, its start, and its cause."""

    code: str
    service: str
    subject: str
    since: str
    failures: int
    detail: str


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ready`, `degraded` or `not ready`.

    `problems` are the codes of problems that stop the process from working, `degraded` those of problems that don't.
    Only operators get `details`.
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
    ("PaymentView", "state"): tuple(state.value for state in OrderPayment),
    ("RefundView", "kind"): tuple(kind.value for kind in RefundKind),
    ("RefundView", "state"): tuple(state.value for state in RefundState),
    ("RefusalView", "instruction"): tuple(instruction.value for instruction in Instruction),
    ("DeadLetterSummary", "state"): LETTER_STATES,
    ("DeadLetterView", "state"): LETTER_STATES,
}
"""The values of fields that the schemas have as text."""

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: object) -> bytes:
    """Return a value as JSON; decimals are numbers."""
    return _encoder.encode(value)
