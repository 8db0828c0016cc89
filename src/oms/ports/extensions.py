"""The ports that a shop may implement: gateway, notifier, authenticator, pricing and policy, with their records.

Pass your own to `oms.create`, or name it by import path in the settings.
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
from oms.domain.money import Money
from oms.domain.values import NO_METADATA, Metadata, OrderId, Terms, UserId, checked_id


@attrs.frozen(kw_only=True)
class Charge:
    """A request to capture `amount`, the order's total, from the customer `user_id`.

    `key` is the idempotency key: at most 72 characters of `A-Z a-z 0-9 . _ : -`, the same in every call about this
    order's charge, and never used for another one. `metadata` is the order's own text,
    at most 4 KiB.
    """

    key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    metadata: Metadata = NO_METADATA


@attrs.frozen(kw_only=True)
class Lookup:
    """A question about the charge under `key`; `amount` is the amount that was to be captured.

    `payment_id` is the gateway's id of the payment, or None before an answer with it.
    """

    key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    payment_id: str | None = None
    metadata: Metadata = NO_METADATA


@attrs.frozen(kw_only=True)
class Void:
    """A request to make any capture under `key` impossible; `amount` is the amount that was to be captured.

    `payment_id` is the gateway's id of the payment, or None before an answer with it.
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

    `key` is the idempotency key of this refund. The refund of a whole charge has the key of its charge; refunds of a
    part have keys of their own, at most 200 characters. `payment_id` is the gateway's id of the captured payment, as
    `Captured` had it (shortened if it was too long, see `Captured`).
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

    An id that can't be stored doesn't lose the payment: without an id (None or empty) the charge's key takes its place;
    an id that is too long, or holds U+0000 or a lone surrogate, becomes its first 47 characters, `~`, and 16
    hexadecimal digits of its SHA-256. Both raise an alert.
    """

    payment_id: str


@attrs.frozen
class Authorised:
    """The money is reserved and not taken. `payment_id` as in `Captured`.

    This version captures at once, so it counts as `Unanswered` and raises an alert.
    """

    payment_id: str


@attrs.frozen
class Declined:
    """Refused for good: under this key no money has moved or will move. `reason` is for the log."""

    reason: str = ""


@attrs.frozen
class Voided:
    """A promise: no charge under this key can capture any more."""


@attrs.frozen
class Refunded:
    """The amount is given back, once for the refund's key."""


@attrs.frozen
class UnknownCharge:
    """The gateway knows no charge under this key yet.

    It counts as unknown until the settle window has passed (`OMS_PAYMENT_SETTLE_WINDOW_S`, counted from the charge);
    after that the charge is made again under the same key.
    """


@attrs.frozen
class Pending:
    """The gateway hasn't decided yet. Counts as `Unanswered`; reserved for payments that take days."""

    detail: str = ""


@attrs.frozen
class NotAttempted:
    """The request surely had no effect: a refused connection, an open circuit breaker. `detail` is for the log.

    A charge is then made again after the usual pause, without a look-up and without the settle window. Answer
    `Unanswered` wherever the request may have been sent.
    """

    detail: str = ""


@attrs.frozen
class Unanswered:
    """The outcome is unknown: a time-out, a lost connection, a 5xx. Never taken for `Declined`.

    `detail` is for the log. The call is looked up, or repeated under the same key, until there is an answer.
    """

    detail: str = ""


ChargeAnswer = Captured | Authorised | Declined | Pending | NotAttempted | Unanswered
LookupAnswer = Captured | Authorised | Declined | UnknownCharge | Pending | NotAttempted | Unanswered
VoidAnswer = Voided | Captured | Pending | NotAttempted | Unanswered
RefundAnswer = Refunded | Declined | Pending | NotAttempted | Unanswered
"""The answers that each call of a gateway may return."""


class PaymentGateway(Protocol):
    """Moves the money. Every call has a key: repeating it changes nothing and returns the first definite answer.

    The methods are ordinary functions (not coroutines), called from several threads at once, outside of any
    transaction. A call should return within a few seconds by its own time limit (`OMS_PAYMENT_TIMEOUT_S` is ours).
    An exception, or an answer of another type, counts as `Unanswered`. Keys must be remembered for as long as the order
    can be cancelled. A gateway that also implements `GatewayBook` has its money checked by `oms verify`.
    """

    @abstractmethod
    def charge(self, charge: Charge) -> ChargeAnswer:
        """Capture the amount, at most once for the key. A key that was voided is declined."""

    @abstractmethod
    def lookup(self, lookup: Lookup) -> LookupAnswer:
        """Return the answer to the charge under this key; a later refund doesn't change it. Moves no money."""

    @abstractmethod
    def void(self, void: Void) -> VoidAnswer:
        """Make a later capture under this key impossible, also where the key isn't known yet.

        Returns `Captured` where the money is already taken, and `Voided` where it never will be, declined charges
        included.
        """

    @abstractmethod
    def refund(self, refund: Refund) -> RefundAnswer:
        """Give back the amount, once for the refund's key; all refunds of a charge never exceed its amount.

        `Declined` leaves the money with the shop and raises an alert; the call is repeated.
        """


@attrs.frozen
class Notification:
    """News for the customer `user_id`; an order has at most one notification of each kind."""

    id: str
    """The same at each try: drop repeats by it."""

    order_id: OrderId
    user_id: UserId
    kind: str
    """The topic of the event that it is about, such as `order.confirmed` or `payment.failed`."""

    amount: Money
    """The order's total, or the amount of the payment event."""

    reason: Reason | None = None
    """Why the order or the payment ended; None for a confirmation or a success."""

    metadata: Metadata = NO_METADATA
    """The text that came with the order; empty for the kinds `payment...`, whose events don't carry it."""

    at: datetime | None = None
    """When the service recorded it, with time zone; None if that isn't known."""


class Notifier(Protocol):
    """Delivers notifications to customers, at least once; repeats have the same id."""

    @abstractmethod
    def send(self, notification: Notification) -> None:
        """Deliver a notification and return None.

        `Permanent` parks it at once; after any other exception the delivery is repeated with back-off for 24 h.
        """


class Role(Enum):
    """The rights of a caller."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    TRUSTED = "trusted"
    """No authentication is configured: may act for any user, and as an operator."""


@attrs.frozen
class Principal:
    """The caller of a request. `user_id` is a customer, who sees only their own orders; other roles may omit it.

    `credential` identifies the caller's API key or token without revealing it: each operator's credential has a rate
    limit of its own, and the log of refused requests names it. Without it all operators share one rate limit.
    Raises `InvalidValue` for a customer without a user (nothing would limit it to its own orders), and for an illegal
    id or credential.
    """

    role: Role
    user_id: UserId | None = None
    credential: str | None = attrs.field(default=None, eq=False)

    def __attrs_post_init__(self) -> None:
        """Check role and id."""
        if not isinstance(self.role, Role):
            raise InvalidValue("invalid_role", "the role of a principal must be a Role")
        if self.user_id is not None or self.role is Role.CUSTOMER:
            checked_id(self.user_id, name="user_id")
        if self.credential is not None:
            checked_id(self.credential, name="credential")

    @property
    def owner(self) -> UserId | None:
        """The owner to whose orders this caller is limited; None for callers that may see all orders."""
        return self.user_id if self.role is Role.CUSTOMER else None

    @property
    def scope(self) -> str:
        """The name under which this caller's idempotency keys are kept."""
        return f"{self.role.value}:{self.user_id or ''}"


class Authentication(Enum):
    """How callers prove who they are."""

    NONE = "none"
    """Every caller is trusted: no API keys are configured."""

    API_KEYS = "api keys"
    HOST = "host"
    """A shop's own authenticator decides, such as the one of the application that oms is part of."""


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    @abstractmethod
    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the caller; None if the headers identify none, which gives 401.

        `headers` are those of the request, by name in lower case. `Refused` gives 403; after another exception the
        response is 503. May block: the call runs on a thread, with a time limit.
        """


class Pricing(Protocol):
    """Calculates an order's total. Without pricing, the caller's amount is trusted."""

    @abstractmethod
    def price(self, terms: Terms) -> Money:
        """Return the total to charge for these terms, in their currency.

        `terms` are the customer, items and metadata of the order; `terms.total` is the caller's amount. A `DomainError`
        refuses the order with its code.
        """


class Policy(Protocol):
    """Decides whether an order is accepted, for instance by its risk of fraud or by limits."""

    @abstractmethod
    def check(self, terms: Terms, caller: Principal) -> None:
        """Return None to accept the order; raise `Refused(code, detail)` to refuse it with 403.

        `terms` have the total of the shop's pricing.
        """
