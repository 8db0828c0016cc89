"""Extensions and users' own steps, named by import path."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.processes import Served, oms

pytestmark = pytest.mark.slow
Start = Callable[..., Served]

PLUGS = '''
import json, os, pathlib, time
import oms

BOOK = pathlib.Path(__file__).with_name("book.txt")

class Gateway(oms.PaymentGateway):
    """Captures; hangs for longer than any stop may take where HANGS is set."""

    def charge(self, charge):
        with BOOK.open("a") as book:
            book.write(f"charge {charge.key}\\n")
        if os.environ.get("HANGS"):
            time.sleep(600)
        return oms.Captured("p-1")

    def lookup(self, lookup):
        return oms.Captured("p-1") if f"charge {lookup.key}" in BOOK.read_text() else oms.UnknownCharge()

    def void(self, void):
        return oms.Captured("p-1")

    def refund(self, refund):
        return oms.Refunded()

class Notifier(oms.Notifier):
    def send(self, notification):
        with BOOK.open("a") as book:
            book.write(f"told {notification.order_id}\\n")

class Pricing(oms.Pricing):
    def price(self, terms):
        return oms.Money.of(7, oms.Currency.of("USD"))

def policy():
    class Policy(oms.Policy):
        def check(self, terms, caller):
            if terms.user_id == "mallory":
                raise oms.Refused("not_you", "we don't sell to mallory")
    return Policy()

def subscribe(app):
    app.subscribe("order.confirmed", group="greeting", handler=confirmed, publishes=["greeting.sent"])

def confirmed(event, step):
    step.save({"seen": True})
    step.publish("greeting.sent", words="hello")
'''


@pytest.fixture
def plugs(tmp_path: Path) -> dict[str, str]:
    directory = tmp_path / "theirs"
    directory.mkdir()
    (directory / "plugs.py").write_text(PLUGS)
    (directory / "book.txt").write_text("")
    return {
        "PYTHONPATH": str(directory),
        "OMS_PAYMENT_GATEWAY": "plugs:Gateway",
        "OMS_TASK_LEASE_S": "3",
        "OMS_PAYMENT_TIMEOUT_S": "2",
        "OMS_WEBHOOK_TIMEOUT_S": "2",
    }


def post(served: Served, user: str = "ann") -> Any:
    body = {"userId": user, "amount": 30, "items": {"apple": 1}}
    return urllib3.request("POST", f"{served.url}/orders", json=body, retries=False, timeout=10)


def settled(served: Served, order_id: str) -> dict[str, Any]:
    until = time.monotonic() + 30
    while True:
        order: dict[str, Any] = urllib3.request("GET", f"{served.url}/orders/{order_id}").json()
        if order["status"] in ("CONFIRMED", "CANCELLED", "REJECTED"):
            return order
        assert time.monotonic() < until, order
        time.sleep(0.05)


def book(plugs: dict[str, str]) -> list[str]:
    return (Path(plugs["PYTHONPATH"]) / "book.txt").read_text().splitlines()


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_every_plug_by_its_path(start: Start, plugs: dict[str, str]) -> None:
    own = {
        "OMS_NOTIFIER": "plugs:Notifier",
        "OMS_PRICING": "plugs:Pricing",
        "OMS_POLICY": "plugs:policy",
        "OMS_STEPS": "plugs:subscribe",
    }
    served = start(**plugs, **own)
    refused = post(served, "mallory")
    assert (refused.status, refused.json()["code"]) == (403, "not_you")
    placed = post(served).json()
    order = settled(served, placed["id"])
    assert (order["status"], order["totalAmount"]) == ("CONFIRMED", 7)
    wait_for(lambda: f"told {order['id']}" in book(plugs))
    assert [line for line in book(plugs) if line.startswith("charge")] == [f"charge oms-{order['id']}"]
    assert served.stop()[0] == 0
    done = oms("verify", "--json", "--data", str(served.data), **plugs, **own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["quiet"]


def test_a_stop_doesnt_wait_for_a_gateway_that_hangs_and_its_charge_is_looked_up(
    start: Start, plugs: dict[str, str]
) -> None:
    served = start(**plugs, HANGS="1")
    order = post(served).json()
    wait_for(lambda: bool(book(plugs)))
    code, seconds = served.stop()
    assert (code, served.err) == (0, "")
    assert seconds < 10
    again = start(**plugs)
    assert settled(again, order["id"])["status"] == "CONFIRMED"
    assert [line for line in book(plugs) if line.startswith("charge")] == [f"charge oms-{order['id']}"], "charged once"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"OMS_STEPS": "plugs:nothing"}, "OMS_STEPS: can't import 'plugs:nothing'"),
        ({"OMS_NOTIFIER": "nowhere:Notifier"}, "OMS_NOTIFIER: can't import 'nowhere:Notifier'"),
        ({"OMS_PRICING": "plugs"}, "OMS_PRICING"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_line(
    tmp_path: Path, plugs: dict[str, str], given: dict[str, str], says: str
) -> None:
    done = oms("serve", "--port", "0", "--data", str(tmp_path / "data"), **{**plugs, **given})
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
