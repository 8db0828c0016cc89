"""Each fault of the fixture `shop` is real: if a bug of the zoo is planted in the code, the test that arms the fault fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from itertools import count
from unittest.mock import patch

import attrs
import pytest

import oms
from oms.adapters.memory.transaction import MemoryTransaction
from oms.application.stock_gate import GateKeeper
from oms.domain.payment import Payment
from oms.domain.state_machine import Transition
from oms.testing import Shop
from tests.testing.sim.zoo import ZOO

Ask = Callable[[Shop], object]
Plant = Callable[[], AbstractContextManager[object]]


@contextmanager
def inbox_only_looked_at() -> Iterator[None]:
    """The read before the transaction is trusted: a worker that paused in between handles a message again."""
    with patch.object(MemoryTransaction, "claim_inbox", lambda _self, _group, names: list(names)):
        yield


@contextmanager
def gate_left_closed() -> Iterator[None]:
    with patch.object(GateKeeper, "run_once", lambda _self: 0):
        yield


NO_INBOX = (ZOO["no inbox"].plant, inbox_only_looked_at)
"""The promises see these in any run; that an effect comes twice is what the fault shows."""


@contextmanager
def new_key_for_each_call() -> Iterator[None]:
    """A refund without an answer is repeated under another key: it is paid twice."""
    right, numbers = Payment.refund_key, count(1)
    with patch.object(Payment, "refund_key", lambda *given: f"{right(*given)}-{next(numbers)}"):
        yield


@contextmanager
def refusal_taken_for_paid() -> Iterator[None]:
    def paid(payment: Payment, refund_id: str, _reason: str, *, at: datetime) -> Transition[Payment]:
        return payment.part_refund_paid(refund_id, at=at)

    with patch.object(Payment, "part_refund_refused", paid):
        yield


def refund(shop: Shop, order: oms.Order) -> None:
    shop.refund(order, "GOODWILL", amount=10)
    shop.run()


@attrs.frozen
class Bite:
    """The fault to arm, the bug to plant, and the state in which the order ends without the bug."""

    ask: Ask
    plant: Plant
    ends: str = "CONFIRMED"
    minutes: int = 40
    then: Callable[[Shop, oms.Order], object] = lambda _shop, _order: None
    """What a user does when the order is confirmed."""

    def settles(self, ask: Ask, plant: Plant) -> None:
        """An order settles, money and stock are right, and a step that counts its end counts one."""
        shop = Shop()

        def count(_event: oms.AnyEvent, step: oms.StepContext) -> None:
            step.save({"times": int(str((step.state or {}).get("times", 0))) + 1})

        shop.app.subscribe("order.confirmed", group="counter", handler=count)
        shop.app.subscribe("order.cancelled", group="counter", handler=count)
        shop.given(stock={"lamp": 3})
        shop.run()
        with plant():
            ask(shop)
            order = shop.place({"lamp": 1})
            shop.run()
            self.then(shop, order)
            shop.advance(minutes=self.minutes)
            shop.faults.check()
            without = "FULFILLING" if self.then is refund else "CONFIRMED"
            shop.expect(order).in_state(self.ends if ask is self.ask else without)
            assert shop.stores()["counter"].document("counter", order.id) == '{"times": 1}'
            shop.expect().nothing_owed().nothing_parked()
            if plant not in NO_INBOX:
                shop.expect().promises_kept()


def worker(service: str, fault: str, **how: str) -> Ask:
    return lambda shop: getattr(shop.worker(service), fault)(**how)


def gateway(fault: str) -> Ask:
    return lambda shop: getattr(shop.gateway, fault)()


BITES: dict[str, Bite] = {
    "crash before commit": Bite(
        worker("inventory", "crash_before_commit", of="messages"), ZOO["offsets before the work"].plant),
    "crash before commit, gate": Bite(
        worker("inventory", "crash_before_commit", of="messages"), ZOO["gate take not idempotent"].plant),
    "crash after commit": Bite(worker("inventory", "crash_after_commit", of="messages"), ZOO["no sweeper"].plant),
    "crash after commit, inbox": Bite(worker("counter", "crash_after_commit"), ZOO["no inbox"].plant),
    "crash before publish": Bite(worker("payment", "crash_before_publish"), ZOO["sent before published"].plant),
    "crash after publish": Bite(worker("order", "crash_after_publish"), ZOO["no sweeper"].plant),
    "crash after call": Bite(worker("payment", "crash_after_call"), ZOO["task removed before its call"].plant),
    "fail commit": Bite(worker("payment", "fail_commit", of="messages"), ZOO["committed past a failed message"].plant),
    "lose commit answer": Bite(worker("inventory", "lose_commit_answer", of="messages"), ZOO["no sweeper"].plant),
    "lose commit answer, inbox": Bite(worker("counter", "lose_commit_answer"), ZOO["no inbox"].plant),
    "lose partitions": Bite(worker("counter", "lose_partitions"), ZOO["no inbox"].plant),
    "sleep past poll interval": Bite(worker("counter", "sleep_past_poll_interval"), inbox_only_looked_at),
    "sleep in transaction": Bite(worker("counter", "sleep_in_transaction"), inbox_only_looked_at),
    "repeat": Bite(lambda shop: shop.topic("order.confirmed").repeat(), ZOO["no inbox"].plant),
    "delay": Bite(
        lambda shop: shop.topic("order.created").delay(minutes=20), ZOO["no release tombstone"].plant, "CANCELLED"),
    "gate loses its last second": Bite(lambda shop: shop.gate.lose_last_second(), ZOO["lost tail not noticed"].plant),
    "gate is flushed": Bite(  # a closed gate is probed four times a second
        lambda shop: shop.gate.flush(), gate_left_closed, minutes=2),
    "decline": Bite(gateway("decline_next"), ZOO["hold not given back"].plant, "CANCELLED"),
    "no answer": Bite(gateway("lose_next_answer"), ZOO["unknown taken for declined"].plant),
    "no call": Bite(gateway("lose_next_call"), ZOO["no second try"].plant),
    "hidden": Bite(gateway("hide_next"), ZOO["unknown charge taken for declined"].plant),
    "503": Bite(gateway("refuse_next"), ZOO["no second try"].plant),
    "refund refused": Bite(
        gateway("refuse_next_refund"), refusal_taken_for_paid, "FULFILLING", then=refund),
    "refund answer lost": Bite(
        gateway("lose_next_refund_answer"), new_key_for_each_call, "FULFILLING", then=refund),
    "refund call lost": Bite(
        gateway("lose_next_refund_call"), ZOO["no second try"].plant, "FULFILLING", then=refund),
    "refund hidden": Bite(
        gateway("hide_next_refund"), new_key_for_each_call, "FULFILLING", then=refund),
}  # fmt: skip


@pytest.mark.parametrize("name", BITES)
def test_with_the_code_as_it_is_all_is_well(name: str) -> None:
    BITES[name].settles(BITES[name].ask, nullcontext)


@pytest.mark.parametrize("name", BITES)
def test_what_is_planted_is_seen(name: str) -> None:
    with pytest.raises(AssertionError):
        BITES[name].settles(BITES[name].ask, BITES[name].plant)


@pytest.mark.parametrize("name", BITES)
def test_without_the_fault_it_is_not(name: str) -> None:
    BITES[name].settles(lambda _shop: None, BITES[name].plant)
