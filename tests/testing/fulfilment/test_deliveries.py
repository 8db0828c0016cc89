"""Each message about shipments and refunds twice, once more after its inbox row was purged, late, and in each order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

import oms
from oms.testing import Shop
from tests.testing.fulfilment.orders import confirmed
from tests.testing.fulfilment.test_scenarios import check

KEPT_DAYS = oms.Settings().retention_days
TOPICS = ("order.shipped", "order.refund_requested", "order.completed", "payment.refund_paid")


def parts(shop: Shop) -> oms.Order:
    """One parcel, one cancelled unit, one that comes back, some goodwill."""
    order = confirmed(shop, 3, price="49.99", shipping="4.90")
    shop.ship(order, {"lamp": 1})
    shop.refund(order, "CANCEL", {"lamp": 1})
    shop.ship(order, {"lamp": 1})
    shop.refund(order, "RETURN", {"lamp": 1}, restock=True)
    shop.refund(order, "GOODWILL", amount="1.00")
    return order


def ended(shop: Shop, order: oms.Order) -> None:
    """Every part is booked once: 16.66 for the cancelled unit, 16.66 for the returned one, 1.00 of goodwill."""
    shop.expect(order).completed().shipped({"lamp": 2}).cancelled_units({"lamp": 1}).returned({"lamp": 1})
    shop.expect(order).refunded("34.32").paid("20.57")
    fulfilment = shop.order(order).fulfilment
    shop.expect(order).notified_of(*fulfilment.shipments, *fulfilment.refunds)
    shop.expect().stock("lamp", on_hand=4, held=0)
    check(shop)


def every_record_again(shop: Shop, *, after_days: int = 0) -> int:
    """Append all records of the log once more, after some days; returns their number."""
    records = [one for one in shop.log.all_records() if not one.topic.endswith(".dlq")]
    if after_days:
        shop.advance(days=after_days)
        rows = sum(len(list(store.all_inbox())) for store in shop.stores().values())
        assert rows == 0, "the retention has removed the inbox rows"
    for one in records:
        shop.publish(one.topic, one.value or b"", one.key, one.headers)
    return len(records)


def test_every_message_twice(any_shop: Shop) -> None:
    shop = any_shop
    order = parts(shop)
    shop.run()
    ended(shop, order)
    version = shop.order(order).version
    assert every_record_again(shop) > 12
    shop.run()

    ended(shop, order)
    assert shop.order(order).version == version, "the inbox dropped each repeat"


def test_every_message_once_more_after_its_inbox_row_was_purged(any_shop: Shop) -> None:
    shop = any_shop
    order = parts(shop)
    shop.run()
    every_record_again(shop, after_days=KEPT_DAYS + 1)
    shop.run()

    ended(shop, order)


def test_a_refused_refund_and_its_instructions_once_more_after_a_purge(any_shop: Shop) -> None:
    shop = any_shop
    order = confirmed(shop)
    shop.gateway.refuse_next_refund()
    refund = shop.refund(order, "GOODWILL", amount="3.00")
    shop.run()
    shop.retry_payment(order, refund)
    shop.run()
    every_record_again(shop, after_days=KEPT_DAYS + 1)
    shop.run()

    shop.expect(order).refund(refund, "PAID").refunded("3.00").paid("12.00").notified_of(refund)
    check(shop)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_comes_twice_and_late(shop: Shop, topic: str) -> None:
    shop.topic(topic).delay(minutes=20)
    order = parts(shop)
    shop.run()
    shop.advance(minutes=30)
    shop.topic(topic).repeat(order)
    shop.run()

    ended(shop, order)


@pytest.mark.parametrize("ways", [tuple(permutations(TOPICS))[start::4] for start in range(4)], ids=range(4))
def test_refund_and_shipment_messages_in_every_order(ways: Sequence[Sequence[str]]) -> None:
    """The consumers read a topic only when those before it have nothing left; all books are equal in the end."""
    for way in ways:
        shop = Shop()
        order = parts(shop)
        minutes = {topic: 10 * (number + 1) for number, topic in enumerate(way)}
        for topic, late in minutes.items():
            shop.topic(topic).delay(minutes=late)
        shop.run()
        for _ in way:
            shop.advance(minutes=11)
        shop.advance(minutes=60)
        shop.faults.check()
        ended(shop, order)
