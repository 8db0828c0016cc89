"""Any combination of faults: the promises hold in the end."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

import oms
from oms.testing import Shop

SERVICES = ("order", "inventory", "payment", "notification")
COMMITS = ("crash_before_commit", "crash_after_commit", "fail_commit", "lose_commit_answer")
CALLS = (
    "crash_before_publish", "crash_after_publish", "crash_after_call", "lose_partitions", "sleep_past_poll_interval",
    "sleep_in_transaction",
)  # fmt: skip
TOPICS = (
    "order.created", "inventory.reserved", "payment.success", "payment.failed", "order.confirmed", "order.cancelling",
    "payment.refunded", "order.cancelled",
)  # fmt: skip
CHARGES = ("decline_next", "lose_next_answer", "lose_next_call", "hide_next", "refuse_next")


class Chance:
    """Asks for one fault after the other, by a seed."""

    topics: tuple[str, ...] = TOPICS
    gateway_faults: tuple[str, ...] = CHARGES

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.dice = shop, random.Random(seed)

    def ask(self, most: int) -> None:
        kinds: tuple[Callable[[], object], ...] = (self._commit, self._call, self._message, self._gateway, self._gate)
        for _ in range(self.dice.randint(0, most)):
            self.dice.choice(kinds)()

    def _commit(self) -> None:
        of, nth = self.dice.choice(("", "messages", "tasks", "commands")), self.dice.randint(1, 3)
        getattr(self.shop.worker(self.dice.choice(SERVICES)), self.dice.choice(COMMITS))(of=of, nth=nth)

    def _call(self) -> None:
        getattr(self.shop.worker(self.dice.choice(SERVICES)), self.dice.choice(CALLS))(nth=self.dice.randint(1, 3))

    def _message(self) -> None:
        topic = self.shop.topic(self.dice.choice(self.topics))
        if self.dice.random() < 0.5:
            topic.repeat(times=self.dice.randint(1, 2))
        else:
            topic.delay(seconds=self.dice.choice((1, 60, 600, 1200)))

    def _gateway(self) -> None:
        getattr(self.shop.gateway, self.dice.choice(self.gateway_faults))()

    def _gate(self) -> None:
        self.dice.choice((self.shop.gate.lose_last_second, self.shop.gate.flush))()


def placed(shop: Shop, key: str) -> oms.Order:
    """An order of a customer who repeats the request if no response arrives."""
    for _ in range(5):
        try:
            return shop.place({"lamp": 1}, key=key)
        except (oms.OutcomeUnknown, oms.Retryable):
            continue
    raise AssertionError("never an answer")


def cancelled(shop: Shop, order: oms.Order, *, by_operator: bool) -> None:
    try:
        shop.cancel(order, by_operator=by_operator)
    except (oms.DomainError, oms.OutcomeUnknown, oms.Retryable):
        return


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_the_promises_hold(block: int) -> None:
    struck = 0
    for seed in range(block * 40, block * 40 + 40):
        shop = Shop()
        chance = Chance(shop, seed)
        shop.given(stock={"lamp": chance.dice.choice((1, 2, 5))})
        chance.ask(4)
        orders = [placed(shop, f"basket-{number}") for number in range(chance.dice.randint(1, 3))]
        chance.ask(2)
        shop.run()
        if chance.dice.random() < 0.5:
            shop.advance(seconds=chance.dice.choice((1, 30, 300)))
        if chance.dice.random() < 0.5:
            cancelled(shop, chance.dice.choice(orders), by_operator=chance.dice.random() < 0.5)
        chance.ask(1)
        shop.run()
        shop.advance(hours=2)
        shop.expect().promises_kept().nothing_parked().nothing_owed()
        struck += len(shop.faults.happened)
    assert struck > 60
