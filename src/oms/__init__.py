"""Orders that settle exactly once: a library, a service and a test harness on one set of handlers.

    app = oms.create(profile="embedded", data="orders")
    with app:
        app.stock.set("apple", 40)
        order = app.orders.place(app.draft("customer-1", "19.90", {"apple": 2}))

Everything that is named here is public and follows Semantic Versioning, as do `oms.ports` and `oms.testing`.
Nothing is imported before it is used, and nothing is opened before an app is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oms.application.steps.context import OutsideCall, StepContext
    from oms.bootstrap.app import App
    from oms.bootstrap.create import CreateArguments, create
    from oms.bootstrap.operators import verify
    from oms.domain.commands import AddStock, CancelOrder, InstructPayment, PlaceOrder, RefundOrder, SetStock, ShipOrder
    from oms.domain.errors import Conflict, DomainError, InvalidValue, KeyReused, NotFound, OmsError, Refused
    from oms.domain.events import (
        Event,
        InventoryRejected,
        InventoryReleased,
        InventoryReserved,
        OrderCancelled,
        OrderCancelling,
        OrderCompleted,
        OrderConfirmed,
        OrderCreated,
        OrderPaymentInstructed,
        OrderRefundRequested,
        OrderRejected,
        OrderShipped,
        PaymentFailed,
        PaymentRefunded,
        PaymentRefundFailed,
        PaymentRefundPaid,
        PaymentSucceeded,
        PaymentVoided,
        Reason,
    )
    from oms.domain.lines import OrderCharge, OrderLine
    from oms.domain.money import Currency, Money
    from oms.domain.order import Order
    from oms.domain.order_table import OrderState
    from oms.domain.refund import Instruction, OrderRefund, RefundKind, RefundState
    from oms.domain.shipment import Shipment
    from oms.domain.stock import Stock
    from oms.domain.terms import Terms
    from oms.domain.values import OrderId, Sku, UserId
    from oms.entrypoints.http import asgi
    from oms.operations.promises import Report, Violation
    from oms.ports.errors import OutcomeUnknown, Permanent, Retryable, SettingsError
    from oms.ports.evidence import BookEntry, BookKind, GatewayBook
    from oms.ports.extensions import (
        Authenticator,
        Authorised,
        Captured,
        Charge,
        Declined,
        Lookup,
        LookupOf,
        NotAttempted,
        Notification,
        Notifier,
        PaymentGateway,
        Pending,
        Policy,
        Pricing,
        Principal,
        Refund,
        Refunded,
        Role,
        Unanswered,
        UnknownCharge,
        Void,
        Voided,
    )
    from oms.ports.messages import AnyEvent, CustomEvent
    from oms.ports.webhook import verify_signature
    from oms.settings import Settings, load_settings

__version__ = "0.1.0"

_WHERE = {
    "oms.operations.promises": "Report Violation",
    "oms.application.steps.context": "OutsideCall StepContext",
    "oms.domain.commands": "AddStock CancelOrder InstructPayment PlaceOrder RefundOrder SetStock ShipOrder",
    "oms.domain.errors": "Conflict DomainError InvalidValue KeyReused NotFound OmsError Refused",
    "oms.domain.events": (
        "Event InventoryRejected InventoryReleased InventoryReserved OrderCancelled OrderCancelling OrderConfirmed "
        "OrderCompleted OrderCreated OrderPaymentInstructed OrderRefundRequested OrderRejected OrderShipped "
        "PaymentFailed PaymentRefundFailed PaymentRefundPaid PaymentRefunded PaymentSucceeded PaymentVoided Reason"
    ),
    "oms.domain.lines": "OrderCharge OrderLine",
    "oms.domain.money": "Currency Money",
    "oms.domain.order": "Order",
    "oms.domain.order_table": "OrderState",
    "oms.domain.refund": "Instruction OrderRefund RefundKind RefundState",
    "oms.domain.shipment": "Shipment",
    "oms.domain.stock": "Stock",
    "oms.domain.terms": "Terms",
    "oms.domain.values": "OrderId Sku UserId",
    "oms.bootstrap.app": "App",
    "oms.bootstrap.create": "CreateArguments create",
    "oms.bootstrap.operators": "verify",
    "oms.entrypoints.http": "asgi",
    "oms.ports.errors": "OutcomeUnknown Permanent Retryable SettingsError",
    "oms.ports.evidence": "BookEntry BookKind GatewayBook",
    "oms.ports.messages": "AnyEvent CustomEvent",
    "oms.ports.extensions": (
        "Authenticator Authorised Captured Charge Declined Lookup LookupOf NotAttempted Notification Notifier "
        "PaymentGateway Pending Policy Pricing Principal Refund Refunded Role Unanswered UnknownCharge Void Voided"
    ),
    "oms.ports.webhook": "verify_signature",
    "oms.settings": "Settings load_settings",
}
_HOME = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = [  # noqa: RUF022 - in the order of the modules above
    "Report",
    "Violation",
    "OutsideCall",
    "StepContext",
    "AddStock",
    "CancelOrder",
    "InstructPayment",
    "PlaceOrder",
    "RefundOrder",
    "SetStock",
    "ShipOrder",
    "Conflict",
    "DomainError",
    "InvalidValue",
    "KeyReused",
    "NotFound",
    "OmsError",
    "Refused",
    "Event",
    "InventoryRejected",
    "InventoryReleased",
    "InventoryReserved",
    "OrderCancelled",
    "OrderCancelling",
    "OrderConfirmed",
    "OrderCompleted",
    "OrderCreated",
    "OrderPaymentInstructed",
    "OrderRefundRequested",
    "OrderRejected",
    "OrderShipped",
    "PaymentFailed",
    "PaymentRefundFailed",
    "PaymentRefundPaid",
    "PaymentRefunded",
    "PaymentSucceeded",
    "PaymentVoided",
    "Reason",
    "OrderCharge",
    "OrderLine",
    "Currency",
    "Money",
    "Order",
    "OrderState",
    "Instruction",
    "OrderRefund",
    "RefundKind",
    "RefundState",
    "Shipment",
    "Stock",
    "Terms",
    "OrderId",
    "Sku",
    "UserId",
    "App",
    "CreateArguments",
    "create",
    "verify",
    "asgi",
    "OutcomeUnknown",
    "Permanent",
    "Retryable",
    "SettingsError",
    "BookEntry",
    "BookKind",
    "GatewayBook",
    "AnyEvent",
    "CustomEvent",
    "Authenticator",
    "Authorised",
    "Captured",
    "Charge",
    "Declined",
    "Lookup",
    "LookupOf",
    "NotAttempted",
    "Notification",
    "Notifier",
    "PaymentGateway",
    "Pending",
    "Policy",
    "Pricing",
    "Principal",
    "Refund",
    "Refunded",
    "Role",
    "Unanswered",
    "UnknownCharge",
    "Void",
    "Voided",
    "verify_signature",
    "Settings",
    "load_settings",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'oms' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
