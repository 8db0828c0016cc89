"""`oms demo` as a person sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.files import WIRE
from tests.support.processes import oms

pytestmark = pytest.mark.slow


def test_it_shows_an_order_a_crowd_and_the_promises(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = oms("demo", "--orders", "40", "--data", str(data), OMS_PAYMENT_SUCCESS_RATE="odd")

    assert (done.returncode, done.stderr) == (0, ""), "the environment's settings aren't the demonstration's"
    posted = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    assert json.loads(posted) == json.loads((WIRE / "post-order.request.json").read_text())
    first, second = done.stdout.split("From order to return", 1)
    said = re.findall(r"^ +\d+ ms  (\w+ \w+)", first, re.MULTILINE)
    assert said[:2] == ["accepted as", "Inventory reserved"]
    assert said[2] in ("Payment success", "Payment declined")
    assert said[-1] == "Notification sent"
    counted = re.findall(r"^(?:CONFIRMED|CANCELLED|REJECTED) .* (\d+)$", done.stdout, re.MULTILINE)
    assert sum(map(int, counted)) == 40
    parts = [
        (path, json.loads(text)) for path, text in re.findall(r"^  POST \.\.\./(\w+) -> (.*)$", second, re.MULTILINE)
    ]
    assert [path for path, _ in parts] == ["shipments", "shipments", "refunds"]
    assert [part["items"] for _, part in parts] == [{"lamp": 1}] * 3
    assert "It is COMPLETED" in second
    assert re.search(r"payment\.refund_paid +COMPLETED", second)
    checked = re.search(r"Promises P1 to P10, P12, checked on disk for (\d+) orders", done.stdout)
    assert checked is not None
    assert int(checked[1]) >= 42
    assert "all hold" in done.stdout
    assert "P11 (no caller reaches another's order): not checkable on stored data; tested for each route" in done.stdout
    assert oms("verify", "--data", str(data)).returncode == 0
