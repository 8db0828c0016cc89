"""The customers: each places an order under a key, and again under the same key if no response came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from oms.adapters.memory import CountedIds
from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.requests import RequestContext
from oms.domain.commands import CancelOrder, PlaceOrder
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.money import Money
from oms.domain.values import OrderId
from oms.ports.errors import PortError
from oms.testing.sim.worker import Worker

TOTAL_MINOR = 1000
SKU = "apple"


class Customer:
    """One customer with one order."""

    __slots__ = ("answers", "future", "name", "requests", "worker")

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        self.future: Future[Any] | None = None
        self.worker: Worker | None = None
        self.answers: list[OrderId] = []


class Customers:
    """All customers of a system. Their commands go to the first worker of the order service that isn't paused."""

    def __init__(self, orders: int, workers: Sequence[Worker], command: PlaceOrder) -> None:
        self._workers, self._command = workers, command
        self.ids = CountedIds(0xFFF)
        self.all = [Customer(f"order-{number + 1}") for number in range(orders)]
        self._by_name = {one.name: one for one in self.all}

    def to_ask(self) -> list[str]:
        """Return the names of customers that place an order now, for the first time or because no response came."""
        return [one.name for one in self.all if self._may_request(one)]

    def place(self, name: str) -> None:
        """Submit a customer's order, the first time or again."""
        one, worker = self._by_name[name], self.order_worker()
        one.requests += 1
        one.worker = worker
        one.future = self.use_cases(worker).submit(self._command, key=f"key of {name}")

    def cancel(self, name: str, *, by_operator: bool) -> None:
        """Submit the cancellation of an order, without waiting for the response."""
        command = CancelOrder(self._by_name[name].answers[0], by_operator)
        cancel = self.use_cases(self.order_worker()).cancel_order
        cancel.submit(command, RequestContext(), lambda _order, _error: None)

    def listen(self) -> None:
        """Take the responses that have arrived."""
        for one in self.all:
            if one.future is not None and one.future.done():
                error = one.future.exception()
                if error is None:
                    one.answers.append(one.future.result().id)
                elif not isinstance(error, PortError):
                    raise error
                one.future = None

    def know(self, order_id: OrderId) -> None:
        """Add a customer for an order that a test placed, unless there is one."""
        if any(order_id in one.answers for one in self.all):
            return
        one = Customer(f"order-{len(self.all) + 1}")
        one.answers.append(order_id)
        self.all.append(one)
        self._by_name[one.name] = one

    def known(self) -> Iterator[tuple[str, OrderId]]:
        """Yield the customers whose order was accepted, with its id."""
        return ((one.name, one.answers[0]) for one in self.all if one.answers)

    def _may_request(self, one: Customer) -> bool:
        if one.answers:
            return False
        if one.future is not None and one.worker is not None:
            return one.worker.stale  # the worker died with the command
        return one.requests < 20

    def order_worker(self) -> Worker:
        """Return the worker that gets the next command."""
        up = [worker for worker in self._workers if worker.service == "order"]
        return next((worker for worker in up if worker.green is None), up[0])

    def use_cases(self, worker: Worker) -> OrderUseCases:
        """Return the use cases of a worker of the order service; they don't wait for a result."""
        currency = self._command.terms.total.currency
        return OrderUseCases.of(worker.assembly, self.ids, lambda _assembly, _future: None, currency)


def command_of(currency: Any, quantity: int = 1) -> PlaceOrder:
    """Return the command that orders units of one product.

    Several units are one line, whose amount isn't divisible by their number, and a charge of one minor unit.
    """
    total = Money(TOTAL_MINOR, currency)
    if quantity == 1:
        return PlaceOrder.of("customer-1", total, {SKU: 1})
    line = OrderLine.of(SKU, quantity, Money(TOTAL_MINOR - 1, currency))
    charges = [OrderCharge.of("shipping", Money(1, currency))]
    return PlaceOrder.of("customer-1", total, lines=[line], charges=charges)
