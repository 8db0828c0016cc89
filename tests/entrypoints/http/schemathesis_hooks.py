"""What no OpenAPI document can say.

A client uses an idempotency key for one request, and makes another for the next. The amounts of an order add up. The
amount of a refund depends on its kind, and on what is left of the order.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

VALID = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def use_every_key_once(case: Any) -> None:
    """Invalid keys stay as they are: they are to be refused."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and VALID.fullmatch(key):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


def make_amounts_add_up(case: Any) -> None:
    """The order of a valid body: each product once, all lines with an amount, and a total of these and the charges."""
    body = case.body
    if not isinstance(body, dict) or not _is_valid(case):
        return
    lines, charges = body.get("lines"), body.get("charges")
    if not lines:
        body.pop("charges", None)
        return
    body["lines"] = list({line["productId"]: line for line in lines}.values())
    parts = [*body["lines"], *(charges or ())]
    for number, part in enumerate(parts):
        part["amount"] = number
    body["amount"] = sum(range(len(parts)))


def make_refunds_possible(case: Any) -> None:
    """A valid body ships or cancels all open units, or gives back an amount; the first needs no amount."""
    body, path = case.body, case.operation.path
    if not isinstance(body, dict) or not _is_valid(case):
        return
    if path.endswith("/shipments"):
        body.pop("items", None)
    if path.endswith("/refunds"):
        for name in ("items", "restock") if body["kind"] == "GOODWILL" else ("items",):
            body.pop(name, None)
        body["amount"] = None if body["kind"] == "CANCEL" else body.get("amount") or 0


def _is_valid(case: Any) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def before_each(case: Any) -> None:
    use_every_key_once(case)
    make_amounts_add_up(case)
    make_refunds_possible(case)


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """For `st run`."""
    before_each(case)
