"""Who places the orders: each under a key, again under the same key where no answer came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from oms.adapters.memory import CountedIds
from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.requests import RequestContext
from oms.domain.commands import CancelOrder, PlaceOrder
from oms.domain.money import Money
from oms.domain.values import OrderId
from oms.ports.errors import PortError
from oms.testing.sim.worker import Worker

TOTAL_MINOR = 1000
SKU = "apple"


class Customer:
    """One customer with one order."""

    __slots__ = ("answers", "asked", "future", "name", "worker")

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.future: Future[Any] | None = None
        self.worker: Worker | None = None
        self.answers: list[OrderId] = []


class Customers:
    """All customers of a system; what they do is taken by the first worker of the order service that is up."""

    def __init__(self, orders: int, workers: Sequence[Worker], command: PlaceOrder) -> None:
        self._workers, self._command = workers, command
        self.ids = CountedIds(0xFFF)
        self.all = [Customer(f"order-{number + 1}") for number in range(orders)]
        self._by_name = {one.name: one for one in self.all}

    def to_ask(self) -> list[str]:
        """Who has an order to place now, for the first time or because no answer came."""
        return [one.name for one in self.all if self._asks(one)]

    def place(self, name: str) -> None:
        """Ask for an order, or once more for the same."""
        one, worker = self._by_name[name], self._desk_worker()
        if worker is None:
            return
        one.asked += 1
        one.worker = worker
        one.future = self._desk(worker).submit(self._command, key=f"key of {name}")

    def cancel(self, name: str, *, by_operator: bool) -> None:
        """Ask for the end of an order; the answer doesn't matter to anybody."""
        worker = self._desk_worker()
        if worker is not None:
            order_id = self._by_name[name].answers[0]
            command = CancelOrder(order_id, by_operator)
            self._desk(worker).cancel_order.submit(command, RequestContext(), lambda _order, _error: None)

    def listen(self) -> None:
        """Take the answers that came."""
        for one in self.all:
            if one.future is not None and one.future.done():
                error = one.future.exception()
                if error is None:
                    one.answers.append(one.future.result().id)
                elif not isinstance(error, PortError):
                    raise error
                one.future = None

    def know(self, order_id: OrderId) -> None:
        """Note an order that a test placed; once for each order."""
        if any(order_id in one.answers for one in self.all):
            return
        one = Customer(f"order-{len(self.all) + 1}")
        one.answers.append(order_id)
        self.all.append(one)
        self._by_name[one.name] = one

    def known(self) -> Iterator[tuple[str, OrderId]]:
        """Whose orders are known, by their ids."""
        return ((one.name, one.answers[0]) for one in self.all if one.answers)

    def _asks(self, one: Customer) -> bool:
        if one.answers:
            return False
        if one.future is not None and one.worker is not None:
            return one.worker.stale  # the worker died with the question
        return one.asked < 20

    def _desk_worker(self) -> Worker | None:
        up = [worker for worker in self._workers if worker.service == "order"]
        return next((worker for worker in up if worker.green is None), up[0])

    def _desk(self, worker: Worker) -> OrderUseCases:
        currency = self._command.terms.total.currency
        return OrderUseCases.of(worker.parts, self.ids, lambda _assembly, _future: None, currency)


def command_of(currency: Any) -> PlaceOrder:
    """One unit of one product."""
    return PlaceOrder.of("customer-1", Money(TOTAL_MINOR, currency), {SKU: 1})
