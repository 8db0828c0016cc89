"""`oms orders`: commands on the orders of a running system, through its HTTP API."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from cyclopts import App, Parameter

from oms.entrypoints.cli.client import HERE, WRONG_USE, Key, Number, Order, Remote, Size, amount_of, segment
from oms.entrypoints.cli.order_lines import CHARGE_FORM, LINE_FORM, charges_of, items_of, lines_of, pair_of
from oms.entrypoints.cli.order_output import print_order
from oms.entrypoints.cli.order_parts import refund, refunds, resolve, retry, ship, shipments
from oms.entrypoints.cli.output import console, give_up, show_json
from oms.entrypoints.cli.output import timeline as drawn
from oms.entrypoints.cli.responses import print_page

orders = App(name="orders", help="Place, show, list, cancel, ship and refund orders of a running system.")
for command in (ship, shipments, refund, refunds, retry, resolve):
    orders.command(command)

LISTED = ("id", "status", "reason", "totalAmount", "userId", "items")


@orders.command
def place(
    *,
    user: Annotated[str, Parameter(help="The customer's user id.")],
    amount: Annotated[str, Parameter(help="Total in the system's currency, such as 12.50.")],
    item: Annotated[list[str] | None, Parameter(negative="", help="SKU=QUANTITY; once for each product.")] = None,
    line: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help=f"{LINE_FORM}, instead of --item; once for each product. AMOUNT is the price of the whole line.",
        ),
    ] = None,
    charge: Annotated[
        list[str] | None,
        Parameter(negative="", help=f"{CHARGE_FORM}: a part of the total that belongs to no product; repeatable."),
    ] = None,
    metadata: Annotated[
        list[str] | None, Parameter(negative="", help="NAME=VALUE, stored with the order; repeatable.")
    ] = None,
    idempotency_key: Key = None,
    remote: Remote = HERE,
) -> None:
    """Place an order: `oms orders place --user ann --amount 12.50 --item apple=2 --item pear=1`.

    Products need stock first (`oms stock set apple 40`): an order of an unknown product is rejected, unless
    OMS_DEFAULT_STOCK gives unknown products some.

    With prices: `--amount 34.90 --line "lamp=2@30:Desk lamp" --charge shipping=4.90`. Amounts of lines and charges add
    up to the total.
    """
    if not (item or line):
        give_up("--item or --line is wanted", WRONG_USE)
    body: dict[str, object] = {"userId": user, "amount": amount_of(amount)}
    if item:
        body["items"] = items_of(item)
    if line:
        body["lines"] = lines_of(line)
    if charge:
        body["charges"] = charges_of(charge)
    if metadata:
        body["metadata"] = dict(pair_of("--metadata", entry) for entry in metadata)
    print_order(remote, remote.request("POST", "/orders", body, idempotency_key=idempotency_key))


@orders.command(name="show")
def show_order(order: Order, *, remote: Remote = HERE) -> None:
    """Show an order."""
    print_order(remote, remote.request("GET", f"/orders/{segment(order)}"))


@orders.command(name="list")
def list_orders(
    *,
    user: Annotated[str | None, Parameter(help="Only orders of this user.")] = None,
    page: Number = 0,
    size: Size = 10,
    remote: Remote = HERE,
) -> None:
    """List orders, the newest first."""
    query = {"page": page, "size": size} | ({"userId": user} if user else {})
    answer = remote.request("GET", f"/orders?{urlencode(query)}")
    print_page(remote, answer, LISTED, "orders")


@orders.command
def cancel(
    order: Order,
    *,
    operator: Annotated[
        bool,
        Parameter(
            negative="", help="As an operator: also cancel a confirmed order; it is refunded and its stock is returned."
        ),
    ] = False,
    idempotency_key: Key = None,
    remote: Remote = HERE,
) -> None:
    """Cancel an order. Its payment is refunded first, then its stock is returned; see `oms orders timeline`."""
    body = {"by": "operator"} if operator else None
    path = f"/orders/{segment(order)}/cancel"
    print_order(remote, remote.request("POST", path, body, idempotency_key=idempotency_key))


@orders.command
def resume(order: Order, *, remote: Remote = HERE) -> None:
    """Resume an order that was imported from the Spring system (LEGACY), as if it were placed now."""
    print_order(remote, remote.request("POST", f"/orders/{segment(order)}/resume"))


@orders.command
def timeline(order: Order, *, remote: Remote = HERE) -> None:
    """Show the history of an order in the order service, with the time since it was placed."""
    answer = remote.request("GET", f"/orders/{segment(order)}/timeline")
    if remote.json:
        show_json(answer)
        return
    with remote.reading():
        drawing = drawn(answer)
    console().print(drawing)
