"""A contract that no broken adapter fails proves nothing: each planted fault must fail the named tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs
import pytest

from oms.adapters.memory import (
    CountedIds,
    ManualClock,
    MemoryGate,
    MemoryInventoryStore,
    MemoryLog,
    MemoryNotificationStore,
    MemoryOrderStore,
    MemoryPaymentStore,
    log,
)
from oms.adapters.memory import inventory as inventory_module
from oms.adapters.memory import notifications as notifications_module
from oms.adapters.memory import orders as orders_module
from oms.adapters.memory import payments as payments_module
from oms.adapters.memory.groups import Group, Member
from oms.domain.order import Order
from oms.domain.payment import Payment
from oms.domain.reservation import Reservation
from oms.domain.stock import Movement
from oms.domain.values import Items, OrderId, UserId
from oms.ports.broker import TopicPartition
from oms.ports.extensions import Notification
from oms.ports.gate import GateAnswer, Taken
from oms.ports.messages import MessageId, Outgoing, Record
from oms.ports.stores.rows import DeadLetter, DeadLetterState, Delivery, OutboxRow, Task
from oms.testing.contracts.broker import BrokerContract
from oms.testing.contracts.gate import GateContract
from oms.testing.contracts.inventory import InventoryStoreContract
from oms.testing.contracts.notifications import NotificationStoreContract
from oms.testing.contracts.orders import OrderStoreContract
from oms.testing.contracts.payments import PaymentStoreContract
from tests.contracts.labs import InMemory, Timed

pytestmark = pytest.mark.slow

Patch = Callable[[pytest.MonkeyPatch], None]


class _Orders(InMemory, OrderStoreContract):
    kind = MemoryOrderStore


class _Inventory(InMemory, InventoryStoreContract):
    kind = MemoryInventoryStore


class _Payments(InMemory, PaymentStoreContract):
    kind = MemoryPaymentStore


class _Notifications(InMemory, NotificationStoreContract):
    kind = MemoryNotificationStore


class _Gate(Timed, GateContract):
    def lose_memory(self, gate: Any) -> None:
        gate.lose_memory()


def _fails(suite: type[Any], test: str) -> bool:
    """Whether one test of a suite, run by hand, fails on the (patched) memory adapters."""
    lab = suite()
    lab.clock, lab.blocked = ManualClock(), lambda what: pytest.fail(f"nobody holds {what}")
    new = {
        "store": lambda: type(lab).kind(lab.clock, CountedIds(), blocked=lambda what: lab.blocked(what)),
        "gate": lambda: MemoryGate(lab.clock),
        "broker": getattr(suite, "log", MemoryLog),
    }
    method = getattr(lab, test)
    given = {}
    for name in inspect.signature(method).parameters:
        given[name] = new[name.removeprefix("new_")] if name.startswith("new_") else new[name]()
        if name == "gate":
            given[name].rebuild({"sku-a": 5, "sku-b": 10}, {}, 7)
    try:
        method(**given)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, it fails
        return True
    return False


def _patch(owner: Any, name: str, broken: Callable[..., Any]) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, broken)


_transaction = orders_module.MemoryOrderTransaction
_moves = inventory_module.MemoryInventoryTransaction
_store = orders_module.MemoryOrderStore
_refunds = payments_module.MemoryPaymentTransaction
_save_orders, _save_payments, _save_reservations = (
    _transaction.save_orders,
    _refunds.save_payments,
    _moves.save_reservations,
)
_flush = _transaction.flush


def _inbox_always_says_new(self: Any, group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
    _claim(self, group, messages)
    return messages


def _inbox_is_shared_by_groups(self: Any, _group: str, messages: Collection[MessageId]) -> Collection[MessageId]:
    return _claim(self, "g", messages)


_claim = _transaction.claim_inbox


def _save_without_compare(self: Any, changes: Sequence[tuple[Order, Order]], history: Any) -> None:
    for _, after in changes:
        self.work.lock(self._tables.orders, after.id)
        self.work.put(self._tables.orders, after.id, after)


def _finish_without_fence(self: Any, tasks: Sequence[Task]) -> Collection[Any]:
    for task in tasks:
        self.work.put(self._tables.tasks, task.id, None)
    return [task.id for task in tasks]


def _relay_with_a_watermark(
    self: Any, limit: int, lease_s: float, without: Collection[str] = ()
) -> Sequence[OutboxRow]:
    seen = getattr(self, "highest", "")
    rows = [row for row in self._tables.claim_outbox(limit, lease_s, without) if row.id > seen]
    self.highest = max([seen, *(row.id for row in rows)])
    return rows


def _parked_by_its_state(self: Any, letters: Sequence[DeadLetter]) -> None:
    self.mark_dead_letters([letter.id for letter in letters], DeadLetterState.PARKED)


def _claims_blocked_topics(
    self: Any,
    limit: int,
    lease_s: float,
    without: Collection[str] = (),
) -> Sequence[OutboxRow]:
    return list(self._tables.claim_outbox(limit, lease_s))


def _filters_after_the_limit(
    self: Any, limit: int, lease_s: float, without: Collection[str] = ()
) -> Sequence[OutboxRow]:
    return [row for row in self._tables.claim_outbox(limit, lease_s) if row.message.topic not in without]


def _flush_without_tasks(self: Any, delivery: Delivery) -> None:
    _flush(self, Delivery(outbox=delivery.outbox, parked=delivery.parked))


def _anybodys_order(
    self: Any,
    id: OrderId,  # noqa: A002 - the port's name
    owner: UserId | None,
) -> Order | None:
    return self._owned(id, None)


def _stock_without_check(self: Any, movements: Sequence[Movement]) -> None:
    for move in movements:
        stock = self.work.lock_row(self._tables.stock, move.sku)
        after = type(stock)(move.sku, stock.on_hand + move.on_hand, stock.held + move.held)
        self.work.put(self._tables.stock, move.sku, after)
        self._append(move)


def _save_without_parts(self: Any, changes: Sequence[tuple[Order, Order]], history: Any) -> None:
    _save_orders(
        self, [(before, attrs.evolve(after, fulfilment=before.fulfilment)) for before, after in changes], history
    )


def _save_without_refunds_result(self: Any, changes: Sequence[tuple[Payment, Payment]]) -> None:
    """Write refunds that are new, as if their rows were only inserted."""
    known = [(before, after, {one.id: one for one in before.refunds}) for before, after in changes]
    kept = [
        (before, attrs.evolve(after, refunds=tuple(first.get(one.id, one) for one in after.refunds)))
        for before, after, first in known
    ]
    _save_payments(self, kept)


def _payments_without_lock(self: Any, ids: Collection[OrderId]) -> Mapping[OrderId, Payment]:
    found = {order: self.work.find(self._tables.payments, order) for order in ids}
    return {order: payment for order, payment in found.items() if payment is not None}


def _reservations_without_lock(self: Any, ids: Collection[OrderId]) -> Mapping[OrderId, Reservation]:
    found = {order: self.work.find(self._tables.reservations, order) for order in ids}
    return {order: known for order, known in found.items() if known is not None}


def _save_without_restocks(self: Any, changes: Sequence[tuple[Reservation, Reservation]]) -> None:
    _save_reservations(self, [(before, attrs.evolve(after, restocks=())) for before, after in changes])


def _kind_without_part(notification: Notification) -> str:
    return notification.kind


def _epoch_without_lock(self: Any) -> int:
    return self.work.find(self._tables.gate, "gate") or 0


STORE_FAULTS: Mapping[str, tuple[type[Any], Patch, str]] = {
    "an inbox that always says new": (
        _Orders,
        _patch(_transaction, "claim_inbox", _inbox_always_says_new),
        "test_a_message_is_new_once",
    ),
    "an inbox that all groups share": (
        _Orders,
        _patch(_transaction, "claim_inbox", _inbox_is_shared_by_groups),
        "test_each_group_has_its_own_inbox",
    ),
    "a save without compare-and-set": (
        _Orders,
        _patch(_transaction, "save_orders", _save_without_compare),
        "test_saving_an_outdated_version_is_retryable",
    ),
    "a finish without a fence": (
        _Orders,
        _patch(_transaction, "finish_tasks", _finish_without_fence),
        "test_a_task_cannot_be_finished_without_its_lease",
    ),
    "tasks that are dropped": (
        _Orders,
        _patch(_transaction, "flush", _flush_without_tasks),
        "test_a_task_is_due_at_once_unless_it_has_a_due_time",
    ),
    "a relay with a watermark": (
        _Orders,
        _patch(_store, "claim_outbox", _relay_with_a_watermark),
        "test_rows_are_found_in_any_order_of_ids",
    ),
    "a claim of rows whose topics are left out": (
        _Orders,
        _patch(_store, "claim_outbox", _claims_blocked_topics),
        "test_rows_of_excluded_topics_keep_their_lease_and_do_not_count",
    ),
    "a claim in which topics that are left out use up the limit": (
        _Orders,
        _patch(_store, "claim_outbox", _filters_after_the_limit),
        "test_rows_of_excluded_topics_keep_their_lease_and_do_not_count",
    ),
    "a dead letter that is parked again by its state alone": (
        _Orders,
        _patch(_transaction, "park_again", _parked_by_its_state),
        "test_parking_a_known_letter_again_replaces_every_field",
    ),
    "a query without the owner": (
        _Orders,
        _patch(_store, "order", _anybodys_order),
        "test_an_order_is_visible_to_its_owner_only",
    ),
    "stock without its check": (
        _Inventory,
        _patch(_moves, "move_stock", _stock_without_check),
        "test_stock_equals_the_fold_of_its_ledger",
    ),
    "a save without shipments and refunds": (
        _Orders,
        _patch(_transaction, "save_orders", _save_without_parts),
        "test_shipments_and_refunds_are_read_back_unchanged_after_each_step",
    ),
    "refunds that are never updated": (
        _Payments,
        _patch(_refunds, "save_payments", _save_without_refunds_result),
        "test_refunds_are_read_back_unchanged_after_each_step",
    ),
    "payments that are read without a lock": (
        _Payments,
        _patch(_refunds, "lock_payments", _payments_without_lock),
        "test_two_refunds_wait_for_each_other_and_both_are_stored",
    ),
    "restocks that are forgotten": (
        _Inventory,
        _patch(_moves, "save_reservations", _save_without_restocks),
        "test_restocks_are_read_back_unchanged",
    ),
    "reservations that are read without a lock": (
        _Inventory,
        _patch(_moves, "lock_reservations", _reservations_without_lock),
        "test_two_restocks_wait_for_each_other_and_both_are_stored",
    ),
    "notifications of parts under one name": (
        _Notifications,
        _patch(notifications_module, "kind_and_part", _kind_without_part),
        "test_an_order_has_one_notification_of_each_part",
    ),
    "an epoch that is read without a lock": (
        _Inventory,
        _patch(_moves, "gate_epoch", _epoch_without_lock),
        "test_a_rebuild_waits_for_takes_in_progress",
    ),
}


@pytest.mark.parametrize("fault", STORE_FAULTS)
def test_a_broken_store_fails_its_suite(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, plant, test = STORE_FAULTS[fault]
    assert not _fails(suite, test)
    plant(monkeypatch)
    assert _fails(suite, test)


_take = MemoryGate.take


def _take_line_by_line(self: Any, orders: Mapping[OrderId, Items]) -> Mapping[OrderId, Taken]:
    """Takes each line that fits, and refuses at the first that doesn't."""
    answers = {}
    for order, items in orders.items():
        parts = [_take(self, {OrderId(f"{order}/{sku}"): {sku: wanted}}) for sku, wanted in items.items()]
        lines = [taken for part in parts for taken in part.values()]
        answers[order] = next((taken for taken in lines if taken.answer is not GateAnswer.HELD), lines[0])
    return answers


def _take_without_memory_of_refusals(self: Any, orders: Mapping[OrderId, Items]) -> Mapping[OrderId, Taken]:
    answers = _take(self, orders)
    for order, taken in answers.items():
        if taken.answer is GateAnswer.REJECTED:
            self.state["answers"].pop(order, None)
    return answers


def _take_with_unknown_as_zero(self: Any, orders: Mapping[OrderId, Items]) -> Mapping[OrderId, Taken]:
    for items in orders.values():
        for sku in items:
            self.state["available"].setdefault(sku, 0)
    return _take(self, orders)


def _give_back_again_and_again(self: Any, orders: Collection[OrderId]) -> None:
    for order in orders:
        stored = self.state["answers"].get(order)
        for sku, held in (stored["lines"] if stored else {}).items():
            self.state["available"][sku] += held


def _add_without_key(self: Any, deltas: Sequence[tuple[str, Any, int]], _epoch: int) -> None:
    for _, sku, delta in deltas:
        self.state["available"][sku] = self.state["available"].get(sku, 0) + delta


def _rebuild_of_any_epoch(self: Any, available: Any, held: Any, epoch: int) -> None:
    self.lose_memory()
    _rebuild(self, available, held, epoch)


_rebuild = MemoryGate.rebuild


GATE_FAULTS: Mapping[str, tuple[Patch, str]] = {
    "a gate that takes line by line": (
        _patch(MemoryGate, "take", _take_line_by_line),
        "test_all_lines_are_held_or_none",
    ),
    "a gate that forgets what it refused": (
        _patch(MemoryGate, "take", _take_without_memory_of_refusals),
        "test_an_answer_is_final",
    ),
    "a gate that takes unknown for zero": (
        _patch(MemoryGate, "take", _take_with_unknown_as_zero),
        "test_an_order_of_an_unknown_product_is_neither_held_nor_rejected",
    ),
    "a gate that gives back twice": (
        _patch(MemoryGate, "give_back", _give_back_again_and_again),
        "test_any_sequence_of_commands_matches_the_model",
    ),
    "deltas without a key": (_patch(MemoryGate, "add", _add_without_key), "test_a_delta_is_applied_once_per_key"),
    "a rebuild of any epoch": (
        _patch(MemoryGate, "rebuild", _rebuild_of_any_epoch),
        "test_a_rebuild_for_an_older_epoch_is_refused",
    ),
    "deltas of any epoch": (
        _patch(MemoryGate, "add", _add_without_key),
        "test_changes_of_another_epoch_are_ignored",
    ),
}


@pytest.mark.parametrize("fault", GATE_FAULTS)
def test_a_broken_gate_fails_its_suite(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, test = GATE_FAULTS[fault]
    if test == "test_changes_of_another_epoch_are_ignored":
        monkeypatch.setattr(
            _Gate, test, lambda self, gate: GateContract.test_changes_of_another_epoch_are_ignored(self, gate, 6)
        )
    assert not _fails(_Gate, test)
    plant(monkeypatch)
    assert _fails(_Gate, test)


def _commit_anything(self: Group, _member: Member, offsets: Mapping[TopicPartition, int]) -> None:
    self.offsets.update(offsets)


def _keyless(self: Any, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> Record:
    number = self.keyless[topic] = self.keyless.get(topic, -1) + 1
    records = self.topic(topic)[number % self.partitions]
    record = Record(topic, number % self.partitions, len(records), key, value, headers)
    records.append(record)
    return record


_next = log.MemorySubscription._next


def _start_at_the_end(self: Any, place: TopicPartition, limit: int) -> list[Record]:
    if place not in self._group.offsets:
        self._group.offsets[place] = self._member.positions[place] = len(
            self._topics.topic(place.topic)[place.partition]
        )
    return _next(self, place, limit)


class _HoldingLog(BrokerContract):
    can_hold_back = True

    @staticmethod
    def log() -> MemoryLog:
        return MemoryLog(holds_back=True)


def _always_open(self: Any, _place: TopicPartition) -> bool:
    return False


def _open_for_good(self: Any, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:
    self._open |= dict.fromkeys(offsets)


def test_a_log_that_opens_partitions_by_itself_fails_its_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, broken, test in (
        ("_is_closed", _always_open, "test_new_partitions_are_held_back_until_they_are_opened"),
        ("open", _open_for_good, "test_a_partition_in_careful_mode_returns_one_record_and_is_held_again"),
    ):
        assert not _fails(_HoldingLog, test)
        with monkeypatch.context() as planted:
            planted.setattr(log.MemorySubscription, name, broken)
            assert _fails(_HoldingLog, test), test


def test_a_log_that_gives_out_oversized_content_fails_its_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign(BrokerContract):
        def append_foreign(self, broker: Any, message: Outgoing) -> None:
            broker.append(message.topic, message.value, message.key, message.headers)

        def test(self, broker: Any) -> None:
            self.test_an_oversized_foreign_message_is_returned_as_a_description(
                broker, Outgoing("topic.a", b"k", bytes(2**21))
            )

    assert not _fails(Foreign, "test")
    monkeypatch.setattr(log, "within_limits", lambda record: record)
    assert _fails(Foreign, "test")


def test_a_broken_log_fails_its_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, broken, test in (
        (Group, "commit", _commit_anything, "test_a_commit_of_lost_partitions_is_ignored"),
        (log._Topics, "append", _keyless, "test_messages_of_one_key_stay_in_one_partition_and_in_order"),
        (log.MemorySubscription, "_next", _start_at_the_end, "test_a_new_group_starts_at_the_earliest"),
        (log.MemorySubscription, "close", lambda self: None, "test_the_partitions_of_a_leaving_member_are_reassigned"),
    ):
        assert not _fails(BrokerContract, test)
        with monkeypatch.context() as planted:
            planted.setattr(owner, name, broken)
            assert _fails(BrokerContract, test), test
