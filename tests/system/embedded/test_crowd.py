"""30 buyers of 10 units for 100 in stock, over HTTP, 20 times."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.support.serving import Load, NewServing


@pytest.mark.faults
@pytest.mark.slow
def test_thirty_buyers_of_ten_for_a_hundred_twenty_times(new_serving: NewServing) -> None:
    serving = new_serving({"OMS_DEFAULT_STOCK": "100", "OMS_LOG_LEVEL": "warning"})
    serving.start()
    for run in range(20):
        load = Load(serving.port, lambda n, run=run: {"userId": f"u-{n}", "amount": 1, "items": {f"hot-{run}": 10}})
        load.start(30)
        load.join()
        assert load.statuses == [201] * 30
        until = time.monotonic() + 30
        while True:
            ended = Counter(serving.get(f"/orders/{order}")[1]["status"] for order in load.accepted)
            if ended["CONFIRMED"] + ended["REJECTED"] + ended["CANCELLED"] == 30:
                break
            assert time.monotonic() < until, ended
            time.sleep(0.02)
        assert ended == {"CONFIRMED": 10, "REJECTED": 20}, f"run {run}"
        while (stock := serving.get(f"/stock/hot-{run}")[1])["held"]:  # confirmed is a moment before sold
            assert time.monotonic() < until, stock
        assert (stock["onHand"], stock["held"], stock["available"]) == (0, 0, 0)
    assert serving.stop() == 0
    verdict = serving.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
