"""A short description of each promise, and the reasons why `oms verify` doesn't check some of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

PROMISES = {
    "P1": "no oversell: 0 <= held <= on hand",
    "P2": "stock equals the sum of its ledger; no hold outlives its order",
    "P3": "each message takes effect exactly once",
    "P4": "money: the gateway's book agrees with the orders and their refunds",
    "P5": "orders take only transitions of the state tables; their history has no gap",
    "P6": "every order settles within its deadline",
    "P7": "every committed event was published",
    "P8": "copies of a message are equal",
    "P9": "nothing is dropped: handled or parked",
    "P10": "every accepted order is stored",
    "P11": "no caller reaches another's order",
    "P12": "no unit is cancelled, shipped or returned twice; every refund is paid or waits for an operator",
}
NOT_ON_RECORD = {
    "P4": "not checked: the gateway shows no book to compare with the orders",
    "P9": "not checked: work is in progress, and the record doesn't say how far the services have read",
    "P11": "not checkable on stored data; tested for each route",
}


def short_list(names: Iterable[str]) -> str:
    """Return the names of promises, in their order, with a range for three or more in a row: `P1 to P10, P12`."""
    numbers = sorted(int(name[1:]) for name in names)
    rows = [[number for _, number in row] for _, row in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(
        f"P{row[0]} to P{row[-1]}" if len(row) > 2 else ", ".join(f"P{number}" for number in row) for row in rows
    )
