"""Prints an order of a running system, with its shipments and refunds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oms.entrypoints.cli.client import Remote
from oms.entrypoints.cli.output import console, show_json, show_list, show_one

Json = Mapping[str, Any]

ORDER = (
    "id", "status", "reason", "totalAmount", "refundedAmount", "currency", "payment", "userId", "items", "lines",
    "charges", "metadata",
)  # fmt: skip
SHIPMENTS = ("id", "shippedAt", "items", "carrier", "trackingNumber")
REFUNDS = ("id", "kind", "state", "amount", "items", "restock", "reason", "requestedAt", "refusal")
_COUNTS = ("cancelled", "shipped", "returned")


def print_order(remote: Remote, order: dict[str, Any]) -> None:
    """Print an order, and a table each of its shipments and refunds."""
    if remote.json:
        show_json(order)
        return
    with remote.reading():
        fields, refunds = order_fields(order), refund_rows(order.get("refunds", ()))
        show_one(fields, ORDER)
        for title, rows, columns in (
            ("shipments", order.get("shipments", ()), SHIPMENTS),
            ("refunds", refunds, REFUNDS),
        ):
            if rows:
                console().print(f"\n[bold]{title}[/]")
                show_list(rows, _used(rows, columns), "")


def order_fields(order: Json) -> dict[str, Any]:
    """Return the fields of an order as text for people, without those that say nothing.

    Lines are left out if they say no more than the items.
    """
    found = dict(order)
    lines = order.get("lines") or ()
    found["lines"] = ", ".join(map(_line, lines)) if any(_says_more(line) for line in lines) else None
    if order.get("charges"):
        found["charges"] = ", ".join(f"{charge['kind']} {charge['amount']}" for charge in order["charges"])
    if not order.get("refundedAmount"):
        found["refundedAmount"] = None
    if order.get("payment"):
        found["payment"] = _payment(order["payment"])
    return found


def refund_rows(refunds: Sequence[Json]) -> list[dict[str, Any]]:
    """Return refunds with texts for people."""
    return [_refund(refund) for refund in refunds]


def print_parts(remote: Remote, parts: list[dict[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Print shipments or refunds, or `nothing` if there are none."""
    if remote.json:
        show_json(parts)
        return
    with remote.reading():
        rows = refund_rows(parts) if columns is REFUNDS else parts
        show_list(rows, _used(rows, columns), nothing)


def print_part(remote: Remote, part: dict[str, Any], columns: Sequence[str]) -> None:
    """Print one shipment or refund."""
    if remote.json:
        show_json(part)
        return
    with remote.reading():
        show_one(_refund(part) if columns is REFUNDS else part, columns)


def _used(rows: Sequence[Json], columns: Sequence[str]) -> list[str]:
    """Return the columns for which a row has a value."""
    return [column for column in columns if any(row.get(column) is not None for row in rows)]


def _says_more(line: Json) -> bool:
    return any(line.get(name) for name in ("amount", "name", *_COUNTS))


def _line(line: Json) -> str:
    amount = f" for {line['amount']}" if line.get("amount") is not None else ""
    name = f" ({line['name']})" if line.get("name") is not None else ""
    counts = ", ".join(f"{line[count]} {count}" for count in _COUNTS if line.get(count))
    return f"{line['ordered']} {line['productId']}{amount}{name}" + (f" [{counts}]" if counts else "")


def _payment(payment: Json) -> str:
    refusal = payment.get("refusal")
    return str(payment["state"]) + (f"; refund {refusal['of']} refused: {_refusal(refusal)}" if refusal else "")


def _refund(refund: Json) -> dict[str, Any]:
    found = dict(refund)
    found["state"] = f"{refund['state']} outside" if refund.get("outside") else refund["state"]
    found["restock"] = ("yes" if refund["restock"] else "no") if refund.get("items") else None
    found["refusal"] = _refusal(refund["refusal"]) if refund.get("refusal") else None
    return found


def _refusal(refusal: Json) -> str:
    """Return a refusal as text: the attempt, the gateway's reason, and the operator's decision."""
    return "; ".join(_refusal_texts(refusal))


def _refusal_texts(refusal: Json) -> Iterator[str]:
    yield f"attempt {refusal['attempt']}: {refusal['reason']}"
    if refusal.get("instruction"):
        yield f"{refusal['instruction']} by {refusal.get('by')}: {refusal.get('why')}"
