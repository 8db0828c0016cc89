"""Cancel an order, or resume an imported one."""

from __future__ import annotations

import attrs

from oms.application import orders
from oms.application.orders import OrderWork
from oms.application.use_cases.idempotency import checked_key, dump_order
from oms.application.use_cases.read_orders import ReadOrders
from oms.application.use_cases.requests import RequestContext
from oms.domain.commands import CancelOrder
from oms.domain.errors import Refused
from oms.domain.order import Order
from oms.domain.order_table import OrderState
from oms.domain.values import OrderId, checked_id
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import Command, Reply
from oms.ports.extensions import Principal, Role
from oms.ports.messages import valid_trace


@attrs.frozen
class CancelOrderUseCase:
    """Cancels orders."""

    _assembly: ServiceAssembly[OrderWork]
    _orders: ReadOrders

    def submit(self, command: CancelOrder, context: RequestContext, reply: Reply) -> None:
        """Cancel the order with the next group of commands; the reply gets the `Order`. Never blocks.

        The reply gets `NotFound` for another customer's order, and `Conflict` if the order has ended otherwise.
        Raises `Refused` for a customer who cancels as an operator.
        """
        checked_id(command.order_id, name="orderId")
        caller = context.caller
        if command.by_operator and caller.role is Role.CUSTOMER:
            raise Refused("operators_only", "only an operator may cancel as an operator")
        group_command: Command[OrderWork, Order] = Command(
            lambda unit: orders.cancel(unit.work, command, caller.owner),
            names=(command.order_id,),
            key=checked_key(context.key, caller, "cancel", [command.order_id, command.by_operator]),
            dump=dump_order,
            restore=self._orders.restore,
            recover=lambda: self._cancelled(command.order_id, caller),
            trace=valid_trace(context.trace),
        )
        self._assembly.commands.submit(group_command, reply)

    def _cancelled(self, order_id: OrderId, caller: Principal) -> Order | None:
        order = self._orders.store.order(order_id, caller.owner)
        ended = order is not None and order.state in (OrderState.CANCELLING, OrderState.CANCELLED)
        return order if ended else None


@attrs.frozen
class ResumeOrderUseCase:
    """Resumes imported orders (state LEGACY)."""

    _assembly: ServiceAssembly[OrderWork]
    _orders: ReadOrders

    def submit(self, order_id: str, context: RequestContext, reply: Reply) -> None:
        """Resume the order with the next group of commands; the reply gets the `Order`. Never blocks.

        The order continues as if it were placed now. A repeat is safe, so no idempotency key is needed. The reply gets
        `Conflict` if the order has ended otherwise. Raises `Refused` for a customer.
        """
        known = OrderId(checked_id(order_id, name="orderId"))
        if context.caller.role is Role.CUSTOMER:
            raise Refused("operators_only", "only an operator may resume an imported order")
        command: Command[OrderWork, Order] = Command(
            lambda unit: orders.resume(unit.work, known),
            names=(known,),
            recover=lambda: self._resumed(known),
            trace=valid_trace(context.trace),
        )
        self._assembly.commands.submit(command, reply)

    def _resumed(self, order_id: OrderId) -> Order | None:
        order = self._orders.store.order(order_id, None)
        return order if order is not None and order.state is not OrderState.LEGACY else None
