"""`oms orders`, `oms stock` and `oms dlq`: a running system, through its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from oms.entrypoints.cli.client import DEFAULT_URL, Client, give_up

orders = App(name="orders", help="Place, show, list and cancel orders of a running system.")
stock = App(name="stock", help="Show, count and receive stock of a running system.")
dlq = App(name="dlq", help="What couldn't be handled: list, show, redrive, discard.")

Url = Annotated[str, Parameter(name="--url", help="Where the system listens")]
ApiKey = Annotated[str | None, Parameter(name="--key", help="API key")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the answer as JSON")]


def _show(answer: Any, as_json: bool, columns: Sequence[str]) -> None:  # noqa: FBT001
    if as_json:
        print(json.dumps(answer, indent=2))  # noqa: T201 - the command's output
        return
    rows = answer if isinstance(answer, list) else [answer]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{units} x {sku}" for sku, units in value.items())
    return "" if value is None else str(value)


ORDER = ("id", "status", "reason", "totalAmount", "userId", "items")
STOCK = ("productId", "onHand", "held", "available")
LETTER = ("id", "service", "topic", "orderId", "cause", "detail", "attempts", "parkedAt", "state")


@orders.command
def place(
    *,
    user: str,
    amount: str,
    item: Annotated[list[str], Parameter(help="sku=quantity; once for each product")],
    metadata: Annotated[list[str] | None, Parameter(help="name=value")] = None,
    idempotency_key: str | None = None,
    url: Url = DEFAULT_URL,
    key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Place an order."""
    body: dict[str, object] = {"userId": user, "amount": _number(amount), "items": _items(item)}
    if metadata:
        body["metadata"] = dict(_pair(entry) for entry in metadata)
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    _show(Client(url, key).ask("POST", "/orders", body, headers), as_json, ORDER)


@orders.command
def show(order: str, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """Show an order."""
    _show(Client(url, key).ask("GET", f"/orders/{quote(order, safe='')}"), as_json, ORDER)


@orders.command
def timeline(order: str, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """Show what happened to an order."""
    answer = Client(url, key).ask("GET", f"/orders/{quote(order, safe='')}/timeline")
    _show(answer, as_json, ("seq", "at", "trigger", "before", "after"))


@orders.command(name="list")
def list_orders(
    *,
    user: str | None = None,
    page: int = 0,
    size: int = 10,
    url: Url = DEFAULT_URL,
    key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List orders, the newest first."""
    query = urlencode({"page": page, "size": size} | ({"userId": user} if user else {}))
    answer = Client(url, key).ask("GET", f"/orders?{query}")
    _show(answer if as_json else answer["content"], as_json, ORDER)


@orders.command
def cancel(
    order: str, *, operator: bool = False, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False
) -> None:
    """Cancel an order; with --operator also a confirmed one: refunded and restocked."""
    body = {"by": "operator"} if operator else None
    _show(Client(url, key).ask("POST", f"/orders/{quote(order, safe='')}/cancel", body), as_json, ORDER)


@stock.command(name="show")
def show_stock(
    product: str | None = None, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False
) -> None:
    """Show a product, or the first hundred."""
    client = Client(url, key)
    if product:
        _show(client.ask("GET", f"/stock/{quote(product, safe='')}"), as_json, STOCK)
        return
    answer = client.ask("GET", "/stock?size=100")
    _show(answer if as_json else answer["content"], as_json, STOCK)


@stock.command(name="set")
def set_stock(product: str, on_hand: int, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """Count a product: so many are on hand."""
    _show(Client(url, key).ask("PUT", f"/stock/{quote(product, safe='')}", {"onHand": on_hand}), as_json, STOCK)


@stock.command(name="add")
def add_stock(
    product: str,
    delta: Annotated[int, Parameter(allow_leading_hyphen=True)],
    *,
    url: Url = DEFAULT_URL,
    key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Receive units, or (negative) write them off."""
    _show(Client(url, key).ask("POST", f"/stock/{quote(product, safe='')}/add", {"delta": delta}), as_json, STOCK)


@dlq.command(name="list")
def list_letters(*, state: str = "PARKED", url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """List dead letters, the oldest first."""
    _show(Client(url, key).ask("GET", f"/dead-letters?{urlencode({'state': state})}"), as_json, LETTER)


@dlq.command(name="show")
def show_letter(letter: str, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """Show a dead letter with what it holds."""
    answer = Client(url, key).ask("GET", f"/dead-letters/{quote(letter, safe='')}")
    _show(answer, as_json, (*LETTER, "text"))


@dlq.command
def redrive(letter: str, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """Handle it once more, now."""
    _show(Client(url, key).ask("POST", f"/dead-letters/{quote(letter, safe='')}/redrive"), as_json, LETTER)


@dlq.command
def discard(letter: str, *, url: Url = DEFAULT_URL, key: ApiKey = None, as_json: Json = False) -> None:
    """Give it up."""
    _show(Client(url, key).ask("POST", f"/dead-letters/{quote(letter, safe='')}/discard"), as_json, LETTER)


def _items(entries: Sequence[str]) -> dict[str, int]:
    summed: dict[str, int] = {}
    for entry in entries:
        sku, units = _pair(entry)
        if not units.lstrip("-").isdigit():
            give_up(f"--item {entry}: sku=quantity is wanted", 2)
        summed[sku] = summed.get(sku, 0) + int(units)
    return summed


def _pair(entry: str) -> tuple[str, str]:
    name, found, value = entry.partition("=")
    if not found:
        give_up(f"{entry}: name=value is wanted", 2)
    return name, value


def _number(text: str) -> float | int:
    try:
        exact = Decimal(text)
    except ArithmeticError:
        give_up(f"--amount {text}: a number is wanted", 2)
    return int(exact) if exact == exact.to_integral_value() else float(exact)
