"""Lines and charges of an order on the command line: read from arguments, and printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oms.entrypoints.cli.client import WRONG_USE, amount_of
from oms.entrypoints.cli.output import give_up

LINE_FORM = "SKU=QUANTITY[@AMOUNT][:NAME]"
CHARGE_FORM = "KIND=AMOUNT"
_LINE = re.compile(r"([^=]*)=(-?[0-9]{1,20})(?:@([^:]*))?(?::(.*))?", re.DOTALL)


def lines_of(entries: Sequence[str]) -> list[dict[str, object]]:
    """Return the `lines` of a request; ends the command if an entry has another form than `LINE_FORM`."""
    return [_line(entry) for entry in entries]


def _line(entry: str) -> dict[str, object]:
    found = _LINE.fullmatch(entry)
    if found is None:
        give_up(f"--line {entry}: {LINE_FORM} is wanted", WRONG_USE)
    sku, units, amount, name = found.groups()
    line: dict[str, object] = {"productId": sku, "quantity": int(units)}
    if amount is not None:
        line["amount"] = amount_of(amount, "--line")
    if name is not None:
        line["name"] = name
    return line


def charges_of(entries: Sequence[str]) -> list[dict[str, object]]:
    """Return the `charges` of a request; ends the command if an entry has another form than `CHARGE_FORM`."""
    charges: list[dict[str, object]] = []
    for entry in entries:
        kind, found, amount = entry.partition("=")
        if not found:
            give_up(f"--charge {entry}: {CHARGE_FORM} is wanted", WRONG_USE)
        charges.append({"kind": kind, "amount": amount_of(amount, "--charge")})
    return charges


def shown(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return an order of a response with lines and charges as text for people, if it has some."""
    found = dict(order)
    if order.get("lines"):
        found["lines"] = ", ".join(_text(order["lines"]))
    if order.get("charges"):
        found["charges"] = ", ".join(f"{charge['kind']} {charge['amount']}" for charge in order["charges"])
    return found


def _text(lines: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for line in lines:
        amount = f" for {line['amount']}" if line.get("amount") is not None else ""
        name = f" ({line['name']})" if line.get("name") is not None else ""
        yield f"{line['quantity']} {line['productId']}{amount}{name}"
