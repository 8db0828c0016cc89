"""Ship and refund confirmed orders, and decide about refunds that the gateway refused. For operators."""

from __future__ import annotations

import json
from decimal import Decimal

import attrs

from oms.application import orders
from oms.application.orders import OrderWork
from oms.application.use_cases.idempotency import checked_key, dump_order
from oms.application.use_cases.read_orders import ReadOrders
from oms.application.use_cases.requests import RequestContext
from oms.domain.commands import InstructPayment, RefundOrder, ShipOrder
from oms.domain.errors import NotFound, Refused
from oms.domain.order import Order
from oms.domain.refund import OrderRefund, RefundState
from oms.domain.shipment import Shipment
from oms.domain.values import Items
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import Command, Reply
from oms.ports.clock import Ids
from oms.ports.extensions import Principal, Role
from oms.ports.messages import valid_trace

MAX_BY = 64
"""Largest length of an operator's name in the record, in characters."""


@attrs.frozen
class ShipOrderUseCase:
    """Ships units of confirmed orders."""

    _assembly: ServiceAssembly[OrderWork]
    _orders: ReadOrders
    _ids: Ids

    def submit(self, command: ShipOrder, context: RequestContext, reply: Reply) -> None:
        """Ship with the next group of commands; the reply gets the `Shipment`. Never blocks.

        The reply gets `NotFound` for an unknown order, and `Conflict` if the order isn't confirmed or has fewer open
        units. Raises `Refused` for a customer.
        """
        _operators_only(context.caller, "ship an order")
        shipment_id = self._ids.token()
        body = [command.order_id, _pairs(command.items), command.carrier, command.tracking_number]
        group_command: Command[OrderWork, Shipment] = Command(
            lambda unit: orders.ship(unit.work, command, shipment_id),
            names=(command.order_id,),
            key=checked_key(context.key, context.caller, "ship", body),
            dump=lambda shipment: json.dumps([command.order_id, shipment.id]),
            restore=self._restore,
            recover=lambda: _shipment(self._orders.store.order(command.order_id, None), shipment_id),
            trace=valid_trace(context.trace),
        )
        self._assembly.commands.submit(group_command, reply)

    def _restore(self, body: str) -> Shipment:
        order_id, shipment_id = json.loads(body)
        found = _shipment(self._orders.get(order_id), shipment_id)
        if found is None:
            raise NotFound("shipment_not_found", f"order {order_id} has no shipment {shipment_id}")
        return found


@attrs.frozen
class RefundOrderUseCase:
    """Refunds units or money of confirmed orders."""

    _assembly: ServiceAssembly[OrderWork]
    _orders: ReadOrders
    _ids: Ids

    def submit(self, command: RefundOrder, context: RequestContext, reply: Reply) -> None:
        """Request a refund with the next group of commands; the reply gets the `Refund`, which is DUE. Never blocks.

        The reply gets `NotFound` for an unknown order, `Conflict` if the order isn't confirmed or if units or money are
        missing, and `InvalidValue` for a wrong amount. Raises `Refused` for a customer.
        """
        _operators_only(context.caller, "refund an order")
        refund_id = self._ids.token()
        group_command: Command[OrderWork, OrderRefund] = Command(
            lambda unit: orders.refund(unit.work, command, refund_id),
            names=(command.order_id,),
            key=checked_key(context.key, context.caller, "refund", _body_of(command)),
            dump=lambda refund: json.dumps([command.order_id, refund.id]),
            restore=self._restore,
            recover=lambda: _refund(self._orders.store.order(command.order_id, None), refund_id),
            trace=valid_trace(context.trace),
        )
        self._assembly.commands.submit(group_command, reply)

    def _restore(self, body: str) -> OrderRefund:
        order_id, refund_id = json.loads(body)
        found = _refund(self._orders.get(order_id), refund_id)
        if found is None:
            raise NotFound("refund_not_found", f"order {order_id} has no refund {refund_id}")
        return attrs.evolve(found, state=RefundState.DUE, outside=False)  # as it was in the first response


@attrs.frozen
class InstructPaymentUseCase:
    """Retries or resolves refunds that the gateway refused."""

    _assembly: ServiceAssembly[OrderWork]
    _orders: ReadOrders

    def submit(self, command: InstructPayment, context: RequestContext, reply: Reply) -> None:
        """Pass the decision on with the next group of commands; the reply gets the `Order`. Never blocks.

        The reply gets `NotFound` for an unknown order or refund, and `Conflict` if no refused attempt of the refund
        waits for a decision. Raises `Refused` for a customer.
        """
        caller = context.caller
        _operators_only(caller, "decide about a refund")
        by = (caller.user_id or caller.credential or caller.role.value)[:MAX_BY]
        body = [command.order_id, command.of, command.what.value, command.why]
        group_command: Command[OrderWork, Order] = Command(
            lambda unit: orders.instruct(unit.work, command, by),
            names=(command.order_id,),
            key=checked_key(context.key, caller, f"payment.{command.what.value}", body),
            dump=dump_order,
            restore=self._orders.restore,
            recover=lambda: self._instructed(command),
            trace=valid_trace(context.trace),
        )
        self._assembly.commands.submit(group_command, reply)

    def _instructed(self, command: InstructPayment) -> Order | None:
        order = self._orders.store.order(command.order_id, None)
        refusal = order.fulfilment.refusal(command.of) if order is not None else None
        same = refusal is not None and (refusal.instruction, refusal.why) == (command.what, command.why)
        return order if same else None


def _operators_only(caller: Principal, to: str) -> None:
    if caller.role is Role.CUSTOMER:
        raise Refused("operators_only", f"only an operator may {to}")


def _body_of(command: RefundOrder) -> list[object]:
    """Return the fields of a refund command, for the fingerprint of its idempotency key; `2` and `2.00` are equal."""
    amount = _digits(command.amount) if command.amount is not None else None
    kind = command.kind.value
    return [command.order_id, kind, command.reason, _pairs(command.items), amount, command.restock]


def _digits(amount: Decimal) -> str:
    """Return a text that is equal for equal amounts. It is short for a tiny amount too, which is refused later."""
    _, digits, exponent = amount.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    return f"{kept}e{int(exponent) + len(text) - len(kept)}" if kept else "0"


def _pairs(items: Items | None) -> list[list[object]] | None:
    return [[sku, units] for sku, units in sorted(items.items())] if items is not None else None


def _shipment(order: Order | None, shipment_id: str) -> Shipment | None:
    if order is None:
        return None
    return next((one for one in order.fulfilment.shipments if one.id == shipment_id), None)


def _refund(order: Order | None, refund_id: str) -> OrderRefund | None:
    return order.fulfilment.refund(refund_id) if order is not None else None
