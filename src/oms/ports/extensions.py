"""The ports that a shop may implement: gateway, notifier, authenticator, pricing and policy, with their records.

Pass an implementation to `oms.create`, or name it by import path in the settings.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Protocol

import attrs

from oms.domain.errors import InvalidValue
from oms.domain.events import Reason
from oms.domain.lines import OrderLine
from oms.domain.money import Money
from oms.domain.terms import Terms
from oms.domain.values import NO_ITEMS, NO_METADATA, Items, Metadata, OrderId, UserId, checked_id


@attrs.frozen(kw_only=True)
class Charge:
    """A request to capture `amount`, the order's total, from the customer `user_id`.

    `key` is the idempotency key: at most 68 characters of `A-Z a-z 0-9 . _ : -`, the same in every call about this
    order's charge, and never used for another charge. `metadata` is text from the caller's order, at most 4 KiB.
    """

    key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    metadata: Metadata = NO_METADATA


class LookupOf(Enum):
    """The kind of call that a look-up is about."""

    CHARGE = "charge"
    REFUND = "refund"


@attrs.frozen(kw_only=True)
class Lookup:
    """A look-up of the call under `key`: of a charge, or, if `of` is `LookupOf.REFUND`, of a refund.

    `amount` is the amount of that call. `payment_id` is the gateway's id of the payment; None until an answer has
    contained it. `charge_key` is the key of the charge that was to be refunded; None in the look-up of a charge.
    """

    key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    payment_id: str | None = None
    metadata: Metadata = NO_METADATA
    of: LookupOf = LookupOf.CHARGE
    charge_key: str | None = None


@attrs.frozen(kw_only=True)
class Void:
    """A request to make any capture under `key` impossible; `amount` is the amount that the charge was to capture.

    `payment_id` is the gateway's id of the payment; None until an answer has contained it.
    """

    key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    payment_id: str | None = None
    metadata: Metadata = NO_METADATA


@attrs.frozen(kw_only=True)
class Refund:
    """A request to give back `amount` of the charge under `charge_key`.

    `key` is the idempotency key of one attempt of this refund. The first refund of a whole charge has the key of its
    charge. Every other one has a key of its own, `oms/<order>/refund/<id>/<attempt>`, of at most 200 characters: an
    attempt ends only with `Refunded` or `Declined`. `payment_id` is the id from `Captured`, shortened if it was too
    long.
    """

    key: str
    charge_key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    payment_id: str | None = None
    metadata: Metadata = NO_METADATA


@attrs.frozen
class Captured:
    """The money is taken. `payment_id` is the gateway's id of the payment, 1 to 64 characters.

    `oms` replaces an id that it can't store, and raises an alert. The charge's key replaces None or an empty text. An
    id that is too long, or contains U+0000 or a lone surrogate, becomes its first 47 characters, `~`, and 16
    hexadecimal digits of its SHA-256.
    """

    payment_id: str


@attrs.frozen
class Authorised:
    """The money is reserved and not taken. `payment_id` as in `Captured`.

    This version of `oms` supports only immediate capture: it treats this answer as `Unanswered` and raises an alert.
    """

    payment_id: str


@attrs.frozen
class Declined:
    """The charge or refund is finally refused: no money has moved or will move under this key.

    `reason` is for the log, and for the operator who decides about a refused refund.
    """

    reason: str = ""


@attrs.frozen
class Voided:
    """The gateway guarantees that no charge under this key can capture any more."""


@attrs.frozen
class Refunded:
    """The amount has been given back, once for the refund's key."""


@attrs.frozen
class UnknownCharge:
    """The gateway knows no charge, or no refund, under this key yet.

    The outcome of a charge remains unknown until the settle window ends (`OMS_PAYMENT_SETTLE_WINDOW_S` seconds after
    the charge). Afterwards `oms` repeats the charge under the same key. It repeats a refund at once, under its key.
    """


@attrs.frozen
class Pending:
    """The gateway hasn't decided yet. `oms` treats this as `Unanswered`; it is reserved for payments that take days."""

    detail: str = ""


@attrs.frozen
class NotAttempted:
    """The request certainly had no effect: a refused connection, an open circuit breaker. `detail` is for the log.

    `oms` repeats the charge or refund after the usual pause, without a look-up and without waiting for the settle
    window. Return `Unanswered` instead if the request may have been sent.
    """

    detail: str = ""


@attrs.frozen
class Unanswered:
    """The outcome is unknown: a time-out, a lost connection, a 5xx response. `oms` never treats it as `Declined`.

    `detail` is for the log. `oms` looks the charge or refund up, or repeats the call under the same key, until the
    outcome is known.
    """

    detail: str = ""


ChargeAnswer = Captured | Authorised | Declined | Pending | NotAttempted | Unanswered
LookupAnswer = Captured | Authorised | Refunded | Declined | UnknownCharge | Pending | NotAttempted | Unanswered
VoidAnswer = Voided | Captured | Pending | NotAttempted | Unanswered
RefundAnswer = Refunded | Declined | Pending | NotAttempted | Unanswered
"""The answers that each method of a gateway may return."""


class PaymentGateway(Protocol):
    """Moves the money. Every call has a key: a repeat changes nothing and returns the first definite answer.

    The methods are ordinary functions, not coroutines. `oms` calls them from several threads at once, outside of any
    transaction. Give each call a time limit of a few seconds; `oms` abandons it after `OMS_PAYMENT_TIMEOUT_S` seconds.
    An exception, or an answer of another type, counts as `Unanswered`. The gateway must remember a key for as long as
    the order can be cancelled or refunded. `oms verify` checks the money of a gateway that also implements
    `GatewayBook`.
    """

    @abstractmethod
    def charge(self, charge: Charge) -> ChargeAnswer:
        """Capture the amount, at most once for the key. Return `Declined` if the key was voided."""

    @abstractmethod
    def lookup(self, lookup: Lookup) -> LookupAnswer:
        """Return the answer to the charge under this key; a later refund doesn't change it. Moves no money.

        If `lookup.of` is `LookupOf.REFUND`, return the answer to the refund under this key: `Refunded`, `Declined`, or
        `UnknownCharge` if the gateway knows no refund under it. After any answer that isn't about a refund, `oms`
        repeats the refund under the same key.
        """

    @abstractmethod
    def void(self, void: Void) -> VoidAnswer:
        """Make a later capture under this key impossible, even if the gateway doesn't know the key yet.

        Return `Captured` if the money is already taken; otherwise `Voided`, also for a declined charge.
        """

    @abstractmethod
    def refund(self, refund: Refund) -> RefundAnswer:
        """Give back the amount, once for the refund's key. All refunds of a charge together never exceed its amount.

        Return `Declined` if the refund is finally refused: `oms` raises an alert, and an operator decides whether to
        retry, under a new key, or to resolve it by other means.
        """


@attrs.frozen
class Notification:
    """A notification for the customer `user_id`. An order has at most one of each kind, or of each kind and part."""

    id: str
    """The same in each delivery attempt; receivers use it to drop repeats."""

    order_id: OrderId
    user_id: UserId
    kind: str
    """The topic of the event that it reports, such as `order.confirmed` or `payment.failed`."""

    amount: Money | None
    """The order's total, or the amount of the payment or refund; None for the kind `order.shipped`."""

    reason: Reason | None = None
    """Why the order or the payment ended; None for a confirmation or a success."""

    metadata: Metadata = NO_METADATA
    """The order's metadata; empty for `payment.success`, `.failed`, `.voided` and `.refunded`, which don't carry it."""

    at: datetime | None = None
    """When the notification service recorded it, with time zone; None if that isn't known."""

    part: str = ""
    """The id of the shipment or refund that it reports; empty for the other kinds."""

    items: Items = NO_ITEMS
    """The units that were shipped or refunded; for `order.completed`, all shipped units. Empty for the other kinds."""

    lines: tuple[OrderLine, ...] = ()
    """The lines of a shipment with their names, if the order was placed with lines."""

    carrier: str | None = None
    tracking_number: str | None = None


class Notifier(Protocol):
    """Delivers notifications to customers, at least once; repeats have the same id."""

    @abstractmethod
    def send(self, notification: Notification) -> None:
        """Deliver a notification and return None.

        Raise `Permanent` to have it parked as a dead letter at once. After any other exception, `oms` repeats the
        delivery with back-off for 24 h.
        """


class Role(Enum):
    """The rights of a caller."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    TRUSTED = "trusted"
    """No authentication is configured: the caller may act for any user, and as an operator."""


@attrs.frozen
class Principal:
    """The caller of a request. `user_id` is a customer, who sees only their own orders; other roles may omit it.

    `credential` identifies the caller's API key or token without revealing it. Each operator's credential has a rate
    limit of its own, and the log of refused requests names it; operators without a credential share one rate limit.
    Raises `InvalidValue` for a customer without a `user_id` (nothing would limit it to its own orders), and for an
    illegal id or credential.
    """

    role: Role
    user_id: UserId | None = None
    credential: str | None = attrs.field(default=None, eq=False)

    def __attrs_post_init__(self) -> None:
        """Check role, user id and credential."""
        if not isinstance(self.role, Role):
            raise InvalidValue("invalid_role", "the role of a principal must be a Role")
        if self.user_id is not None or self.role is Role.CUSTOMER:
            checked_id(self.user_id, name="user_id")
        if self.credential is not None:
            checked_id(self.credential, name="credential")

    @property
    def owner(self) -> UserId | None:
        """The customer to whose orders this caller is limited; None for callers that may see all orders."""
        return self.user_id if self.role is Role.CUSTOMER else None

    @property
    def scope(self) -> str:
        """The scope of this caller's idempotency keys: callers with different scopes may use equal keys."""
        return f"{self.role.value}:{self.user_id or ''}"


class Authentication(Enum):
    """The kind of authentication that a system requires of callers."""

    NONE = "none"
    """Every caller is trusted: no API keys are configured."""

    API_KEYS = "api keys"
    HOST = "host"
    """A shop's own authenticator decides, such as that of the application that embeds `oms`."""


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    @abstractmethod
    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the caller; None if the headers identify no caller, and the response is then 401.

        `headers` are those of the request, by name in lower case. Raise `Refused` for the response 403; after any other
        exception the response is 503. The method may block: it runs on a thread for blocking work, with a time limit.
        """


class Pricing(Protocol):
    """Calculates an order's total. Without pricing, the caller's amount is the total."""

    @abstractmethod
    def price(self, terms: Terms) -> Money:
        """Return the total to charge for these terms, in their currency.

        `terms` are the customer, items, lines, charges and metadata of the order; `terms.total` is the caller's amount.
        If the lines have amounts, lines and charges must add up to the returned total, else the order is refused.
        Raise a `DomainError` to refuse the order with the error's code.
        """


class Policy(Protocol):
    """Decides whether an order is accepted, for instance by fraud risk or limits."""

    @abstractmethod
    def check(self, terms: Terms, caller: Principal) -> None:
        """Return None to accept the order; raise `Refused(code, detail)` to refuse it with 403.

        `terms.total` is the total that will be charged, after the shop's pricing.
        """
