"""`oms serve` dies by SIGKILL with orders in flight and starts again at once: it releases every lease in the directory.

Leases here outlast the test, so what settles has been released. The time it took is printed, for docs/distributed.md.
"""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.support.serving import Load, NewServing, Serving, an_order, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow]

IN_FLIGHT = 100
LONG = {"OMS_TASK_LEASE_S": "600", "OMS_OUTBOX_LEASE_S": "300"}


@pytest.mark.parametrize("gateway", ["at once", "slow"])
def test_a_killed_system_in_a_directory_settles_its_orders_after_a_restart(
    new_serving: NewServing, gateway: str
) -> None:
    environ = {
        **LONG,
        "OMS_DEFAULT_STOCK": "100000",
        "OMS_PAYMENT_SUCCESS_RATE": "1",
        "OMS_PAYMENT_DELAY_MS": "0" if gateway == "at once" else "1000",
        "OMS_PAYMENT_CALLS": "512",
    }
    serving = new_serving(environ)
    serving.start()
    load = Load(serving.port, an_order, connections=16)
    load.start(4000)
    wait_for(lambda: len(load.accepted) >= IN_FLIGHT, f"{IN_FLIGHT} orders are accepted")
    serving.kill()
    killed = time.monotonic()
    load.stop()
    serving.start()
    ready_s = time.monotonic() - killed
    for order_id in load.accepted:
        wait_for(partial(is_confirmed, serving, order_id), f"{order_id} is confirmed")
    took_s = time.monotonic() - killed
    print(f"embedded, {gateway}: {len(load.accepted)} orders, ready {ready_s:.1f} s, settled {took_s:.1f} s")
    verdict = serving.verify()
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    assert serving.stop() == 0


def is_confirmed(serving: Serving, order_id: str) -> bool:
    return bool(serving.get(f"/orders/{order_id}")[1]["status"] == "CONFIRMED")
