"""Look up orders. A customer sees only their own."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from oms.application.use_cases.idempotency import OrderResponse
from oms.application.use_cases.requests import TRUSTED, checked_page
from oms.domain.errors import NotFound
from oms.domain.order import Order
from oms.domain.state_machine import HistoryEntry
from oms.domain.values import OrderId, UserId, checked_id
from oms.ports.extensions import Principal
from oms.ports.stores.order import OrderStore
from oms.ports.stores.rows import Page


@attrs.frozen
class ReadOrders:
    """Reads orders from the order service's store, outside of any transaction."""

    store: OrderStore

    def get(self, order_id: str, *, caller: Principal = TRUSTED) -> Order:
        """Return an order; `NotFound` unless the caller may see it."""
        order = self.store.order(OrderId(checked_id(order_id, name="orderId")), caller.owner)
        if order is None:
            raise NotFound("order_not_found", f"there is no order {order_id}")
        return order

    def page(
        self, number: int = 0, size: int = 10, *, user_id: str | None = None, caller: Principal = TRUSTED
    ) -> Page[Order]:
        """Return a page of orders, newest first: a customer's own; for other callers those of `user_id`, or all.

        A customer who names another user gets an empty page.
        """
        checked_page(number, size)
        wanted = UserId(checked_id(user_id, name="userId")) if user_id is not None else None
        if caller.owner is not None and wanted not in (None, caller.owner):
            return Page((), number, size, 0)
        return self.store.orders(caller.owner or wanted, number, size)

    def timeline(self, order_id: str, *, caller: Principal = TRUSTED) -> Sequence[HistoryEntry]:
        """Return the order's history by `seq`: the order service's transitions, and the messages that it consumed."""
        found = self.store.timeline(OrderId(checked_id(order_id, name="orderId")), caller.owner)
        if found is None:
            raise NotFound("order_not_found", f"there is no order {order_id}")
        return found

    def restore(self, body: str) -> Order:
        """Return the order of a response that is stored under an idempotency key, as it was in the response."""
        response = OrderResponse.read(body)
        return response.applied_to(self.get(response.order_id))
