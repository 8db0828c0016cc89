"""Any combination of faults while orders are shipped and refunded: the promises hold in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import oms
from oms.testing import Shop
from tests.testing.fulfilment.orders import confirmed
from tests.testing.test_faults_together import TOPICS, Chance


class ChanceOfParts(Chance):
    """Asks for faults of refunds and of the messages about parts as well."""

    topics = (*TOPICS, "order.shipped", "order.refund_requested", "order.completed", "payment.refund_paid")
    gateway_faults = ("refuse_next_refund", "lose_next_refund_answer", "lose_next_refund_call", "hide_next_refund")


def answered(command: Callable[[], object]) -> None:
    """Repeat a command until there is a response; a refusal is one."""
    for _ in range(5):
        try:
            command()
        except (oms.OutcomeUnknown, oms.Retryable):
            continue
        except oms.DomainError:
            return
        return
    raise AssertionError("never a response")


def operate(shop: Shop, order: oms.Order, chance: Chance) -> None:
    """Ship or refund something, by chance."""
    key = f"key-{chance.dice.random()}"
    refund = chance.dice.choice(("CANCEL", "RETURN"))
    commands: tuple[Callable[[], object], ...] = (
        lambda: shop.ship(order, {"lamp": 1}, key=key),
        lambda: shop.refund(order, refund, {"lamp": 1}, restock=True, key=key),
        lambda: shop.refund(order, "GOODWILL", amount="0.50", key=key),
    )
    answered(chance.dice.choice(commands))


def decide(shop: Shop, order: oms.Order, chance: Chance) -> None:
    """Retry or resolve each refund that was refused, until none is."""
    for _ in range(20):
        waiting = [one.of for one in shop.order(order).fulfilment.refusals if one.instruction is None]
        if not waiting:
            return
        for of in waiting:
            answered(lambda of=of: chance.dice.choice((shop.retry_payment, shop.resolve_payment))(order, of))  # type: ignore[misc]
        shop.advance(minutes=5)
    raise AssertionError(f"refunds of {order.id} wait for ever")


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_the_promises_hold(block: int) -> None:
    struck = 0
    for seed in range(block * 30, block * 30 + 30):
        shop = Shop()
        chance = ChanceOfParts(shop, seed)
        order = confirmed(shop, 3, price="20.00")
        chance.ask(4)
        for _ in range(chance.dice.randint(2, 6)):
            operate(shop, order, chance)
            if chance.dice.random() < 0.4:
                shop.run()
            chance.ask(1)
        shop.run()
        shop.advance(hours=2)
        decide(shop, order, chance)
        shop.advance(hours=2)
        shop.expect().promises_kept().nothing_parked().nothing_owed()
        fulfilment = shop.order(order).fulfilment
        assert {one.state for one in fulfilment.refunds} <= {oms.RefundState.PAID}
        shop.expect(order).notified_of(*fulfilment.shipments, *fulfilment.refunds)
        struck += len(shop.faults.happened)
    assert struck > 40
