"""The operators: they ship and refund confirmed orders by a plan, and decide about refunds that the gateway refused.

Each operation has an idempotency key, under which it is repeated if no response came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.requests import TRUSTED, RequestContext, Submit, future_of
from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import DomainError
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.refund import Instruction
from oms.domain.values import OrderId, Sku
from oms.ports.errors import PortError
from oms.testing.sim.customers import Customers
from oms.testing.sim.worker import Worker

GOODWILL = "0.07"
REASON = "simulated"

Make = Callable[[OrderId, Sku], ShipOrder | RefundOrder]

OPERATIONS: Mapping[str, Make] = {
    "ship one": lambda order, sku: ShipOrder.of(order, {sku: 1}),
    "ship two": lambda order, sku: ShipOrder.of(order, {sku: 2}),
    "ship all": lambda order, _sku: ShipOrder.of(order),
    "cancel one": lambda order, sku: RefundOrder.of(order, "CANCEL", REASON, items={sku: 1}),
    "cancel all": lambda order, _sku: RefundOrder.of(order, "CANCEL", REASON),
    "take one back": lambda order, sku: RefundOrder.of(order, "RETURN", REASON, items={sku: 1}),
    "take one back and restock it": lambda order, sku: RefundOrder.of(
        order, "RETURN", REASON, items={sku: 1}, restock=True
    ),
    "give goodwill": lambda order, _sku: RefundOrder.of(order, "GOODWILL", REASON, amount=GOODWILL),
}
"""The operations of a plan, and the command that each submits for an order and its first product."""

DECISIONS: Mapping[str, Instruction] = {"retry": Instruction.RETRY, "resolve": Instruction.RESOLVE}
SHIPPABLE = (OrderState.CONFIRMED, OrderState.FULFILLING, OrderState.COMPLETED)
MOST_REQUESTS = 20


class Operation:
    """One operation of an order, from its first request to its response."""

    __slots__ = ("command", "ended", "future", "key", "label", "part", "refusal", "requests", "worker")

    def __init__(self, label: str, key: str, command: ShipOrder | RefundOrder | InstructPayment) -> None:
        self.label, self.key, self.command = label, key, command
        self.requests = 0
        self.future: Future[Any] | None = None
        self.worker: Worker | None = None
        self.ended = False
        self.part: str | None = None
        """The id of the shipment or refund in the response; None for a decision and after a refusal."""

        self.refusal: str | None = None
        """The code of the error in the response."""

    @property
    def may_request(self) -> bool:
        """Whether it can be requested again: it has no response, and none can come any more."""
        if self.ended:
            return False
        if self.future is not None and self.worker is not None:
            return self.worker.stale  # the worker died with the command
        return self.requests < MOST_REQUESTS

    def listen(self) -> None:
        """Take the response if it has arrived."""
        if self.future is None or not self.future.done():
            return
        error = self.future.exception()
        if error is None:
            self.ended = True
            self.part = None if isinstance(self.command, InstructPayment) else self.future.result().id
        elif isinstance(error, DomainError):
            self.ended, self.refusal = True, error.code
        elif not isinstance(error, PortError):
            raise error
        self.future = None


class Operators:
    """The operators of a system. `plan` has the operations of each order, in this order.

    With `decides`, they retry or resolve each refund that the gateway refused.
    """

    def __init__(
        self, plan: Sequence[str], customers: Customers, orders: Mapping[OrderId, Order], *, decides: bool
    ) -> None:
        self._plan, self._customers, self._orders, self._decides = plan, customers, orders, decides
        self.all: dict[str, Operation] = {}
        """The operations that were begun, by label."""

        self._begun: dict[str, int] = {}
        """How many operations of the plan each order has begun."""

    def to_do(self) -> Iterator[str]:
        """Yield the labels of the operations that can be requested now, planned ones and repeats."""
        yield from (one.label for one in self.all.values() if one.may_request)
        for name, order in self._known():
            label = self._next_of(name)
            if label is not None and order.state in SHIPPABLE:
                yield label
            if self._decides:
                yield from self._decisions(name, order)

    @property
    def works(self) -> bool:
        """Whether there can be something to do."""
        return bool(self._plan or self._decides or self.all)

    def unplanned(self) -> Iterator[str]:
        """Yield each operation of each order to which it can happen."""
        for name, order in self._known():
            if order.state in SHIPPABLE:
                yield from (f"{what} of {name}" for what in OPERATIONS)

    def do(self, label: str) -> None:
        """Request an operation by its label, the first time or again."""
        one = self.all.get(label)
        if one is None:
            one = self.all[label] = self._begin(label)
        self._request(one)

    def add(self, label: str) -> None:
        """Request an operation that isn't planned."""
        what, _, name = label.partition(" of ")
        number = sum(" extra " in known for known in self.all)
        extra = f"{what} of {name} extra {number}"
        self.all[extra] = Operation(extra, extra, self._command(what, name))
        self._request(self.all[extra])

    def listen(self) -> None:
        """Take the responses that have arrived."""
        for one in self.all.values():
            one.listen()

    def state(self) -> tuple[Any, ...]:
        """Return what the operators have requested and heard, for the comparison of systems."""
        return tuple([(one.label, one.requests, one.ended, one.future is None) for one in self.all.values()])

    def _known(self) -> Iterator[tuple[str, Order]]:
        for name, order_id in self._customers.known():
            order = self._orders.get(order_id)
            if order is not None:
                yield name, order

    def _next_of(self, name: str) -> str | None:
        """Return the label of the next operation of an order's plan, once the one before has its response."""
        begun = self._begun.get(name, 0)
        if begun >= len(self._plan):
            return None
        if begun and not self.all[self._label(name, begun - 1)].ended:
            return None
        return self._label(name, begun)

    def _label(self, name: str, number: int) -> str:
        return f"{self._plan[number]} of {name} step {number}"

    def _decisions(self, name: str, order: Order) -> Iterator[str]:
        """Yield both decisions about each refusal that waits for one; the calm one alternates by attempt and order."""
        for refusal in order.fulfilment.refusals:
            labels = [f"{what} {refusal.of} attempt {refusal.attempt} of {name}" for what in DECISIONS]
            if refusal.instruction is None and not any(label in self.all for label in labels):
                retries = (refusal.attempt + int(name.rpartition("-")[2])) % 2 == 0
                yield from labels if retries else reversed(labels)

    def _begin(self, label: str) -> Operation:
        what, _, rest = label.partition(" of ")
        name = rest.partition(" ")[0]
        decision = DECISIONS.get(what.partition(" ")[0])
        if decision is not None:
            of = what.split(" ")[1]
            return Operation(label, label, InstructPayment.to(decision, self._order_of(name).id, of, REASON))
        self._begun[name] = self._begun.get(name, 0) + 1
        return Operation(label, label, self._command(what, name))

    def _command(self, what: str, name: str) -> ShipOrder | RefundOrder:
        order = self._order_of(name)
        return OPERATIONS[what](order.id, next(iter(order.agreed.items)))

    def _order_of(self, name: str) -> Order:
        return self._orders[dict(self._customers.known())[name]]

    def _request(self, one: Operation) -> None:
        worker = self._customers.order_worker()
        one.requests += 1
        one.worker = worker
        one.future = future_of(_submit_of(self._customers.use_cases(worker), one))


def _submit_of(orders: OrderUseCases, one: Operation) -> Submit:
    context = RequestContext(TRUSTED, f"key of {one.key}"[:200])
    match one.command:
        case ShipOrder():
            return partial(orders.ship_order.submit, one.command, context)
        case RefundOrder():
            return partial(orders.refund_order.submit, one.command, context)
        case InstructPayment():
            return partial(orders.instruct_payment.submit, one.command, context)
