"""`oms reconcile` reports differences between gate, ledger and orders, and P2 reports the same ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oms.operations.reconciliation import differences
from oms.testing import Shop


def found_differences(shop: Shop) -> list[tuple[str, str]]:
    found = differences(shop.app.evidence, now=shop.clock.now(), settle_s=60)
    return [(difference.kind, difference.subject) for difference in found]


def memory(shop: Shop) -> Any:
    return shop.app.system.container.gate().state


@pytest.fixture
def settled(shop: Shop) -> Shop:
    shop.place({"apple": 2})
    shop.run()
    return shop


def test_a_system_at_rest_agrees(settled: Shop) -> None:
    assert found_differences(settled) == []


def test_a_gate_that_would_sell_something_else(settled: Shop) -> None:
    memory(settled)["available"]["apple"] += 1
    assert found_differences(settled) == [("gate-stock", "apple")]
    assert [(one.promise, one.subject) for one in settled.report().violations] == [("P2", "apple")]


def test_a_hold_that_only_the_gate_knows(settled: Shop) -> None:
    memory(settled)["answers"]["stray"] = {"answer": "HELD", "lines": {"apple": 1}, "short": []}
    assert found_differences(settled) == [("gate-hold", "stray")]
    assert [(one.promise, one.subject) for one in settled.report().violations] == [("P2", "stray")]


def test_a_gate_without_memory(settled: Shop) -> None:
    settled.app.system.container.gate().lose_memory()
    assert found_differences(settled) == [("gate-closed", "gate")]
    settled.run()
    assert found_differences(settled) == []


def test_an_order_long_after_its_deadline(shop: Shop) -> None:
    order = shop.place({"apple": 1})
    shop.clock.advance(timedelta(seconds=961))
    assert found_differences(shop) == [
        ("gate-closed", "gate"),
        ("order-late", order.id),
    ]  # nothing has run yet, the gate neither
