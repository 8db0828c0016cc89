"""`oms stock` and `oms dlq`: commands on a running system, through its HTTP API."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from cyclopts import App, Parameter

from oms.entrypoints.cli.client import HERE, InventoryRemote, Key, Number, Remote, Size, segment
from oms.entrypoints.cli.responses import print_many, print_one, print_page

stock = App(name="stock", help="Show, count and receive stock of a running system.")
dlq = App(name="dlq", help="Dead letters: list, show, redrive or discard them.")

STOCK_HERE = InventoryRemote()
STOCK = ("productId", "onHand", "held", "available")
LETTERS = ("id", "service", "topic", "orderId", "cause", "attempts", "parkedAt", "state")
LETTER = (*LETTERS[:3], "partition", "offset", "group", *LETTERS[3:5], "detail", *LETTERS[5:], "text")

Product = Annotated[str, Parameter(help="The product's id (SKU).")]
Letter = Annotated[str, Parameter(help="The dead letter's id, as `oms dlq list` shows it.")]


@stock.command(name="show")
def show_stock(product: Product, *, remote: InventoryRemote = STOCK_HERE) -> None:
    """Show the stock of a product: on hand, held by open orders, available."""
    print_one(remote, remote.request("GET", f"/stock/{segment(product)}"), STOCK)


@stock.command(name="list")
def list_stock(*, page: Number = 0, size: Size = 50, remote: InventoryRemote = STOCK_HERE) -> None:
    """List products by their ids."""
    print_page(remote, remote.request("GET", f"/stock?{urlencode({'page': page, 'size': size})}"), STOCK, "products")


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
    print_one(remote, remote.request("PUT", f"/stock/{segment(product)}", body, idempotency_key=idempotency_key), STOCK)


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
    print_one(
        remote, remote.request("POST", f"/stock/{segment(product)}/add", body, idempotency_key=idempotency_key), STOCK
    )


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
    print_many(remote, answer, answer, LETTERS, f"no dead letters are {state.upper()}")


@dlq.command(name="show")
def show_letter(letter: Letter, *, remote: Remote = HERE) -> None:
    """Show a dead letter: its cause and the original message."""
    print_one(remote, remote.request("GET", f"/dead-letters/{segment(letter)}"), LETTER)


@dlq.command
def redrive(letter: Letter, *, remote: Remote = HERE) -> None:
    """Redrive a dead letter: handle it again now. If it fails again, it stays parked."""
    print_one(remote, remote.request("POST", f"/dead-letters/{segment(letter)}/redrive"), LETTER)


@dlq.command
def discard(letter: Letter, *, remote: Remote = HERE) -> None:
    """Discard a dead letter."""
    print_one(remote, remote.request("POST", f"/dead-letters/{segment(letter)}/discard"), LETTER)
