"""A timer that fires after its order has ended changes nothing, and is logged."""

from __future__ import annotations

from oms.adapters.memory.signals import Line
from oms.domain.tasks import TaskKind, TaskRequest
from oms.ports.store import Delivery
from oms.testing import Shop
from oms.testing.contracts.samples import flush


def test_a_deadline_after_the_end_changes_nothing_and_is_logged() -> None:
    with Shop() as shop:
        order = shop.place()
        shop.run()
        store = shop.app.system.order.service.store
        flush(store, Delivery(tasks=[TaskRequest(TaskKind.DEADLINE, order.id, shop.now())]))
        shop.run()
        shop.expect(order).confirmed()
        assert list(store.all_tasks()) == []
        assert Line("deadline ignored", {"order_id": order.id, "state": "CONFIRMED"}) in shop.signals.notes
        assert not shop.report().violations
