"""What can be expected of a shop: each expectation holds where it should, and each can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import oms
from oms.testing import Shop, Unmet


@pytest.fixture
def sold(shop: Shop) -> oms.Order:
    order = shop.given(stock={"lamp": 3}, order={"lamp": 2}, amount="19.90")
    shop.run()
    return order


@pytest.fixture
def held(shop: Shop) -> oms.Order:
    order = shop.given(stock={"lamp": 3}, order={"lamp": 2}, amount="19.90")
    shop.gateway.lose_next_call()
    shop.run()
    return order


def test_of_an_order_that_was_sold(shop: Shop, sold: oms.Order) -> None:
    (
        shop.expect(sold.id)
        .confirmed()
        .in_state(oms.OrderState.CONFIRMED)
        .reservation("COMMITTED")
        .payment("CAPTURED")
        .paid("19.90")
        .holds_nothing()
        .published("order.created", "inventory.reserved", "payment.success", "order.confirmed")
        .not_published("order.cancelled")
        .notified("payment.success", "order.confirmed")
        .nothing_parked()
    )


def test_of_an_order_that_waits(shop: Shop, held: oms.Order) -> None:
    shop.expect(held).in_state("RESERVED").reservation("HELD").payment("UNKNOWN").holds({"lamp": 2}).paid_nothing()
    shop.expect().stock("lamp", on_hand=3, held=2, available=1)
    with pytest.raises(Unmet, match="found order: deadline, payment: charge"):
        shop.expect().nothing_owed()


def test_of_orders_that_ended_otherwise(shop: Shop) -> None:
    shop.given(stock={"lamp": 1})
    rejected, cancelled = shop.place({"lamp": 2}), shop.place({"lamp": 1})
    shop.cancel(cancelled)
    shop.run()
    shop.expect(rejected).rejected().reservation("REJECTED").payment("ABSENT").paid_nothing()
    shop.expect(cancelled).cancelled().cancelled("CUSTOMER").cancelled(oms.Reason.CUSTOMER)


def test_of_the_whole(shop: Shop, sold: oms.Order) -> None:
    shop.expect().published("order.created").nothing_parked().nothing_owed().promises_kept().stock("lamp", on_hand=1)


def test_of_what_was_parked(shop: Shop, sold: oms.Order) -> None:
    body = b'{"orderId":"%s","userId":"customer-1","amount":19.90}' % sold.id.encode()
    shop.publish("payment.failed", body, sold.id.encode())
    shop.run()

    shop.expect(sold).confirmed().parked("payment.failed")
    shop.expect().parked(1)
    with pytest.raises(Unmet, match=r"expected 0 dead letters\n   found payment.failed: ImpossibleTransition"):
        shop.expect().nothing_parked()
    with pytest.raises(Unmet, match="nothing parked"):
        shop.expect(sold).nothing_parked()


FAIL: dict[str, tuple[Callable[[Shop, oms.Order], object], str]] = {
    "confirmed": (lambda shop, order: shop.expect(order).rejected(), r": REJECTED\n   found CONFIRMED\n"),
    "cancelled": (lambda shop, order: shop.expect(order).cancelled("DEADLINE"), ": CANCELLED"),
    "reservation": (lambda shop, order: shop.expect(order).reservation("HELD"), "reservation HELD\n   found COMMITTED"),
    "payment": (lambda shop, order: shop.expect(order).payment("ABSENT"), "payment ABSENT\n   found CAPTURED"),
    "holds": (lambda shop, order: shop.expect(order).holds({"lamp": 2}), r"held units \{'lamp': 2\}\n   found \{\}"),
    "paid": (lambda shop, order: shop.expect(order).paid(20), "20.00 USD paid\n   found 19.90 USD"),
    "paid nothing": (lambda shop, order: shop.expect(order).paid_nothing(), "0.00 USD paid"),
    "published": (lambda shop, order: shop.expect(order).published("order.created"), "order.created published\n"),
    "not published": (lambda shop, order: shop.expect(order).not_published("order.created"), "no order.created"),
    "notified": (
        lambda shop, order: shop.expect(order).notified(),
        "nothing notified\n   found order.confirmed, payment.success",
    ),
    "parked": (lambda shop, order: shop.expect(order).parked("order.created"), "parked\n   found nothing"),
    "fulfilling": (lambda shop, order: shop.expect(order).fulfilling(), ": FULFILLING\n   found CONFIRMED"),
    "completed": (lambda shop, order: shop.expect(order).completed(), ": COMPLETED\n   found CONFIRMED"),
    "shipped": (lambda shop, order: shop.expect(order).shipped({"lamp": 1}), "1 lamp shipped\n   found nothing"),
    "cancelled units": (lambda shop, order: shop.expect(order).cancelled_units({"lamp": 1}), "1 lamp cancelled\n"),
    "returned": (lambda shop, order: shop.expect(order).returned({"lamp": 2}), "2 lamp returned\n   found nothing"),
    "parcels": (
        lambda shop, order: shop.expect(order).parcels({"lamp": 1}),
        r"parcels \[\{'lamp': 1\}\]\n   found \[\]",
    ),
    "refunded": (lambda shop, order: shop.expect(order).refunded("3.00"), "3.00 USD refunded\n   found 0.00 USD"),
    "refund": (lambda shop, order: shop.expect(order).refund("whole", "PAID"), "refund whole PAID\n   found no refund"),
    "notified of": (lambda shop, order: shop.expect(order).notified_of("p-1"), "p-1 notified of\n   found nothing"),
    "stock": (lambda shop, _order: shop.expect().stock("lamp", held=2), "lamp: 2 held\n   found 0 held"),
    "published in all": (lambda shop, _order: shop.expect().published("order.created", 2), "2 times order.created"),
    "parked in all": (lambda shop, _order: shop.expect().parked(2), "2 dead letters\n   found none"),
}


@pytest.mark.parametrize("name", FAIL)
def test_each_can_fail(shop: Shop, sold: oms.Order, name: str) -> None:
    expectation, words = FAIL[name]
    with pytest.raises(Unmet, match=words) as unmet:
        expectation(shop, sold)
    assert str(unmet.value).startswith("expected ")
    assert "the shop at 0.00 s" in str(unmet.value)


def test_why_it_was_cancelled(shop: Shop) -> None:
    order = shop.place()
    shop.cancel(order)
    shop.run()
    with pytest.raises(Unmet, match="cancelled because of DEADLINE\n   found CUSTOMER"):
        shop.expect(order).cancelled("DEADLINE")


def test_a_promise_that_does_not_hold(shop: Shop, sold: oms.Order) -> None:
    shop.app.system.container.gate().state["available"]["lamp"] = 7
    with pytest.raises(Unmet, match="found P2 lamp: the gate would sell 7, the ledger 1"):
        shop.expect().promises_kept()


def test_money_of_a_gateway_without_a_book() -> None:
    class Silent:
        def charge(self, charge: oms.Charge) -> oms.Captured:
            return oms.Captured("p-1")

        lookup = void = refund = charge

    shop = Shop(gateway=Silent())
    order = shop.place()
    shop.run()
    with pytest.raises(LookupError, match="shows no book"):
        shop.expect(order).paid(100)
    assert "the gateway has no book" in shop.story()


def test_states_that_there_are_not(shop: Shop, sold: oms.Order) -> None:
    with pytest.raises(ValueError, match="PAID"):
        shop.expect(sold).in_state("PAID")


def test_what_a_step_remembers(shop: Shop) -> None:
    def confirmed(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.save({"status": "sent"})

    shop.app.subscribe("order.confirmed", group="parcels", handler=confirmed)
    order, other = shop.place(), shop.place({"lamp": 101})
    shop.run()
    shop.expect(order).remembered("parcels", {"status": "sent"})
    shop.expect(other).remembered("parcels", None)
    with pytest.raises(Unmet, match=r"document of parcels: None\n   found \{'status': 'sent'\}") as unmet:
        shop.expect(order).remembered("parcels", None)
    assert 'document of parcels: {"status": "sent"}' in str(unmet.value)
    with pytest.raises(ValueError, match="there is no step 'payment'"):
        shop.expect(order).remembered("payment", None)


def test_messages_stand_below_their_cause_in_the_order_of_the_saga(shop: Shop, sold: oms.Order) -> None:
    shop.cancel(sold, by_operator=True)
    shop.run()
    lines = [line.strip().partition("  ")[2] for line in shop.story().splitlines() if " s  " in line]
    assert lines == [
        "order.created",
        "  inventory.reserved",
        "    payment.success",
        "      order.confirmed",
        "order.cancelling",
        "  payment.refunded",
        "    order.cancelled",
        "      inventory.released",
    ]


def test_the_story_shows_parcels_and_refunds_with_their_messages_below_the_requests(shop: Shop) -> None:
    order = shop.given(stock={"lamp": 3}, order={"lamp": 2}, amount="19.90")
    shop.run()
    parcel = shop.ship(order, {"lamp": 1})
    refunds = [shop.refund(order, "GOODWILL", amount=amount) for amount in ("1.00", "2.00")]
    shop.run()
    story = shop.story()

    assert f"  shipment {parcel.id}: 1 lamp\n" in story
    assert f"  refund {refunds[1].id}: GOODWILL, 2.00 USD, PAID\n" in story
    assert f"    refund {refunds[0].id} PAID, attempt 1\n" in story
    lines = [line.strip().partition("  ")[2] for line in story.splitlines() if " s  " in line]
    for refund in refunds:
        asked = lines.index(f"order.refund_requested {refund.id}")
        assert lines[asked + 1] == f"  payment.refund_paid {refund.id}"


def test_a_refund_that_there_is_not(shop: Shop, sold: oms.Order) -> None:
    with pytest.raises(ValueError, match="has no refund r-1"):
        shop.expect(sold).refund("r-1", "PAID")


def test_a_long_story_is_cut(shop: Shop) -> None:
    for _ in range(25):
        shop.place({"lamp": 1})
    text = shop.story()
    assert text.count(": CREATED") == 20
    assert "and 5 older orders" in text
    assert text.count("order: order.created of") == 25
