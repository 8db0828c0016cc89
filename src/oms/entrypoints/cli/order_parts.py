"""The commands of `oms orders` after a confirmation: ship, refund, and decide about refused refunds."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from oms.domain.refund import RefundKind
from oms.entrypoints.cli.client import HERE, Key, Order, Remote, amount_of, segment
from oms.entrypoints.cli.order_lines import items_of
from oms.entrypoints.cli.order_output import REFUNDS, SHIPMENTS, print_order, print_part, print_parts

Kind = Annotated[
    RefundKind,
    Parameter(
        help="cancel: units that weren't shipped leave the order; return: shipped units came back; goodwill: money."
    ),
]
Refund = Annotated[
    str,
    Parameter(help="The refused refund's id, as `oms orders refunds` shows it; `whole` for that of a cancelled order."),
]
Why = Annotated[str, Parameter(help="The reason, for the record.")]


def ship(
    order: Order,
    *,
    item: Annotated[
        list[str] | None, Parameter(negative="", help="SKU=QUANTITY; repeatable. Without it, all open units.")
    ] = None,
    carrier: Annotated[str | None, Parameter(help="The carrier's name, for the customer.")] = None,
    tracking_number: Annotated[str | None, Parameter(help="The parcel's tracking number, for the customer.")] = None,
    idempotency_key: Key = None,
    remote: Remote = HERE,
) -> None:
    """Ship units of a confirmed order: `oms orders ship ID --item lamp=1 --carrier DHL`.

    The order is FULFILLING while units are open (neither cancelled nor shipped), and COMPLETED afterwards.
    """
    named = {"carrier": carrier, "trackingNumber": tracking_number}
    body: dict[str, object] = {name: value for name, value in named.items() if value is not None}
    if item:
        body["items"] = items_of(item)
    path = f"/orders/{segment(order)}/shipments"
    print_part(remote, remote.request("POST", path, body, idempotency_key=idempotency_key), SHIPMENTS)


def shipments(order: Order, *, remote: Remote = HERE) -> None:
    """List the shipments of an order, the oldest first."""
    found = remote.request("GET", f"/orders/{segment(order)}/shipments")
    print_parts(remote, found, SHIPMENTS, "no shipments")


def refund(
    order: Order,
    kind: Kind,
    *,
    reason: Annotated[str, Parameter(help="The reason; the customer can read it.")],
    item: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="SKU=QUANTITY; repeatable. Without it, all units that can be cancelled or returned."
        ),
    ] = None,
    amount: Annotated[
        str | None,
        Parameter(help="Amount such as 12.50. Without it, the share of the lines' amounts; required without these."),
    ] = None,
    restock: Annotated[
        bool | None, Parameter(help="Put the units back into stock. Default: yes to cancel, no to return.")
    ] = None,
    idempotency_key: Key = None,
    remote: Remote = HERE,
) -> None:
    """Refund units or money of a confirmed order: `oms orders refund ID cancel --item lamp=1 --reason broken`.

    The refund is DUE; the payment service calls the gateway afterwards. See `oms orders refunds`.
    """
    body: dict[str, object] = {"kind": kind.value, "reason": reason}
    if item:
        body["items"] = items_of(item)
    if amount is not None:
        body["amount"] = amount_of(amount)
    if restock is not None:
        body["restock"] = restock
    path = f"/orders/{segment(order)}/refunds"
    print_part(remote, remote.request("POST", path, body, idempotency_key=idempotency_key), REFUNDS)


def refunds(order: Order, *, remote: Remote = HERE) -> None:
    """List the refunds of an order, the oldest first, with the gateway's refusals."""
    found = remote.request("GET", f"/orders/{segment(order)}/refunds")
    print_parts(remote, found, REFUNDS, "no refunds")


def retry(order: Order, refund: Refund, *, why: Why, idempotency_key: Key = None, remote: Remote = HERE) -> None:
    """Call the payment gateway again for a refund that it refused."""
    _decide("retry", order, refund, why, idempotency_key, remote)


def resolve(order: Order, refund: Refund, *, why: Why, idempotency_key: Key = None, remote: Remote = HERE) -> None:
    """Record that a refused refund was paid outside of the payment gateway; the gateway isn't called."""
    _decide("resolve", order, refund, why, idempotency_key, remote)


def _decide(what: str, order: str, refund: str, why: str, key: str | None, remote: Remote) -> None:
    path = f"/orders/{segment(order)}/payment/{what}"
    print_order(remote, remote.request("POST", path, {"of": refund, "why": why}, idempotency_key=key))
