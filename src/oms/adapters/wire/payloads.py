"""The JSON payloads of the topics, with their fields in the order in which they are written.

Amounts, which must be exact, and `items`, whose keys may be repeated, stay raw bytes here: `fields` reads them. Unknown
fields are ignored, so that a later version may add some.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from oms.domain.commands import MAX_UNITS
from oms.domain.events import Reason
from oms.domain.values import MAX_QUANTITY


class Payload(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True, gc=False):
    """The field that every payload starts with."""

    order_id: str


class Line(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True, gc=False):
    """One of the `lines`; a JSON null as `amount` counts as absent."""

    product_id: str
    quantity: int
    amount: Raw | msgspec.UnsetType = msgspec.UNSET
    name: str | None = None


class Charge(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """One of the `charges`."""

    kind: str
    amount: Raw


class Agreed(Payload, frozen=True, gc=False):
    """`order.created`, `inventory.reserved`, `order.confirmed`."""

    user_id: str
    total_amount: Raw
    items: Raw
    lines: list[Line] | None = None
    charges: list[Charge] | None = None
    metadata: dict[str, str] | None = None


class ShortLine(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """One line of `shortages`."""

    product_id: str
    requested: int
    available: int

    def __post_init__(self) -> None:
        """Check the counts of units; msgspec adds the path of the line to the error."""
        if not 1 <= self.requested <= MAX_QUANTITY:
            raise ValueError(f"`requested` must be from 1 to {MAX_QUANTITY}")
        if not 0 <= self.available <= MAX_UNITS:
            raise ValueError(f"`available` must be from 0 to {MAX_UNITS}")


class Rejected(Payload, frozen=True, gc=False):
    """`inventory.rejected`."""

    reason: Reason
    shortages: list[ShortLine]


class Released(Payload, frozen=True, gc=False):
    """`inventory.released`; no items for an order that never held any."""

    items: Raw


class Paid(Payload, frozen=True, gc=False):
    """`payment.success`, `payment.failed`, `payment.voided`, `payment.refunded`."""

    user_id: str
    amount: Raw
    payment_id: str | None = None
    reason: Reason | None = None


class Cancelling(Payload, frozen=True, gc=False):
    """`order.cancelling`."""

    user_id: str
    total_amount: Raw
    reason: Reason


class Ended(Payload, frozen=True, gc=False):
    """`order.cancelled`, `order.rejected`."""

    user_id: str
    total_amount: Raw
    reason: Reason
    metadata: dict[str, str] | None = None


class Probe(msgspec.Struct, rename="camel", gc=False):
    """Reads of a JSON object only whether it has an order id."""

    order_id: Raw | msgspec.UnsetType = msgspec.UNSET
