"""`oms orders`, `oms stock` and `oms dlq` against a running system: what people see, what scripts read, how they end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import oms
from oms.application.orders import adopt_legacy
from oms.domain.terms import Terms
from oms.domain.values import OrderId
from tests.support.command_line import Run, served


@pytest.fixture(scope="module")
def system() -> Iterator[tuple[oms.App, str]]:
    """A system in memory behind a real port; `odd` can't be shipped, so its message is parked."""

    def ship(event: oms.AnyEvent, _step: oms.StepContext) -> None:
        if isinstance(event, oms.OrderConfirmed) and "odd" in event.terms.items:
            raise oms.Permanent("can't be shipped")

    app = oms.create(profile="memory", environ={}, default_stock=100, log_level="error")
    app.subscribe("order.confirmed", group="shipping", handler=ship)
    with served(app) as url:
        yield app, url


def settled(system: tuple[oms.App, str], order_id: str) -> str:
    until = time.monotonic() + 10
    while not (order := system[0].orders.get(order_id)).state.settled:
        assert time.monotonic() < until, order
        time.sleep(0.02)
    return order.state.value


def place(run: Run, *more: str) -> Any:
    return run("orders", "place", "--user", "ann", "--amount", "12.50", "--item", "apple=2", "--json", *more).json


def test_an_order_is_placed_shown_and_listed(system: tuple[oms.App, str], run: Run) -> None:
    placed = run("orders", "place", "--user", "eve", "--amount", "12.50", "--item", "apple=2", "--metadata", "gift=yes")
    lines = dict(line.split(maxsplit=1) for line in map(str.rstrip, placed.out.splitlines()))
    assert (lines["totalAmount"], lines["items"], lines["metadata"]) == ("12.50", "apple=2", "gift=yes")
    assert lines["currency"] == "USD"

    assert settled(system, lines["id"]) == "CONFIRMED"
    listed = run("orders", "list", "--user", "eve")
    assert listed.out.splitlines()[0].split() == ["id", "status", "reason", "totalAmount", "userId", "items"]
    assert listed.out.splitlines()[1].split() == [lines["id"], "CONFIRMED", "12.50", "eve", "apple=2"]
    assert run("orders", "list", "--user", "nobody").out == "no orders\n"


def test_an_imported_order_is_shown_as_such_and_resumed(system: tuple[oms.App, str], run: Run) -> None:
    app, order_id = system[0], OrderId("4e0b85d1-5421-4ccf-9695-59986ebebbae")
    terms = Terms.checked("old", app.money(5), {"apple": 1})
    with app.system.order.units.open() as unit:
        adopt_legacy(unit.work, order_id, terms, None, "CREATED there")
    assert run("orders", "list", "--user", "old", "--json").json["content"][0]["status"] == "LEGACY"

    refused = run("orders", "cancel", order_id)
    assert (refused.code, "`oms orders cancel --operator`" in refused.err) == (1, True)

    resumed = run("orders", "resume", order_id, "--json")

    assert (resumed.code, resumed.json["status"]) == (0, "CREATED")
    assert settled(system, order_id) == "CONFIRMED"
    assert run("orders", "resume", order_id, "--json").json["status"] == "CONFIRMED"
    missing = run("orders", "resume", "nobody-knows-it")
    assert missing.code != 0
    assert "order_not_found" in missing.err


def test_a_page_says_that_there_are_more(run: Run) -> None:
    for _ in range(3):
        run("orders", "place", "--user", "many", "--amount", "1", "--item", "apple=1")
    assert run("orders", "list", "--user", "many", "--size", "2").out.splitlines()[-1] == (
        "page 0, the last is 1; 3 orders"
    )
    assert len(run("orders", "list", "--user", "many").out.splitlines()) == 4


@pytest.mark.parametrize("amount", ["0.1", "12.50", "9999999999.99", "0.30"])
def test_amounts_stay_the_digits_that_were_written(run: Run, amount: str) -> None:
    done = run("orders", "place", "--user", "ann", "--amount", amount, "--item", "apple=1", "--json")
    assert json.loads(done.out, parse_float=str)["totalAmount"] == (amount if "." in amount[:-2] else f"{amount}0")


def test_lines_of_one_product_are_summed(run: Run) -> None:
    assert place(run, "--item", "apple=3")["items"] == {"apple": 5}


PRICED = ("orders", "place", "--user", "ann", "--line", "apple=2@30.00:Red, =: \x1b[31mripe", "--line", "pear=1@5.50")


def test_an_order_with_lines_and_charges(run: Run) -> None:
    placed = run(*PRICED, "--charge", "shipping=4.90", "--amount", "40.40", "--json").json
    none = {"cancelled": 0, "shipped": 0, "returned": 0}
    assert placed["lines"] == [
        {"productId": "apple", "ordered": 2, "amount": 30, "name": "Red, =: \x1b[31mripe", **none},
        {"productId": "pear", "ordered": 1, "amount": 5.5, **none},
    ]
    shown = dict(line.split(maxsplit=1) for line in run("orders", "show", placed["id"]).out.splitlines())
    assert shown["lines"].rstrip() == "2 apple for 30 (Red, =: \ufffd[31mripe), 1 pear for 5.50"
    assert shown["charges"].rstrip() == "shipping 4.90"
    bare = run("orders", "place", "--user", "ann", "--amount", "7", "--line", "apple=1").out
    shown = dict(line.split(maxsplit=1) for line in bare.splitlines())
    assert ("lines" in shown, shown["items"].rstrip()) == (False, "apple=1")


def test_lines_that_dont_add_up_are_refused(run: Run) -> None:
    done = run(*PRICED, "--amount", "40.40")
    assert (done.code, "amounts_dont_add_up" in done.err) == (1, True)


def test_a_repeat_under_the_same_key_is_one_order(run: Run) -> None:
    first, second = (place(run, "--idempotency-key", "cli-1") for _ in range(2))
    assert first == second


def test_a_cancelled_order_and_its_timeline(system: tuple[oms.App, str], run: Run) -> None:
    order = place(run)
    assert settled(system, order["id"]) == "CONFIRMED"

    assert run("orders", "cancel", order["id"], "--operator", "--json").json["status"] == "CANCELLING"
    assert settled(system, order["id"]) == "CANCELLED"
    refused = run("orders", "cancel", place(run, "--item", "scarce=10000")["id"] + "x")
    assert (refused.code, "order_not_found" in refused.err) == (1, True)

    drawn = run("orders", "timeline", order["id"]).out.splitlines()
    assert drawn[0].split() == ["seq", "after", "what", "state"]
    assert any("CONFIRMED → CANCELLING" in line and line.startswith("●") for line in drawn)
    assert run("orders", "timeline", order["id"], "--json").json[0]["trigger"] == "place"


def test_stock_is_counted_received_and_shown(run: Run) -> None:
    assert run("stock", "set", "pear", "5", "--json").json["onHand"] == 5
    assert run("stock", "add", "pear", "7", "--json").json["onHand"] == 12
    assert run("stock", "add", "pear", "-2", "--json").json["onHand"] == 10
    assert run("stock", "show", "pear").out.split() == [
        "productId", "pear", "onHand", "10", "held", "0", "available", "10",
    ]  # fmt: skip
    assert "pear" in run("stock", "list").out
    assert "product_not_found" in run("stock", "show", "nothing").err


def test_a_dead_letter_is_listed_shown_redriven_and_given_up(system: tuple[oms.App, str], run: Run) -> None:
    order = run("orders", "place", "--user", "ann", "--amount", "1", "--item", "odd=1", "--json").json
    settled(system, order["id"])
    until = time.monotonic() + 10
    while not (letters := run("dlq", "list", "--json").json):
        assert time.monotonic() < until
        time.sleep(0.02)
    name = letters[0]["id"]

    assert "shipping" in run("dlq", "list").out
    assert "can't be shipped" in run("dlq", "show", name).out
    again = run("dlq", "redrive", name)
    assert (again.code, "redrive_failed" in again.err) == (1, True)
    assert run("dlq", "discard", name, "--json").json["state"] == "DISCARDED"
    assert run("dlq", "list").out == "no dead letters are PARKED\n"
    assert run("dlq", "list", "--state", "discarded", "--json").json[0]["id"] == name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("orders", "place", "--user", "ann", "--amount", "1e3", "--item", "a=1"), 2, "--amount 1e3"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--item", "a"), 2, "SKU=QUANTITY"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--item", "a=" + "9" * 5000), 2, "SKU=QUANTITY"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--item", "a=0"), 1, "invalid_quantity"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--item", "a=1", "--metadata", "x"), 2, "NAME=VALUE"),
        (("orders", "place", "--user", "ann", "--amount", "1"), 2, "--item or --line"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--item", "a=1", "--line", "a=1"), 1, "items_or_lines"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--line", "a"), 2, "SKU=QUANTITY[@AMOUNT][:NAME]"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--line", "a=1.5"), 2, "SKU=QUANTITY[@AMOUNT][:NAME]"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--line", "a=1@x"), 2, "--line x: a number"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--line", "a=-1"), 1, "invalid_quantity"),
        (("orders", "place", "--user", "ann", "--amount", "1", "--line", "a=1", "--charge", "b"), 2, "KIND=AMOUNT"),
        (("orders", "show", "a b"), 1, "invalid_id"),
        (("orders", "show", "../../metrics"), 1, "no_such_route"),
        (("orders", "list", "--size", "101"), 1, "invalid_size"),
        (("orders", "list", "--url", "ftp://x"), 2, "http or https"),
        (("orders", "list", "--url", "http://127.0.0.1:9"), 3, "can't be reached"),
        (("dlq", "list", "--state", "odd"), 1, "invalid_state"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(
    run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert done.err.startswith("oms: ")
    assert done.err.count("\n") == 1


def test_what_strangers_wrote_cant_move_the_terminal(run: Run) -> None:
    done = run(
        "orders", "place", "--user", "ann", "--amount", "1", "--item", "a=1", "--metadata", "x=\x1b[31m[bold]red"
    )
    assert "\x1b" not in done.out
    assert "[bold]red" in done.out


def test_the_key_is_sent_and_never_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMSCTL_KEY", "oms_canary-canary-canary-canary")
    done = run("orders", "list", "--url", "http://127.0.0.1:9")
    assert "canary" not in done.out + done.err
    assert "canary" not in run("orders", "list", "--help").out
