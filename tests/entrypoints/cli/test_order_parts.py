"""`oms orders ship`, `refund`, `retry` and `resolve` against a running system, and how an order is shown afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import oms
from tests.support.answering_gateway import Gateway
from tests.support.command_line import Run, served


def declined() -> oms.Declined:
    return oms.Declined("account closed")


@pytest.fixture(scope="module")
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture(scope="module")
def system(gateway: Gateway) -> Iterator[tuple[oms.App, str]]:
    app = oms.create(profile="memory", environ={}, gateway=gateway, default_stock=100, log_level="error")
    with served(app) as url:
        yield app, url


def until(run: Run, order_id: str, is_so: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + 10
    while not is_so(order := run("orders", "show", order_id, "--json").json):
        assert time.monotonic() < end, order
        time.sleep(0.02)
    return order


@pytest.fixture
def order_id(run: Run, gateway: Gateway) -> str:
    gateway.answers["refund"] = oms.Refunded
    placed = run("orders", "place", "--user", "ann", "--amount", "64.87", "--line", "lamp=3@59.97", "--charge", "post=4.90", "--json")  # fmt: skip
    until(run, placed.json["id"], lambda order: order["status"] == "CONFIRMED")
    found: str = placed.json["id"]
    return found


def test_an_order_is_shipped_in_parcels_and_partly_cancelled(run: Run, order_id: str) -> None:
    parcel = run("orders", "ship", order_id, "--item", "lamp=1", "--carrier", "DHL", "--tracking-number", "t-1")
    assert (parcel.code, parcel.field("items"), parcel.field("carrier")) == (0, "lamp=1", "DHL")
    refund = run("orders", "refund", order_id, "cancel", "--item", "lamp=1", "--reason", "broken in store")
    assert refund.code == 0
    assert (refund.field("kind"), refund.field("state"), refund.field("amount")) == ("CANCEL", "DUE", "19.99")
    assert refund.field("restock") == "yes"
    assert run("orders", "ship", order_id, "--json").json["items"] == {"lamp": 1}
    until(run, order_id, lambda order: order["refunds"][0]["state"] == "PAID")

    shown = run("orders", "show", order_id)
    assert (shown.field("status"), shown.field("refundedAmount"), shown.field("payment")) == (
        "COMPLETED", "19.99", "CAPTURED",
    )  # fmt: skip
    assert shown.field("lines") == "3 lamp for 59.97 [1 cancelled, 2 shipped]"
    lines = shown.out.splitlines()
    assert lines[lines.index("shipments") + 1].split() == ["id", "shippedAt", "items", "carrier", "trackingNumber"]
    assert [line.split()[2:] for line in lines[lines.index("shipments") + 2 :][:2]] == [
        ["lamp=1", "DHL", "t-1"],
        ["lamp=1"],
    ]
    assert "broken in store" in lines[lines.index("refunds") + 2]
    listed = run("orders", "shipments", order_id)
    assert [line.split()[2] for line in listed.out.splitlines()[1:]] == ["lamp=1", "lamp=1"]
    assert run("orders", "refunds", order_id, "--json").json[0]["state"] == "PAID"
    drawn = run("orders", "timeline", order_id).out.splitlines()
    assert drawn[0].split()[-1] == "detail"
    assert [line.split()[-2:] for line in drawn if "→ FULFILLING" in line] == [["shipment", parcel.field("id")]]


def test_a_refused_refund_is_retried_and_resolved(run: Run, order_id: str, gateway: Gateway) -> None:
    gateway.answers["refund"] = declined
    refund = run("orders", "refund", order_id, "GOODWILL", "--reason", "late", "--amount", "2.50", "--json").json
    until(run, order_id, lambda order: order["refunds"][0]["state"] == "REFUSED")
    listed = run("orders", "refunds", order_id).out
    assert "attempt 1: account closed" in listed

    retried = run("orders", "retry", order_id, refund["id"], "--why", "account is open again")
    assert "retry by trusted: account is open again" in retried.out
    until(run, order_id, lambda order: order["refunds"][0].get("refusal", {}).get("attempt") == 2)
    resolved = run("orders", "resolve", order_id, refund["id"], "--why", "bank transfer")
    assert resolved.code == 0
    until(run, order_id, lambda order: order["refunds"][0]["state"] == "PAID")
    assert "PAID outside" in run("orders", "refunds", order_id).out
    again = run("orders", "resolve", order_id, refund["id"], "--why", "bank transfer")
    assert (again.code, "nothing_refused" in again.err) == (1, True)


def test_the_refused_refund_of_a_cancelled_order_is_shown(run: Run, order_id: str, gateway: Gateway) -> None:
    gateway.answers["refund"] = declined
    run("orders", "cancel", order_id, "--operator")
    until(run, order_id, lambda order: "refusal" in order["payment"])
    shown = run("orders", "show", order_id).field("payment")
    assert shown == "CAPTURED; refund whole refused: attempt 1: account closed"
    gateway.answers["refund"] = oms.Refunded
    assert run("orders", "retry", order_id, "whole", "--why", "account is open again").code == 0
    order = until(run, order_id, lambda order: order["status"] == "CANCELLED")
    assert order["payment"] == {"state": "REFUNDED"}


def test_a_return_is_restocked_if_it_is_said(run: Run, order_id: str) -> None:
    run("orders", "ship", order_id)
    units = ("--item", "lamp=1", "--reason", "too bright", "--json")
    assert run("orders", "refund", order_id, "return", *units).json["restock"] is False
    assert run("orders", "refund", order_id, "return", "--restock", *units).json["restock"] is True
    assert run("orders", "refund", order_id, "return", "--no-restock", *units).json["restock"] is False


def test_repeats_under_a_key_have_one_effect(run: Run, order_id: str) -> None:
    for arguments in (
        ("ship", order_id, "--item", "lamp=1"),
        ("refund", order_id, "goodwill", "--reason", "late", "--amount", "1"),
    ):
        first, second = (run("orders", *arguments, "--idempotency-key", "cli", "--json").json for _ in range(2))
        assert first["id"] == second["id"]


def test_nothing_yet(run: Run, order_id: str) -> None:
    assert run("orders", "shipments", order_id).out == "no shipments\n"
    assert run("orders", "refunds", order_id).out == "no refunds\n"
    assert run("orders", "shipments", order_id, "--json").json == []


WRONG = [
    (("ship", "ID", "--item", "lamp"), 2, "SKU=QUANTITY"),
    (("ship", "ID", "--item", "lamp=4"), 1, "not_enough_units"),
    (("ship", "no-such-order"), 1, "order_not_found"),
    (("refund", "ID", "gift", "--reason", "r"), 2, "gift"),
    (("refund", "ID", "cancel"), 2, "--reason"),
    (("refund", "ID", "cancel", "--reason", "r", "--amount", "1e3"), 2, "--amount 1e3"),
    (("refund", "ID", "cancel", "--reason", "r", "--amount", "1"), 1, "amount_must_be_rest"),
    (("refund", "ID", "goodwill", "--reason", "r"), 1, "amount_required"),
    (("refund", "ID", "goodwill", "--reason", "r", "--amount", "64.88"), 1, "refund_exceeds_total"),
    (("retry", "ID", "no-such-refund"), 2, "--why"),
    (("resolve", "ID", "a b", "--why", "w"), 1, "invalid_id"),
    (("shipments", "ID", "--url", "http://127.0.0.1:9"), 3, "can't be reached"),
]


def test_what_is_wrong_is_one_line_and_an_exit_code(run: Run, order_id: str) -> None:
    for arguments, code, said in WRONG:
        done = run("orders", *(order_id if word == "ID" else word for word in arguments))
        assert (done.code, done.out) == (code, ""), arguments
        assert said in done.err
        assert (done.err.startswith("oms: "), done.err.count("\n")) == (True, 1)
