"""Planted faults of shipments and refunds; `zoo.py` has the others, `planting.py` the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import attrs

from oms.application import notifications, payments
from oms.application.gateway_tasks import _refund_of
from oms.application.use_cases import fulfil_order
from oms.domain import order_table, part_events
from oms.domain.events import OrderCompleted
from oms.domain.fulfilment import Fulfilment
from oms.domain.money import Money
from oms.domain.order_table import OrderState, OrderTrigger
from oms.domain.reservation import Reservation, Restock
from oms.domain.shipment import Shipment
from oms.domain.state_machine import Transition, evolve
from oms.engine.command_groups import CommandGroup, _Response
from oms.ports.extensions import Declined, Refund, Unanswered
from oms.testing.sim.scope import ANSWERS, CRASH, GATEWAY, PURGE, REFUSALS, REPEAT
from tests.testing.sim.planting import cell, planted

TWO: dict[str, Any] = {"quantity": 2, "units": 2}


@planted(
    "a refund without a response counts as refused, so that an operator retries it",
    **TWO,
    plan=("cancel one",),
    faults=(GATEWAY, REFUSALS),
)
def refund_paid_twice_after_a_lost_response() -> Iterator[None]:
    finish = payments.Refunds.finish

    def hasty(self: Any, work: Any, ended: Any) -> Any:
        if isinstance(ended.answer, Unanswered):
            ended = attrs.evolve(ended, answer=Declined("no response"))
        return finish(self, work, ended)

    with patch.object(payments.Refunds, "finish", hasty):
        yield


@planted("each try of a refund uses a new key", **TWO, plan=("ship one", "take one back"), faults=(GATEWAY, REPEAT))
def refund_retried_under_a_new_key() -> Iterator[None]:
    def refunded_again(self: Any, task: Any, found: Any) -> Any:
        refund = _refund_of(task, found)
        key = f"{found.refund_key(refund)}-{task.attempts}"
        request = Refund(
            key=key, charge_key=found.key, order_id=found.order_id, user_id=found.user_id, amount=refund.amount
        )
        return lambda: self.gateway.refund(request)

    with patch.object(payments.Refunds, "_call", refunded_again):
        yield


@planted(
    "inventory relies on its inbox to restock a refund once",
    **TWO,
    plan=("cancel one", "ship one"),
    faults=(PURGE, REPEAT),
)
def restocked_twice_after_a_purged_inbox() -> Iterator[None]:
    def forgetful(self: Reservation, event: Any, *, at: Any) -> Transition[Reservation]:
        if not event.restock:
            return Transition(self)
        again = any(one.refund_id == event.refund_id for one in self.restocks)
        name = f"{event.refund_id}.again" if again else event.refund_id
        restocks = (*self.restocks, Restock(name, event.items))
        return Transition(evolve(self, restocks=restocks, updated_at=at))

    with patch.object(Reservation, "refunded", forgetful):
        yield


@planted(
    "a refund after the completion publishes `order.completed` again, with a new amount",
    **TWO,
    plan=("ship all", "take one back"),
    faults=(CRASH,),
)
def completed_twice() -> Iterator[None]:
    def with_all_refunds(order_id: Any, terms: Any, fulfilment: Fulfilment) -> OrderCompleted:
        refunded = Money(fulfilment.refunded, terms.total.currency)
        return attrs.evolve(completed(order_id, terms, fulfilment), refunded=refunded)

    completed = part_events.completed
    with (
        cell(order_table.ORDER_TABLE, OrderState.COMPLETED, OrderTrigger.GIVE_BACK, order_table._refunded_all),
        patch.object(part_events, "completed", with_all_refunds),
    ):
        yield


@planted(
    "the units of a shipment aren't compared with those that are open",
    **TWO,
    plan=("ship one", "ship two"),
    faults=(CRASH,),
)
def shipped_beyond_what_is_left() -> Iterator[None]:
    def trusting(self: Fulfilment, shipment_id: str, command: Any, ordered: Any, at: Any) -> Fulfilment:
        items = command.items if command.items is not None else self.open_items(ordered)
        return attrs.evolve(self, shipments=(*self.shipments, Shipment(shipment_id, items, at)))

    with patch.object(Fulfilment, "ship", trusting):
        yield


@planted(
    "notifications are named by order and topic, and the second parcel's one is dropped as a repeat",
    **TWO,
    plan=("ship one", "ship one"),
    faults=(CRASH,),
)
def second_parcels_notification_dropped() -> Iterator[None]:
    notify = notifications.NotificationWork.notify

    def once(self: Any, notification: Any) -> None:
        known = self._transaction._tables.by_order.get(notification.order_id, ())
        rows = self._transaction._tables.notifications.rows
        if all(rows[name].notification.kind != notification.kind for name in known):
            notify(self, notification)

    with patch.object(notifications.NotificationWork, "notify", once):
        yield


@planted(
    "the idempotency key of a shipment isn't looked up: each try ships once more",
    **TWO,
    fine=True,
    plan=("ship one",),
    faults=(ANSWERS, CRASH),
)
def key_of_a_shipment_is_ignored() -> Iterator[None]:
    with (
        patch.object(fulfil_order, "checked_key", lambda *_args: None),
        patch.object(CommandGroup, "_recovered", lambda _self, _command, error: _Response(error=error)),
    ):
        yield
