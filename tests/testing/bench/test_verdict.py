"""What `oms bench` says of its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import StringIO
from typing import Any

from rich.console import Console

from oms.testing.bench.report import as_json, show
from oms.testing.bench.results import Quantiles, Result, Sample
from oms.testing.bench.verdict import verdict

NOTHING = Quantiles(0.0, 0.0, 0.0)


def result(scenario: str, **seen: Any) -> Result:
    empty = {"orders": 1, "states": {}, "accepted_per_s": 0.0, "completed_per_s": 0.0, "post_ms": NOTHING}
    more = {"confirmed_ms": NOTHING, "cpu_ms_per_order": {}, "memory_mb": {}, "timeline": ()}
    return Result(scenario=scenario, **{**empty, **more, **seen})


def ms(p99: float) -> Quantiles:
    return Quantiles(p99 / 2, p99, p99)


def judged(*results: Result) -> Mapping[str, tuple[float, float, bool]]:
    return {one.name: (one.measured, one.wanted, one.holds) for one in verdict(results)}


def test_only_what_was_measured_is_judged() -> None:
    assert judged() == {}
    assert judged(result("burst", completed_per_s=900.0), result("steady"), result("4 of each service")) == {}


def test_rates_over_those_of_the_bare_servers() -> None:
    found = judged(
        result("burst", completed_per_s=500.0, floor_per_s=1000.0),
        result("embedded", completed_per_s=399.0, floor_per_s=1000.0),
        result("accept", notes={"ratio": 0.4}),
    )
    assert found == {
        "burst: completed/s over the floor": (0.5, 0.5, True),
        "embedded: completed/s over SQLite's commits": (0.399, 0.4, False),
        "accept: accepted/s over pgbench": (0.4, 0.4, True),
    }


def test_latency_at_a_steady_rate_over_an_order_alone() -> None:
    found = judged(result("steady", confirmed_ms=Quantiles(41.0, 50.0, 199.0), floor_batch_1_ms=20.0))
    assert found == {
        "steady: p50 over the floor's at batch 1": (2.05, 2.0, False),
        "steady: p99 over the floor's at batch 1": (9.95, 10.0, True),
    }


def test_a_slow_gateway_is_judged_without_its_slow_charges() -> None:
    gateway = result("slow gateway", completed_per_s=450.0, confirmed_ms=ms(2000.0))
    slow = result("slow gateway, 1% take 10 s", confirmed_ms=ms(11_000.0), prompt_ms=ms(3100.0), prompt_per_s=400.0)
    found = judged(gateway, slow)
    assert found["slow gateway: completed/s"] == (450.0, 500.0, False)
    assert found["1% take 10 s: completed/s of the others"] == (400.0, 500.0, False)
    assert found["1% take 10 s: p99 of the others, over a run without"] == (1.55, 1.5, False)
    assert judged(result("burst", completed_per_s=400.0), gateway, slow)["slow gateway: completed/s"][1:] == (
        400.0,
        True,
    )


def test_takes_of_a_history_are_compared_by_their_medians() -> None:
    few = [result("few orders", completed_per_s=rate, cpu_ms_per_order={"order": 1.0}) for rate in (100.0, 50.0, 90.0)]
    many = [result("history", completed_per_s=rate, cpu_ms_per_order={"order": 1.2, "load": 9.0}) for rate in (81.0,)]
    found = judged(*few, *many)
    assert found["history: completed/s over that of few orders"] == (0.9, 0.9, True)
    assert found["history: CPU an order over that of few orders"] == (1.2, 1.11, False)


def test_memory_is_judged_by_service() -> None:
    samples = [
        Sample(10_000, {"order": 100.0, "payment": 100.0}),
        Sample(1_000_000, {"order": 109.0, "payment": 111.0}),
    ]
    found = judged(result("memory", samples=samples))
    assert found == {
        "memory: order, 10,000 to 1,000,000 orders": (1.09, 1.1, True),
        "memory: payment, 10,000 to 1,000,000 orders": (1.11, 1.1, False),
    }


def test_units_are_counted_and_workers_compared() -> None:
    one, two = result("1 of each service", completed_per_s=500.0), result("2 of each service", completed_per_s=490.0)
    found = judged(result("hot", states={"CONFIRMED": 99}), one, two)
    assert found["hot: confirmed of 100, no drift"] == (99, 100, False)
    assert found["workers: 2 over 1, completed/s"] == (0.98, 1.0, False)


def test_the_verdict_is_in_the_table_and_in_the_file() -> None:
    samples = [Sample(10 * number, {"order": 100.0 + number}) for number in range(1, 11)]
    results = [result("burst", completed_per_s=100.0, floor_per_s=1000.0), result("memory", samples=samples)]
    screen = Console(file=StringIO(), width=160)
    show(screen, results, [])
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "falls short" in text
    assert "holds" in text
    figures = json.loads(json.dumps(as_json(results, [], {})["verdict"]))
    assert figures[0] == {
        "name": "burst: completed/s over the floor", "measured": 0.1, "how": ">=", "wanted": 0.5, "holds": False
    }  # fmt: skip
    assert len(figures) == 2
