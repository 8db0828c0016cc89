"""The ports that differ from shop to shop. Give your own to `oms.create` or by import path in the settings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Protocol

import attrs

from oms.domain.events import Reason
from oms.domain.money import Money
from oms.domain.values import NO_METADATA, Metadata, OrderId, Terms, UserId


@attrs.frozen
class Charge:
    """What the gateway is asked to capture. `key` is the same in every call about this order."""

    key: str
    order_id: OrderId
    user_id: UserId
    amount: Money
    metadata: Metadata = NO_METADATA


@attrs.frozen
class Captured:
    """The money is taken; `payment_id` is the gateway's own name for it, at most 64 characters."""

    payment_id: str


@attrs.frozen
class Declined:
    """Refused for good: under this key no money moved or will."""

    reason: str = ""


@attrs.frozen
class NotFound:
    """The gateway knows nothing of the key yet. It is taken for unknown until the settle window has passed."""


@attrs.frozen
class Voided:
    """A promise: no charge under this key can capture any more."""


@attrs.frozen
class Refunded:
    """What was captured under this key is given back, once."""


@attrs.frozen
class Unanswered:
    """Nobody knows: a time-out, a lost connection, a 5xx. Never to be taken for declined."""

    detail: str = ""


class PaymentGateway(Protocol):
    """Where the money is. Every call is keyed: repeating it changes nothing and gives the first answer.

    A call should end within its own time-out of a few seconds. An exception is taken for `Unanswered`. Calls may
    come from several threads at once.
    """

    @abstractmethod
    def charge(self, charge: Charge) -> Captured | Declined | Unanswered:
        """Capture the amount, at most once for a key."""

    @abstractmethod
    def lookup(self, key: str) -> Captured | Declined | NotFound | Unanswered:
        """What became of the charge under this key."""

    @abstractmethod
    def void(self, key: str) -> Voided | Captured | Unanswered:
        """Make a later capture under this key impossible, also where the key isn't known yet."""

    @abstractmethod
    def refund(self, key: str) -> Refunded | Unanswered:
        """Give back what was captured under this key."""


@attrs.frozen
class Notification:
    """News for the customer. `id` is the same on each try; there is one of a `kind` (topic) for an order."""

    id: str
    order_id: OrderId
    user_id: UserId
    kind: str
    amount: Money
    reason: Reason | None = None
    metadata: Metadata = NO_METADATA
    at: datetime | None = None


class Notifier(Protocol):
    """Who tells the customer: at least once, with an id to drop repeats by."""

    @abstractmethod
    def send(self, notification: Notification) -> None:
        """Deliver it. `Permanent` makes a dead letter at once; any other exception is tried again for 24 h."""


class Role(Enum):
    """What a caller may do."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    TRUSTED = "trusted"
    """No authentication is configured: may act for any user, and as an operator."""


@attrs.frozen
class Principal:
    """Who is calling. A customer has the `user_id` that owns the orders."""

    role: Role
    user_id: UserId | None = None

    @property
    def owner(self) -> UserId | None:
        """The owner that every query of this caller is limited to; None for whoever may see all."""
        return self.user_id if self.role is Role.CUSTOMER else None

    @property
    def scope(self) -> str:
        """The name under which this caller's idempotency keys are kept."""
        return f"{self.role.value}:{self.user_id or ''}"


class Authenticator(Protocol):
    """Who a request is from."""

    @abstractmethod
    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """The caller by the request's headers (names in lower case); None where nobody is proven: 401."""


class Pricing(Protocol):
    """What an order costs. Without one, the caller's amount is trusted."""

    @abstractmethod
    def price(self, terms: Terms) -> Money:
        """The total to charge for these terms, whose `total` is the caller's amount; may raise `DomainError`."""


class Policy(Protocol):
    """A shop's last word before an order is accepted: fraud, limits."""

    @abstractmethod
    def check(self, terms: Terms, caller: Principal) -> None:
        """Return to accept; raise `Refused(code, detail)` to refuse: the caller gets 403 and no order."""
