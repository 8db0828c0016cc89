"""A short description of each promise, and the reasons why `oms verify` doesn't check some of them."""

from __future__ import annotations

PROMISES = {
    "P1": "no oversell: 0 <= held <= on hand",
    "P2": "stock equals the sum of its ledger; no hold outlives its order",
    "P3": "each message takes effect exactly once",
    "P4": "money: the gateway's book agrees with the orders",
    "P5": "orders take only transitions of the state tables; their history has no gap",
    "P6": "every order settles within its deadline",
    "P7": "every committed event was published",
    "P8": "copies of a message are equal",
    "P9": "nothing is dropped: handled or parked",
    "P10": "every accepted order is stored",
    "P11": "no caller reaches another's order",
}
NOT_ON_RECORD = {
    "P4": "not checked: the gateway shows no book to compare with the orders",
    "P9": "not checked: work is in progress, and the record doesn't say how far the services have read",
    "P11": "not checkable on stored data; tested for each route",
}
