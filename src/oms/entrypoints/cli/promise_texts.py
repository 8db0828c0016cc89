"""A short description of each promise, and the reasons why `oms verify` doesn't check some of them."""

from __future__ import annotations

PROMISES = {
    "P1": "no oversell: 0 <= held <= on hand",
    "P2": "stock is its ledger's fold; no hold outlives its order",
    "P3": "each effect exactly once",
    "P4": "money, by the gateway's own book",
    "P5": "only the state tables' transitions; no gap",
    "P6": "every order settles in time",
    "P7": "what was decided was published",
    "P8": "copies of a message are equal",
    "P9": "nothing is dropped: handled or parked",
    "P10": "what was answered is there",
    "P11": "nobody reaches another's order",
}
NOT_ON_RECORD = {
    "P4": "not checked: there is no gateway's book to compare with the orders",
    "P9": "not checked: work is under way, and nothing tells how far the services have read",
    "P11": "not checkable on a record; tested route by route",
}
