"""Refunds as the order service decides them, and the refusals of the gateway that it hears of."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from oms.domain.money import Money
from oms.domain.values import Items

WHOLE = "whole"
"""The reserved id of the refund that undoes the payment of a cancelled order."""


class RefundKind(Enum):
    """The occasion of a refund."""

    CANCEL = "CANCEL"
    """Units that weren't shipped are taken out of the order."""

    RETURN = "RETURN"
    """Shipped units came back."""

    GOODWILL = "GOODWILL"
    """Money only."""


class RefundState(Enum):
    """The state of a refund: DUE until the payment service reports that it was paid or refused."""

    DUE = "DUE"
    PAID = "PAID"
    REFUSED = "REFUSED"


class Instruction(Enum):
    """An operator's decision about a refund that the gateway refused."""

    RETRY = "retry"
    """Call the gateway again, under a new key."""

    RESOLVE = "resolve"
    """The money was given back outside of the gateway."""


@attrs.frozen
class OrderRefund:
    """A refund that an operator requested. `amount` may be 0; `items` is empty for goodwill.

    `before_shipment` is true if the order had no shipment then, `after_completion` if it was COMPLETED. `outside` is
    true if an operator resolved it.
    """

    id: str
    kind: RefundKind
    items: Items
    amount: Money
    restock: bool
    reason: str
    before_shipment: bool
    at: datetime
    state: RefundState = RefundState.DUE
    outside: bool = False
    after_completion: bool = False


@attrs.frozen
class Refusal:
    """The last refusal of the gateway that the order service has heard of, for one refund (`of`, or `WHOLE`).

    `attempt` counts calls to the gateway that ended with a refusal, from 1. `instruction` is the operator's decision
    about this attempt, by the operator `by` for the reason `why`; None while there is none.
    """

    of: str
    attempt: int
    reason: str = ""
    instruction: Instruction | None = None
    by: str = ""
    why: str = ""
