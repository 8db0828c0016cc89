"""A timer that fires after its order has ended changes nothing, and is logged and counted."""

from __future__ import annotations

import io

import oms
from oms.adapters.memory.telemetry import Count, Line
from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry
from oms.application.orders import LATE_TIMERS
from oms.domain.tasks import TaskKind, TaskRequest
from oms.ports.stores.rows import Delivery
from oms.testing import Shop
from oms.testing.contracts.samples import flush

DEADLINE_S = 60


def test_a_deadline_after_the_end_changes_nothing_and_is_logged_and_counted() -> None:
    with Shop() as shop:
        order = shop.place()
        assert Count(LATE_TIMERS, 0, {}) in shop.telemetry.counts
        shop.run()
        assert shop.telemetry.total(LATE_TIMERS) == 0
        store = shop.app.system.order.service.store
        flush(store, Delivery(tasks=[TaskRequest(TaskKind.DEADLINE, order.id, shop.now())]))
        shop.run()
        shop.expect(order).confirmed()
        assert list(store.all_tasks()) == []
        assert Line("deadline ignored", {"order_id": order.id, "state": "CONFIRMED"}) in shop.telemetry.notes
        assert shop.telemetry.total(LATE_TIMERS) == 1
        assert not shop.report().violations


def test_a_deadline_that_ends_its_order_is_not_late() -> None:
    with Shop(order_deadline_s=DEADLINE_S) as shop:
        order = shop.place()
        shop.gateway.unreachable_next(100)
        shop.run()
        shop.advance(seconds=DEADLINE_S + 1)
        shop.run()
        shop.expect(order).cancelled("DEADLINE")
        assert shop.telemetry.total(LATE_TIMERS) == 0


def test_the_counter_is_exported_before_the_first_late_timer() -> None:
    telemetry = StructlogTelemetry(stream=io.StringIO())
    with oms.create(profile="memory", telemetry=telemetry):
        assert b"oms_late_timers_total 0.0" in telemetry.render_metrics()
