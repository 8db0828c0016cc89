"""The order use cases of one system, as `app.orders` offers them."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

import attrs

from oms.application.orders import OrderWork
from oms.application.use_cases.cancel_order import CancelOrderUseCase, ResumeOrderUseCase
from oms.application.use_cases.fulfil_order import InstructPaymentUseCase, RefundOrderUseCase, ShipOrderUseCase
from oms.application.use_cases.place_order import OrderChecks, PlaceOrderUseCase
from oms.application.use_cases.read_orders import ReadOrders
from oms.application.use_cases.requests import TRUSTED, Drive, RequestContext, Submit, future_of, result_of
from oms.domain.commands import CancelOrder, InstructPayment, PlaceOrder, RefundOrder, ShipOrder
from oms.domain.money import Currency
from oms.domain.order import Order
from oms.domain.refund import Instruction, OrderRefund
from oms.domain.shipment import Shipment
from oms.domain.state_machine import HistoryEntry
from oms.engine.assembly import ServiceAssembly
from oms.ports.clock import Ids
from oms.ports.extensions import Principal
from oms.ports.stores.order import OrderStore
from oms.ports.stores.rows import Page

NO_CHECKS = OrderChecks()


@attrs.frozen
class OrderUseCases:
    """The orders of a system. Every method takes the caller; a customer sees and changes only their own orders.

    The methods wait for the commit. They raise `oms.DomainError` for refusals, and `oms.Retryable` or
    `oms.OutcomeUnknown` if the caller should try again. Callers that mustn't block submit to `place_order`,
    `cancel_order` and the other use cases instead.
    """

    place_order: PlaceOrderUseCase
    cancel_order: CancelOrderUseCase
    resume_order: ResumeOrderUseCase
    ship_order: ShipOrderUseCase
    refund_order: RefundOrderUseCase
    instruct_payment: InstructPaymentUseCase
    _reads: ReadOrders
    _assembly: ServiceAssembly[OrderWork]
    _drive: Drive

    @staticmethod
    def of(
        assembly: ServiceAssembly[OrderWork],
        ids: Ids,
        drive: Drive,
        currency: Currency,
        checks: OrderChecks = NO_CHECKS,
    ) -> OrderUseCases:
        """Return the use cases of an order service; `drive` runs their commands unless a thread does."""
        reads = ReadOrders(cast("OrderStore", assembly.service.store))
        return OrderUseCases(
            PlaceOrderUseCase(assembly, reads, ids, currency, checks),
            CancelOrderUseCase(assembly, reads),
            ResumeOrderUseCase(assembly, reads),
            ShipOrderUseCase(assembly, reads, ids),
            RefundOrderUseCase(assembly, reads, ids),
            InstructPaymentUseCase(assembly, reads),
            reads,
            assembly,
            drive,
        )

    def driven_by(self, drive: Drive) -> OrderUseCases:
        """Return the same use cases, whose commands `drive` runs."""
        return attrs.evolve(self, drive=drive)

    def place(
        self,
        command: PlaceOrder,
        *,
        caller: Principal = TRUSTED,
        key: str | None = None,
        connection: object = None,
        trace: str | None = None,
    ) -> Order:
        """Accept an order: durable when this returns. `trace`, a W3C `traceparent`, is carried by its events.

        With `connection` (a SQLAlchemy connection to the database of the order service, in a transaction) the order
        is part of the caller's own transaction: it and its events exist if, and only if, that one commits. After an
        error the caller has to roll back. That transaction already makes a repeat harmless, so a `key` isn't allowed
        (`ValueError`). Raises `Permanent` for a connection that can't be joined: see "Joining" in
        docs/distributed.md.
        """
        if connection is not None and key is not None:
            raise ValueError("key and connection exclude each other")
        quote = self.place_order.quote(command, RequestContext(caller, key, trace))
        if connection is not None:
            return self.place_order.join(quote, connection)
        order: Order = self._result(partial(self.place_order.submit, quote))
        return order

    async def aplace(
        self, command: PlaceOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Order:
        """Like `place`, for coroutines: the blocking call runs in a thread (`asyncio.to_thread`).

        Cancelling the coroutine doesn't stop the call, so the order may be accepted all the same; a `key` makes it safe
        to repeat. A `connection` can't be joined from another thread.
        """
        return await to_thread(self.place, command, caller=caller, key=key, trace=trace)

    def submit(
        self, command: PlaceOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Future[Order]:
        """Like `place`, without waiting for the commit. Pricing and policy run in the calling thread."""
        quote = self.place_order.quote(command, RequestContext(caller, key, trace))
        return future_of(partial(self.place_order.submit, quote))

    def cancel(
        self, command: CancelOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Order:
        """Cancel an order; raises `Conflict` if it has ended otherwise, `NotFound` for another customer's order."""
        order: Order = self._result(partial(self.cancel_order.submit, command, RequestContext(caller, key, trace)))
        return order

    async def acancel(
        self, command: CancelOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Order:
        """Like `cancel`, for coroutines: the call runs in a thread and goes on when the coroutine is cancelled."""
        return await to_thread(self.cancel, command, caller=caller, key=key, trace=trace)

    def resume(self, order_id: str, *, caller: Principal = TRUSTED, trace: str | None = None) -> Order:
        """Resume an imported order (LEGACY), as if it were placed now. Safe to repeat.

        Raises `Conflict` if the order has ended otherwise, `Refused` for a customer.
        """
        order: Order = self._result(partial(self.resume_order.submit, order_id, RequestContext(caller, trace=trace)))
        return order

    def ship(
        self, command: ShipOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Shipment:
        """Ship units of a confirmed order, for operators. Without items, ship all open units.

        Raises `Conflict` if the order isn't confirmed, is COMPLETED or cancelled, or has fewer open units; `NotFound`
        for an unknown order; `Refused` for a customer.
        """
        shipment: Shipment = self._result(partial(self.ship_order.submit, command, RequestContext(caller, key, trace)))
        return shipment

    async def aship(
        self, command: ShipOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Shipment:
        """Like `ship`, for coroutines: the call runs in a thread and goes on when the coroutine is cancelled."""
        return await to_thread(self.ship, command, caller=caller, key=key, trace=trace)

    def refund(
        self, command: RefundOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> OrderRefund:
        """Refund units or money of a confirmed order, for operators; the money moves after this returns.

        Raises `Conflict` if the order isn't confirmed, or if units or money are missing; `InvalidValue` for a wrong
        amount; `NotFound` for an unknown order; `Refused` for a customer.
        """
        refund: OrderRefund = self._result(
            partial(self.refund_order.submit, command, RequestContext(caller, key, trace))
        )
        return refund

    async def arefund(
        self, command: RefundOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> OrderRefund:
        """Like `refund`, for coroutines: the call runs in a thread and goes on when the coroutine is cancelled."""
        return await to_thread(self.refund, command, caller=caller, key=key, trace=trace)

    def retry_payment(
        self,
        order_id: str,
        of: str,
        why: str,
        *,
        caller: Principal = TRUSTED,
        key: str | None = None,
        trace: str | None = None,
    ) -> Order:
        """Call the gateway again for a refund that it refused: `of` is the refund's id, or `whole`. For operators.

        Raises `Conflict` if no refused attempt waits for a decision; `NotFound` for an unknown order or refund.
        """
        command = InstructPayment.to(Instruction.RETRY, order_id, of, why)
        return self._instructed(command, RequestContext(caller, key, trace))

    async def aretry_payment(
        self,
        order_id: str,
        of: str,
        why: str,
        *,
        caller: Principal = TRUSTED,
        key: str | None = None,
        trace: str | None = None,
    ) -> Order:
        """Like `retry_payment`, for coroutines: the call runs in a thread."""
        return await to_thread(self.retry_payment, order_id, of, why, caller=caller, key=key, trace=trace)

    def resolve_payment(
        self,
        order_id: str,
        of: str,
        why: str,
        *,
        caller: Principal = TRUSTED,
        key: str | None = None,
        trace: str | None = None,
    ) -> Order:
        """Record that a refused refund was given back outside of the gateway. For operators.

        Raises `Conflict` if no refused attempt waits for a decision; `NotFound` for an unknown order or refund.
        """
        command = InstructPayment.to(Instruction.RESOLVE, order_id, of, why)
        return self._instructed(command, RequestContext(caller, key, trace))

    async def aresolve_payment(
        self,
        order_id: str,
        of: str,
        why: str,
        *,
        caller: Principal = TRUSTED,
        key: str | None = None,
        trace: str | None = None,
    ) -> Order:
        """Like `resolve_payment`, for coroutines: the call runs in a thread."""
        return await to_thread(self.resolve_payment, order_id, of, why, caller=caller, key=key, trace=trace)

    def _instructed(self, command: InstructPayment, context: RequestContext) -> Order:
        order: Order = self._result(partial(self.instruct_payment.submit, command, context))
        return order

    def get(self, order_id: str, *, caller: Principal = TRUSTED) -> Order:
        """Return an order; `NotFound` unless the caller may see it."""
        return self._reads.get(order_id, caller=caller)

    async def aget(self, order_id: str, *, caller: Principal = TRUSTED) -> Order:
        """Like `get`, for coroutines: the blocking call runs in a thread."""
        return await to_thread(self.get, order_id, caller=caller)

    def page(
        self, number: int = 0, size: int = 10, *, user_id: str | None = None, caller: Principal = TRUSTED
    ) -> Page[Order]:
        """Return a page of orders, newest first: a customer's own; for other callers those of `user_id`, or all."""
        return self._reads.page(number, size, user_id=user_id, caller=caller)

    def timeline(self, order_id: str, *, caller: Principal = TRUSTED) -> Sequence[HistoryEntry]:
        """Return the order's history by `seq`: the order service's transitions, and the messages that it consumed."""
        return self._reads.timeline(order_id, caller=caller)

    def _result(self, submit: Submit) -> Any:
        return result_of(submit, self._assembly, self._drive)
