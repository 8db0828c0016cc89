"""The JSON of shipments and refunds, and of decisions about refused refunds."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from oms.entrypoints.http.json_types import Amount, Items, Label, PartId, Reason, Struct

ABSENT = b"null"
"""A field that is null counts as absent."""

_ABSENT = msgspec.Raw(ABSENT)


class ShipOrder(Struct, forbid_unknown_fields=True):
    """A parcel. Without `items`, all units that are neither cancelled nor shipped."""

    items: Items | None = None
    carrier: Label | None = None
    tracking_number: Label | None = None


class ShipOrderBody(Struct, forbid_unknown_fields=True):
    """`ShipOrder` as it is parsed: numbers stay text, so that they are read exactly."""

    items: msgspec.Raw = _ABSENT
    carrier: str | None = None
    tracking_number: str | None = None


class RefundOrder(Struct, forbid_unknown_fields=True):
    """Money to give back, and the units that it is for.

    CANCEL takes units that weren't shipped out of the order, RETURN takes shipped units back; without `items`, all of
    them. GOODWILL is money only. Without `amount`, the share of the lines' amounts. `restock` is true by default for
    CANCEL, and false for RETURN. The customer can read `reason`.
    """

    kind: Literal["CANCEL", "RETURN", "GOODWILL"]
    reason: Reason
    items: Items | None = None
    amount: Amount | None = None
    restock: bool | None = None


class RefundOrderBody(Struct, forbid_unknown_fields=True):
    """`RefundOrder` as it is parsed: numbers stay text, so that they are read exactly."""

    kind: str
    reason: str
    items: msgspec.Raw = _ABSENT
    amount: msgspec.Raw = _ABSENT
    restock: bool | None = None


class InstructPayment(Struct, forbid_unknown_fields=True):
    """The refused refund that an operator decides about, and why."""

    of: PartId
    why: Reason


class InstructPaymentBody(Struct, forbid_unknown_fields=True):
    """`InstructPayment` as it is parsed: the domain checks the bounds."""

    of: str
    why: str


class ShipmentView(Struct):
    """A parcel of an order."""

    id: str
    items: dict[str, int]
    shipped_at: str
    carrier: str | None = None
    tracking_number: str | None = None


class RefusalView(Struct):
    """The last refusal of the payment gateway, for operators.

    `of` is the refund's id, or `whole`. `attempt` counts the gateway's refusals of this refund. `instruction` is the
    operator's decision about this attempt, by the operator `by` for the reason `why`; absent while one is needed.
    """

    of: str
    attempt: int
    reason: str
    instruction: str | None = None
    by: str | None = None
    why: str | None = None


class RefundView(Struct):
    """A refund. `items` is absent if it is money only; `outside` is true if it was paid outside of the gateway."""

    id: str
    kind: str
    state: str
    amount: Decimal
    currency: str
    restock: bool
    reason: str
    requested_at: str
    items: dict[str, int] | None = None
    outside: bool = False
    refusal: RefusalView | None = None


class PaymentView(Struct):
    """The payment, as far as the order service has heard of it.

    `refusal` is that of the refund of a cancelled order.
    """

    state: str
    refusal: RefusalView | None = None
