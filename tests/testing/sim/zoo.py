"""Planted faults, each a few lines as a developer might write them. The search has to find every one of them.

`part_zoo.py` has those of shipments and refunds, `planting.py` the search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import attrs

from oms.adapters.memory import gate_rules
from oms.adapters.memory.inventory import MemoryInventoryTransaction
from oms.adapters.memory.store import MemoryStore
from oms.adapters.memory.transaction import MemoryTransaction
from oms.application import inventory, payments
from oms.application.inventory_work import InventoryWork
from oms.application.stock_gate import GateKeeper
from oms.domain import order_table, payment, reservation
from oms.domain.order_table import OrderState, OrderTrigger
from oms.domain.payment import Payment, PaymentState, PaymentTrigger
from oms.domain.reservation import ReservationState
from oms.domain.state_machine import Effect, move, stay
from oms.domain.stated_terms import StatedTerms
from oms.engine.command_groups import CommandGroup, _Response
from oms.engine.consumer import Consumer
from oms.engine.relay import Relay
from oms.engine.tasks import TaskRunner
from oms.engine.unit_of_work import UnitOfWorkFactory
from oms.ports.extensions import Charge, Declined, NotAttempted, Unanswered, UnknownCharge
from oms.testing.sim.scope import CANCEL, CRASH, FORGERY, GATE, GATEWAY, PAUSES
from tests.testing.sim.planting import ZOO, cell, killed, planted

# -- relay


@planted("the relay removes the rows before it publishes them", fine=True, depth=1)
def sent_before_published() -> Iterator[None]:
    send = Relay._send

    def eager(self: Relay, rows: Sequence[Any]) -> int:
        self._store.mark_sent([row.id for row in rows])
        return send(self, rows)

    with patch.object(Relay, "_send", eager):
        yield


@planted("an event is published when it is decided, before the commit", fine=True, depth=1)
def published_before_the_commit() -> Iterator[None]:
    flush = UnitOfWorkFactory._flush

    def eager(self: UnitOfWorkFactory[Any], unit: Any, *, leased: bool = True) -> Any:
        rows = flush(self, unit, leased=leased)
        self.relay._broker.publish([row.message for row in rows])
        return rows

    with patch.object(UnitOfWorkFactory, "_flush", eager):
        yield


@planted("the relay forgets messages that the broker refused", fine=True, depth=1)
def refused_messages_are_dropped() -> Iterator[None]:
    def careless(self: Relay, rows: Sequence[Any]) -> int:
        try:
            self._broker.publish([row.message for row in rows])
        finally:
            self._store.mark_sent([row.id for row in rows])
        return len(rows)

    with patch.object(Relay, "_send", careless):
        yield


@planted(
    "the sweep reads only outbox ids above the highest id it has seen",
    fine=True,
    faults=(PAUSES, CRASH),
    workers={"order": 2},
    orders=2,
)
def watermark_relay() -> Iterator[None]:
    claim = MemoryStore.claim_outbox

    def by_watermark(self: Any, limit: int, lease_s: float, without: Collection[str] = ()) -> Any:
        mark = getattr(self._tables, "mark", "")
        rows = [row for row in claim(self, limit, lease_s, without) if row.id > mark]
        self._tables.mark = max([mark, *(row.id for row in rows)])
        return rows

    with patch.object(MemoryStore, "claim_outbox", by_watermark):
        yield


@planted("no process sweeps the outbox rows of a process that died", depth=1)
def no_sweeper() -> Iterator[None]:
    with patch.object(Relay, "_swept", lambda _self, _now: ()):
        yield


# -- consumer


@planted("messages are handled without an inbox", depth=1)
def no_inbox() -> Iterator[None]:
    with patch.object(MemoryTransaction, "claim_inbox", lambda _self, _group, names: sorted(set(names))):
        yield


@planted(
    "the inbox is checked before the transaction and not claimed in it; the last write wins",
    fine=True,
    workers={"payment": 2},
)
def inbox_checked_not_claimed() -> Iterator[None]:
    def look(self: Any, group: str, names: Any) -> Any:
        for name in names:
            self.work.put(self._tables.inbox, (group, name), self._tables.clock.now())
        return sorted(set(names))

    def last_wins(self: Any, table: Any, key: Any, row: Any, _same: Any = None) -> None:
        self.work.put(table, key, row)

    with (
        patch.object(MemoryTransaction, "claim_inbox", look),
        patch.object(MemoryTransaction, "_update", last_wins),
        patch.object(MemoryTransaction, "_insert", last_wins),
        no_row_locks(),
    ):
        yield


@contextmanager
def no_row_locks() -> Iterator[None]:
    def unlocked(self: Any, table: Any, keys: Any) -> Any:
        work = self._open()
        rows = ((key, work.find(table, key)) for key in sorted(set(keys)))
        return {key: row for key, row in rows if row is not None}

    with patch.object(MemoryTransaction, "_lock_rows", unlocked):
        yield


@planted("offsets are committed right after the poll, before the work", fine=True, depth=1)
def offsets_before_the_work() -> Iterator[None]:
    settle = Consumer._settle

    def eager(self: Consumer[Any], batch: Any) -> int:
        self._offsets.done(one.message.record for one in batch)
        self._commit()
        return settle(self, batch)

    with patch.object(Consumer, "_settle", eager):
        yield


@planted(
    "after a failure the next message is handled, and its offset is committed past the failed one", fine=True, depth=1
)
def committed_past_a_failed_message() -> Iterator[None]:
    def careless(self: Consumer[Any], batch: Any, error: Exception) -> None:
        self._offsets.done(one.message.record for one in batch.messages)

    with patch.object(Consumer, "_hold", careless):
        yield


@planted(
    "a batch is lost until the next rebalance if its start couldn't be recorded (a real mistake, which this search found)",
    fine=True,
    depth=1,
)
def batch_lost_when_its_start_is_not_recorded() -> Iterator[None]:
    hold = Consumer._hold

    def careless(self: Consumer[Any], batch: Any, error: Exception) -> None:
        if batch.is_noted:
            hold(self, batch, error)

    with patch.object(Consumer, "_hold", careless):
        yield


# -- orders


@planted("a payment confirms an order that is being cancelled", depth=2)
def late_payment_confirms() -> Iterator[None]:
    with cell(order_table.ORDER_TABLE, OrderState.CANCELLING, OrderTrigger.PAID, order_table._confirmed):
        yield


@planted("a cancel ends the order and releases its stock before the payment is settled", depth=2)
def released_before_the_money_is_settled() -> Iterator[None]:
    with (
        cell(order_table.ORDER_TABLE, OrderState.RESERVED, OrderTrigger.CUSTOMER_CANCEL, order_table._cancelled),
        cell(order_table.ORDER_TABLE, OrderState.CREATED, OrderTrigger.CUSTOMER_CANCEL, order_table._cancelled),
    ):
        yield


@planted("a repeated idempotency key isn't looked up: each try makes another order", fine=True, depth=1)
def key_is_ignored() -> Iterator[None]:
    with (
        patch("oms.application.use_cases.place_order._key", lambda *_args: None),
        patch.object(CommandGroup, "_recovered", lambda _self, _command, error: _Response(error=error)),
    ):
        yield


@planted("an order that is being cancelled ignores `payment.voided`", depth=2)
def voided_is_ignored() -> Iterator[None]:
    with cell(order_table.ORDER_TABLE, OrderState.CANCELLING, OrderTrigger.VOIDED, stay(Effect.NOTED)):
        yield


@planted("the order service accepts a payment of any amount", depth=1, faults=(FORGERY,))
def any_amount_is_taken() -> Iterator[None]:
    with patch.object(StatedTerms, "differ_from", lambda _self, _terms: False):
        yield


@planted(
    "a forged message that was parked claims the inbox row of the true one", depth=2, faults=(FORGERY, CANCEL, GATEWAY)
)
def forgery_takes_the_inbox_row() -> Iterator[None]:
    with patch("oms.application.orders.inbox_id", lambda message: message.id):
        yield


# -- inventory


@planted("a cancel that arrives before its reservation leaves no tombstone", depth=2)
def no_release_tombstone() -> Iterator[None]:
    with cell(
        reservation.RESERVATION_TABLE,
        ReservationState.ABSENT,
        reservation.ReservationTrigger.CANCELLED,
        stay(Effect.NOTED),
    ):
        yield


@planted(
    "a rejection isn't final: the gate checks the stock again",
    most=6000,
    orders=2,
    fine=True,
    faults=(PAUSES, CANCEL),
    workers={"inventory": 2},
)
def rejection_not_sticky() -> Iterator[None]:
    take = gate_rules.take

    def forgetful(state: Any, name: str, lines: Any, now_ms: int, bound_to: int | None = None) -> Any:
        answer = take(state, name, lines, now_ms, bound_to)
        if answer["answer"] == gate_rules.REJECTED:
            state["answers"].pop(name, None)
        return answer

    with patch.object(gate_rules, "take", forgetful):
        yield


@planted("units that the gate held and the ledger refused aren't given back", depth=2, fine=True, orders=2)
def hold_not_given_back() -> Iterator[None]:
    with patch.object(inventory, "_give_back", lambda _work, _order_id: None):
        yield


@planted("a repeated hold takes units a second time", fine=True, depth=1)
def gate_take_not_idempotent() -> Iterator[None]:
    take = gate_rules.take

    def twice(state: Any, name: str, lines: Any, now_ms: int, bound_to: int | None = None) -> Any:
        state["answers"].pop(name, None)
        return take(state, name, lines, now_ms, bound_to)

    with patch.object(gate_rules, "take", twice):
        yield


@planted("each copy of a cancel gives the stock back once more", depth=2)
def give_back_not_idempotent() -> Iterator[None]:
    def again(state: Any, name: str, now_ms: int) -> bool:
        stored = state["answers"].get(name)
        for sku, quantity in (stored or {"lines": {}})["lines"].items():
            state["available"][sku] += quantity
        return True

    with patch.object(gate_rules, "give_back", again):
        yield


@planted(
    "a hold made under an older epoch of the gate is recorded",
    depth=3,
    most=40_000,
    fine=True,
    faults=(PAUSES, GATE),
    workers={"inventory": 2},
)
def epoch_not_compared() -> Iterator[None]:
    with patch.object(InventoryWork, "_check_epoch", lambda _self, _takes: None):
        yield


@planted(
    "a hold isn't bound to an epoch of the gate", units=2, fine=True, faults=(PAUSES, GATE), workers={"inventory": 2}
)
def take_not_bound_to_an_epoch() -> Iterator[None]:
    with patch.object(GateKeeper, "epoch", lambda _self: None):
        yield


@planted(
    "the ledger doesn't check that units are left",
    fine=True,
    orders=2,
    partitions=3,
    faults=(PAUSES, GATE),
    workers={"inventory": 2},
)
def the_ledger_trusts_the_gate() -> Iterator[None]:
    def trusting(self: Any, movements: Any) -> None:
        work = self._open()
        for movement in movements:
            stock = work.lock_row(self._tables.stock, movement.sku)
            after = attrs.evolve(stock, on_hand=stock.on_hand + movement.on_hand, held=stock.held + movement.held)
            work.put(self._tables.stock, movement.sku, after)
            self._append(movement)

    def unchecked(self: Any, movement: Any) -> Any:
        return attrs.evolve(self, on_hand=self.on_hand + movement.on_hand, held=self.held + movement.held)

    with (
        patch.object(MemoryInventoryTransaction, "move_stock", trusting),
        patch("oms.domain.stock.Stock.moved", unchecked),
        patch.object(InventoryWork, "shortages", lambda _self, _event: ()),
        patch.object(InventoryWork, "_check_epoch", lambda _self, _takes: None),
    ):
        yield


@planted("the gate restarts without its last second, and no service notices", orders=2, faults=(GATE,))
def lost_tail_not_noticed() -> Iterator[None]:
    from oms.testing.sim import faults

    def unnoticed(system: Any) -> None:
        epoch = system.gate.state["epoch"]
        before(system)
        system.gate.state["epoch"] = epoch

    before = faults.lose_tail
    with patch.object(faults, "lose_tail", unnoticed):
        yield


@planted("two orders give stock back under one key, and the gate drops the second as a repeat", units=2, orders=2)
def restock_key_collides() -> Iterator[None]:
    with patch.object(inventory, "composite_key", lambda kind, _order_id, sku: f"{kind}:{sku}"):
        yield


# -- payments


@planted(
    "the cancel of a payment in progress publishes `payment.voided` without a void",
    fine=True,
    faults=(PAUSES, CANCEL, GATEWAY),
)
def voided_instead_of_voiding() -> Iterator[None]:
    with (
        cell(payment.PAYMENT_TABLE, PaymentState.INITIATED, PaymentTrigger.CANCELLING, payment._voided),
        cell(payment.PAYMENT_TABLE, PaymentState.UNKNOWN, PaymentTrigger.CANCELLING, payment._voided),
    ):
        yield


@planted("a cancel that arrives before its payment leaves no tombstone", depth=2)
def no_void_tombstone() -> Iterator[None]:
    with cell(
        payment.PAYMENT_TABLE,
        PaymentState.ABSENT,
        PaymentTrigger.CANCELLING,
        attrs.evolve(move(PaymentState.ABSENT, payment.PaymentVoided)),
    ):
        yield


@planted("each try of a charge uses a new key", depth=2)
def new_key_on_retry() -> Iterator[None]:
    def charged_again(self: Any, task: Any, found: Payment) -> Any:
        key = found.key if task.attempts == 1 else f"{found.key}-{task.attempts}"
        charge = Charge(key=key, order_id=found.order_id, user_id=found.user_id, amount=found.total)
        return lambda: self.gateway.charge(charge)

    with patch.object(payments.Charges, "_call", charged_again):
        yield


@planted("a charge without an answer counts as declined", depth=1)
def unknown_taken_for_declined() -> Iterator[None]:
    finish = payments.Charges.finish

    def hasty(self: Any, work: Any, ended: Any) -> Any:
        if isinstance(ended.answer, Unanswered):
            ended = attrs.evolve(ended, answer=Declined("no answer"))
        return finish(self, work, ended)

    with patch.object(payments.Charges, "finish", hasty):
        yield


@planted("a charge that a look-up doesn't find counts as declined before the settle window has passed", depth=2)
def unknown_charge_taken_for_declined() -> Iterator[None]:
    finish = payments.Charges.finish

    def hasty(self: Any, work: Any, ended: Any) -> Any:
        if isinstance(ended.answer, UnknownCharge):
            ended = attrs.evolve(ended, answer=Declined("unknown charge"))
        return finish(self, work, ended)

    with patch.object(payments.Charges, "finish", hasty):
        yield


@planted("a call that was not attempted counts as declined, also if it was a look-up", depth=2)
def not_attempted_taken_for_declined() -> Iterator[None]:
    finish = payments.Charges.finish

    def hasty(self: Any, work: Any, ended: Any) -> Any:
        if isinstance(ended.answer, NotAttempted):
            ended = attrs.evolve(ended, answer=Declined("not attempted"))
        return finish(self, work, ended)

    with patch.object(payments.Charges, "finish", hasty):
        yield


@planted("the payment of a cancelled order isn't refunded", depth=1)
def no_refund() -> Iterator[None]:
    with cell(payment.PAYMENT_TABLE, PaymentState.CAPTURED, PaymentTrigger.CANCELLING, stay(Effect.NOTED)):
        yield


@planted("a refund without an answer counts as done", depth=2)
def refund_taken_for_done() -> Iterator[None]:
    def hasty(self: Any, work: Any, ended: Any) -> None:
        work.save(work[ended.token.key].refund_done(at=work.now))

    with patch.object(payments.Refunds, "finish", hasty):
        yield


# -- tasks


@planted("a claimed task is removed before its call", fine=True, depth=1)
def task_removed_before_its_call() -> Iterator[None]:
    claim = TaskRunner._claim

    def eager(self: TaskRunner[Any]) -> Sequence[Any]:
        tasks = claim(self)
        if tasks:
            with self._units.open() as unit:
                unit.transaction.finish_tasks(tasks)
        return tasks

    with (
        patch.object(TaskRunner, "_claim", eager),
        patch.object(MemoryTransaction, "_held", lambda self, tasks: [task.id for task in tasks]),
    ):
        yield


@planted("a failed task isn't tried again", depth=1)
def no_second_try() -> Iterator[None]:
    with patch.object(
        MemoryTransaction,
        "_postpone",
        lambda self, postponed: self.work.put(self._tables.tasks, postponed.task.id, None),
    ):
        yield


@planted(
    "a restarted process releases the leases of every process of its instance, live ones too",
    fine=True,
    faults=(PAUSES, CRASH),
    workers={"payment": 2},
)
def leases_of_live_processes_are_released() -> Iterator[None]:
    def careless(self: MemoryStore[Any], instance: str) -> int:
        record = self._tables
        record.instances[self._hooks.owner] = instance
        return record.release({owner for owner, known in record.instances.items() if known == instance})

    with patch.object(MemoryStore, "register", careless):
        yield


from tests.testing.sim import part_zoo  # noqa: E402 - its faults come last

__all__ = ["ZOO", "killed", "part_zoo"]
