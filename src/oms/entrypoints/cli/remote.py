"""`oms orders`, `oms stock` and `oms dlq`: commands on a running system, through its HTTP API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from cyclopts import App, Parameter

from oms.entrypoints.cli.client import WRONG_USE, InventoryRemote, Remote, amount_of, segment
from oms.entrypoints.cli.order_lines import CHARGE_FORM, LINE_FORM, charges_of, lines_of, shown
from oms.entrypoints.cli.output import console, give_up, show_json, show_list, show_one
from oms.entrypoints.cli.output import timeline as drawn

orders = App(name="orders", help="Place, show, list and cancel orders of a running system.")
stock = App(name="stock", help="Show, count and receive stock of a running system.")
dlq = App(name="dlq", help="Dead letters: list, show, redrive or discard them.")

HERE = Remote()
STOCK_HERE = InventoryRemote()
_UNITS = re.compile(r"-?[0-9]{1,20}")
ORDER = ("id", "status", "reason", "totalAmount", "currency", "userId", "items", "lines", "charges", "metadata")
LISTED = ("id", "status", "reason", "totalAmount", "userId", "items")
STOCK = ("productId", "onHand", "held", "available")
LETTERS = ("id", "service", "topic", "orderId", "cause", "attempts", "parkedAt", "state")
LETTER = (*LETTERS[:3], "partition", "offset", "group", *LETTERS[3:5], "detail", *LETTERS[5:], "text")

Order = Annotated[str, Parameter(help="The order's id.")]
Product = Annotated[str, Parameter(help="The product's id (SKU).")]
Letter = Annotated[str, Parameter(help="The dead letter's id, as `oms dlq list` shows it.")]
Key = Annotated[
    str | None,
    Parameter(name="--idempotency-key", help="Repeating the command with this key has no second effect, for 24 h."),
]
Number = Annotated[int, Parameter(name="--page", help="Number of the page, from 0.")]
Size = Annotated[int, Parameter(name="--size", help="Rows of a page, at most 100.")]


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
        body["items"] = _items(item)
    if line:
        body["lines"] = lines_of(line)
    if charge:
        body["charges"] = charges_of(charge)
    if metadata:
        body["metadata"] = dict(_pair("--metadata", entry) for entry in metadata)
    _one(remote, remote.request("POST", "/orders", body, idempotency_key=idempotency_key), ORDER)


@orders.command(name="show")
def show_order(order: Order, *, remote: Remote = HERE) -> None:
    """Show an order."""
    _one(remote, remote.request("GET", f"/orders/{segment(order)}"), ORDER)


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
    _page(remote, answer, LISTED, "orders")


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
    _one(
        remote, remote.request("POST", f"/orders/{segment(order)}/cancel", body, idempotency_key=idempotency_key), ORDER
    )


@orders.command
def resume(order: Order, *, remote: Remote = HERE) -> None:
    """Resume an order that was imported from the Spring system (LEGACY), as if it were placed now."""
    _one(remote, remote.request("POST", f"/orders/{segment(order)}/resume"), ORDER)


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


@stock.command(name="show")
def show_stock(product: Product, *, remote: InventoryRemote = STOCK_HERE) -> None:
    """Show the stock of a product: on hand, held by open orders, available."""
    _one(remote, remote.request("GET", f"/stock/{segment(product)}"), STOCK)


@stock.command(name="list")
def list_stock(*, page: Number = 0, size: Size = 50, remote: InventoryRemote = STOCK_HERE) -> None:
    """List products by their ids."""
    _page(remote, remote.request("GET", f"/stock?{urlencode({'page': page, 'size': size})}"), STOCK, "products")


@stock.command(name="set")
def set_stock(
    product: Product,
    on_hand: Annotated[int, Parameter(help="Units that were counted; not less than the held units.")],
    *,
    idempotency_key: Key = None,
    remote: InventoryRemote = STOCK_HERE,
) -> None:
    """Set the units on hand of a product, after a count."""
    body = {"onHand": on_hand}
    _one(remote, remote.request("PUT", f"/stock/{segment(product)}", body, idempotency_key=idempotency_key), STOCK)


@stock.command(name="add")
def add_stock(
    product: Product,
    delta: Annotated[
        int, Parameter(allow_leading_hyphen=True, help="Units to add; a negative number writes units off.")
    ],
    *,
    idempotency_key: Key = None,
    remote: InventoryRemote = STOCK_HERE,
) -> None:
    """Receive units of a product, or write them off."""
    body = {"delta": delta}
    _one(remote, remote.request("POST", f"/stock/{segment(product)}/add", body, idempotency_key=idempotency_key), STOCK)


@dlq.command(name="list")
def list_letters(
    *,
    state: Annotated[str, Parameter(help="PARKED, REDRIVEN or DISCARDED.")] = "PARKED",
    service: Annotated[str | None, Parameter(help="Only dead letters of this service.")] = None,
    limit: Annotated[int, Parameter(help="Most rows, up to 1000.")] = 100,
    remote: Remote = HERE,
) -> None:
    """List dead letters, the oldest first."""
    query = {"state": state.upper(), "limit": limit} | ({"service": service} if service else {})
    answer = remote.request("GET", f"/dead-letters?{urlencode(query)}")
    _many(remote, answer, answer, LETTERS, f"no dead letters are {state.upper()}")


@dlq.command(name="show")
def show_letter(letter: Letter, *, remote: Remote = HERE) -> None:
    """Show a dead letter: its cause and the original message."""
    _one(remote, remote.request("GET", f"/dead-letters/{segment(letter)}"), LETTER)


@dlq.command
def redrive(letter: Letter, *, remote: Remote = HERE) -> None:
    """Redrive a dead letter: handle it again now. If it fails again, it stays parked."""
    _one(remote, remote.request("POST", f"/dead-letters/{segment(letter)}/redrive"), LETTER)


@dlq.command
def discard(letter: Letter, *, remote: Remote = HERE) -> None:
    """Discard a dead letter."""
    _one(remote, remote.request("POST", f"/dead-letters/{segment(letter)}/discard"), LETTER)


def _one(remote: Remote, answer: dict[str, object], names: Sequence[str]) -> None:
    if remote.json:
        show_json(answer)
        return
    with remote.reading():
        show_one(shown(answer), names)


def _many(
    remote: Remote, answer: object, rows: Sequence[dict[str, object]], columns: Sequence[str], nothing: str
) -> None:
    if remote.json:
        show_json(answer)
        return
    with remote.reading():
        show_list(rows, columns, nothing)


def _page(remote: Remote, answer: dict[str, Any], columns: Sequence[str], what: str) -> None:
    """Print one page and, if there are more, its number and that of the last one."""
    with remote.reading():
        rows, last = answer["content"], (answer["totalElements"] - 1) // answer["size"]
    _many(remote, answer, rows, columns, f"no {what}")
    if not remote.json and last > 0:
        console().print(f"[dim]page {answer['number']}, the last is {last}; {answer['totalElements']} {what}[/]")


def _items(entries: Sequence[str]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for entry in entries:
        sku, units = _pair("--item", entry)
        if not _UNITS.fullmatch(units):
            give_up(f"--item {entry}: SKU=QUANTITY is wanted", WRONG_USE)
        summed[sku] = summed.get(sku, 0) + int(units)
    return summed


def _pair(option: str, entry: str) -> tuple[str, str]:
    name, found, value = entry.partition("=")
    if not found:
        give_up(f"{option} {entry}: {'SKU=QUANTITY' if option == '--item' else 'NAME=VALUE'} is wanted", WRONG_USE)
    return name, value
