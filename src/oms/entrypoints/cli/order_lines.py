"""Items, lines and charges of an order in the arguments of a command."""

from __future__ import annotations

import re
from collections.abc import Sequence

from oms.entrypoints.cli.client import WRONG_USE, amount_of
from oms.entrypoints.cli.output import give_up

LINE_FORM = "SKU=QUANTITY[@AMOUNT][:NAME]"
CHARGE_FORM = "KIND=AMOUNT"
_UNITS = re.compile(r"-?[0-9]{1,20}")
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


def items_of(entries: Sequence[str]) -> dict[str, int]:
    """Return the `items` of a request, summed by product; ends the command if an entry isn't SKU=QUANTITY."""
    summed: dict[str, int] = {}
    for entry in entries:
        sku, units = pair_of("--item", entry)
        if not _UNITS.fullmatch(units):
            give_up(f"--item {entry}: SKU=QUANTITY is wanted", WRONG_USE)
        summed[sku] = summed.get(sku, 0) + int(units)
    return summed


def pair_of(option: str, entry: str) -> tuple[str, str]:
    """Return name and value of an entry NAME=VALUE; ends the command, naming the option, if it has another form."""
    name, found, value = entry.partition("=")
    if not found:
        give_up(f"{option} {entry}: {'SKU=QUANTITY' if option == '--item' else 'NAME=VALUE'} is wanted", WRONG_USE)
    return name, value
