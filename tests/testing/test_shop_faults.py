"""What a user's test can have go wrong on the fixture `shop`, each with the recovery of the real system behind it."""

from __future__ import annotations

import pytest

import oms
from oms.testing import Shop
from oms.testing.faults import NeverHappened

SOLD = ("inventory.reserved", "order.confirmed", "order.created", "payment.success")


@pytest.fixture
def order(shop: Shop) -> oms.Order:
    return shop.given(stock={"lamp": 3}, order={"lamp": 1})


def sold_once(shop: Shop, order: oms.Order) -> None:
    shop.expect(order).confirmed().paid(100).published(*SOLD).notified("order.confirmed", "payment.success")
    shop.expect().stock("lamp", on_hand=2, held=0).nothing_parked().nothing_owed().promises_kept()


def captures(shop: Shop) -> int:
    return sum(entry.kind.value == "CAPTURE" for entry in shop.gateway.all_entries())


# -- the gateway


def test_it_declines_the_next_charge(shop: Shop, order: oms.Order) -> None:
    shop.gateway.decline_next()
    shop.run()

    shop.expect(order).cancelled("PAYMENT_DECLINED").paid_nothing().holds_nothing().reservation("RELEASED")
    again = shop.place({"lamp": 1})
    shop.run()
    shop.expect(again).confirmed()


def test_it_charges_and_its_answer_is_lost(shop: Shop, order: oms.Order) -> None:
    shop.gateway.lose_next_answer()
    shop.run()
    shop.expect(order).in_state("RESERVED").payment("UNKNOWN").holds({"lamp": 1})

    shop.advance(minutes=1)
    sold_once(shop, order)
    assert captures(shop) == 1


def test_it_never_gets_the_charge(shop: Shop, order: oms.Order) -> None:
    shop.gateway.lose_next_call()
    shop.run()
    shop.expect(order).payment("UNKNOWN").paid_nothing()

    shop.advance(minutes=1)
    sold_once(shop, order)


def test_it_charges_and_knows_of_it_late(shop: Shop, order: oms.Order) -> None:
    shop.gateway.hide_next(seconds=8)
    shop.run()
    shop.advance(seconds=5)
    shop.expect(order).payment("UNKNOWN")

    shop.advance(minutes=1)
    sold_once(shop, order)


def test_it_answers_503(shop: Shop, order: oms.Order) -> None:
    shop.gateway.refuse_next(times=2)
    shop.run()
    shop.advance(minutes=2)
    sold_once(shop, order)


def test_it_does_so_for_one_order_only(shop: Shop, order: oms.Order) -> None:
    other = shop.place({"lamp": 1})
    shop.gateway.on(other).decline()
    shop.run()

    shop.expect(order).confirmed()
    shop.expect(other).cancelled("PAYMENT_DECLINED")


# -- the gateway's refunds


@pytest.fixture
def paid(shop: Shop) -> oms.Order:
    """An order that is confirmed and paid."""
    placed = shop.given(stock={"lamp": 3}, order={"lamp": 2})
    shop.run()
    return placed


def refunded_once(shop: Shop, order: oms.Order, refund: oms.OrderRefund) -> None:
    shop.expect(order).refund(refund, "PAID").paid(70)
    shop.expect().nothing_parked().nothing_owed().promises_kept()
    assert [one.amount for one in shop.gateway.all_entries() if one.kind is oms.BookKind.REFUND] == [3000]


def test_it_refuses_the_next_refund(shop: Shop, paid: oms.Order) -> None:
    shop.gateway.refuse_next_refund("the account is closed")
    refund = shop.refund(paid, "GOODWILL", amount=30)
    shop.advance(minutes=5)
    shop.expect(paid).refund(refund, "REFUSED").paid(100)
    shop.expect().published("payment.refund_failed").promises_kept()

    shop.retry_payment(paid, refund)
    shop.run()
    refunded_once(shop, paid, refund)


@pytest.mark.parametrize("fault", ["lose_next_refund_answer", "lose_next_refund_call", "hide_next_refund"])
def test_a_refund_without_an_answer_is_made_once(shop: Shop, paid: oms.Order, fault: str) -> None:
    getattr(shop.gateway, fault)()
    refund = shop.refund(paid, "GOODWILL", amount=30)
    shop.run()
    shop.expect(paid).refund(refund, "DUE")

    shop.advance(minutes=1)
    refunded_once(shop, paid, refund)


def test_it_refuses_the_refund_of_one_order_only(shop: Shop, paid: oms.Order) -> None:
    other = shop.place({"lamp": 1})
    shop.run()
    shop.gateway.on(other).refuse_refund()
    refund, refused = shop.refund(paid, "GOODWILL", amount=30), shop.refund(other, "GOODWILL", amount=30)
    shop.run()
    shop.expect(paid).refund(refund, "PAID")
    shop.expect(other).refund(refused, "REFUSED")


def test_a_refund_that_is_never_requested_is_never_refused() -> None:
    shop = Shop()
    shop.gateway.refuse_next_refund()
    shop.place()
    shop.run()
    with pytest.raises(NeverHappened, match="the gateway refuses the refund"):
        shop.close()


def test_it_captures_a_charge_that_it_voided(shop: Shop, order: oms.Order) -> None:
    shop.gateway.lose_next_call()
    shop.gateway.capture_anyway()
    shop.run()
    shop.cancel(order)
    shop.run()
    shop.expect(order).cancelled().payment("VOIDED").paid(100)
    with pytest.raises(AssertionError, match="P4"):
        shop.expect().promises_kept()


# -- a worker


@pytest.mark.parametrize("service", ["inventory", "payment", "order", "notification"])
def test_it_crashes_before_its_commit(shop: Shop, order: oms.Order, service: str) -> None:
    crash = shop.worker(service).crash_before_commit(of="messages")
    before = shop.app.system.assemblies[service]
    shop.run()

    assert crash.happened == 1
    assert shop.app.system.assemblies[service] is not before, "another process took its place"
    sold_once(shop, order)


def test_what_a_crashed_one_did_is_undone_until_it_is_done_again(shop: Shop, order: oms.Order) -> None:
    """Two crashes in a row: the second process dies as well, and the third one finds nothing of theirs."""
    shop.worker("payment").crash_before_commit(of="messages")
    shop.worker("payment").crash_before_commit(of="messages")
    shop.run()

    sold_once(shop, order)
    assert shop.app.system.assemblies["payment"].service.store._hooks.owner == "payment.3"


def test_it_crashes_after_its_commit(shop: Shop, order: oms.Order) -> None:
    """Its event isn't sent, its offset isn't committed: a sweeper sends, and the inbox knows the message."""
    shop.worker("payment").crash_after_commit(of="tasks")
    shop.run()
    shop.expect(order).in_state("RESERVED").payment("CAPTURED").not_published("payment.success")

    shop.advance(minutes=1)
    sold_once(shop, order)


def test_it_crashes_after_it_published(shop: Shop, order: oms.Order) -> None:
    shop.worker("payment").crash_after_publish()
    shop.run()
    shop.advance(minutes=1)

    copies = [one for one in shop.log.all_records() if one.topic == "payment.success"]
    assert len(copies) == 2
    sold_once(shop, order)


def test_it_crashes_after_the_charge(shop: Shop, order: oms.Order) -> None:
    shop.worker("payment").crash_after_call()
    shop.run()
    shop.expect(order).payment("INITIATED").paid(100)

    shop.advance(minutes=2)
    sold_once(shop, order)
    assert captures(shop) == 1


def test_its_commit_fails(shop: Shop, order: oms.Order) -> None:
    shop.worker("inventory").fail_commit(of="messages")
    shop.run()
    shop.expect(order).in_state("CREATED")

    shop.advance(minutes=1)
    sold_once(shop, order)


def test_nobody_knows_whether_it_committed(shop: Shop, order: oms.Order) -> None:
    shop.worker("inventory").lose_commit_answer(of="messages")
    shop.run()
    shop.expect(order).reservation("HELD").not_published("inventory.reserved")

    shop.advance(minutes=1)
    sold_once(shop, order)


def test_time_goes_by_moments_while_a_step_backs_off(shop: Shop, order: oms.Order) -> None:
    """What is due already, and whose step backs off, doesn't hide what falls due next: no jump to the end."""
    for _ in range(2):
        shop.worker("payment").lose_commit_answer(of="tasks")
    shop.run()
    shop.cancel(order)
    shop.advance(hours=2)

    assert [(at - shop.begun_at).total_seconds() < 60 for at, _ in shop.faults.happened] == [True, True]
    shop.expect(order).cancelled("CUSTOMER").paid_nothing()
    shop.expect().nothing_owed().promises_kept()


def test_so_it_does_while_a_batch_is_held_before_others(shop: Shop) -> None:
    """The next process takes half of a batch whose first process stood still, holds it, and has the rest behind it."""
    orders = [shop.place({"lamp": 1}) for _ in range(3)]
    shop.worker("payment").sleep_in_transaction()
    shop.run()
    for order in orders:
        shop.cancel(order, by_operator=True)
    shop.run()
    consumer = shop.app.system.assemblies["payment"].consumer
    assert consumer._held is not None
    assert consumer._deferred
    shop.advance(hours=2)

    sent = [dict(one.headers)["ce_time"].decode() for one in shop.log.all_records() if one.topic == "order.cancelled"]
    assert max(sent) < "2026-01-01T00:03"


def test_it_loses_its_partitions_in_mid_batch(shop: Shop, order: oms.Order) -> None:
    shop.worker("payment").lose_partitions()
    shop.run()

    assert shop.telemetry.total("messages_handled", group="payment-group") > 1, "it was delivered again"
    sold_once(shop, order)


@pytest.mark.parametrize("fault", ["sleep_past_poll_interval", "sleep_in_transaction"])
@pytest.mark.parametrize("service", ["inventory", "payment", "order", "notification"])
def test_it_stands_still_for_a_minute(shop: Shop, order: oms.Order, service: str, fault: str) -> None:
    begun = shop.now()
    getattr(shop.worker(service), fault)()
    shop.run()

    assert (shop.now() - begun).total_seconds() == 60
    shop.advance(minutes=2)  # who waited for its rows comes again
    sold_once(shop, order)


def test_who_overslept_dies_after_it_woke(shop: Shop, order: oms.Order) -> None:
    """The process that took its place is still the only one, and has all partitions."""
    shop.worker("inventory").sleep_in_transaction()
    shop.worker("inventory").crash_after_publish()
    shop.run()
    shop.advance(minutes=2)

    sold_once(shop, order)
    (member,) = shop.log._topics.groups["inventory-group"].members
    assert member.owner == "inventory.2"


def test_the_second_of_such_moments(shop: Shop, order: oms.Order) -> None:
    crash = shop.worker("payment").crash_before_commit(nth=2)
    shop.run()
    shop.advance(minutes=2)

    assert crash.happened == 1
    assert str(crash) == "payment crashes before its commit (number 2)"
    sold_once(shop, order)


def test_the_order_service_dies_while_it_accepts_an_order(shop: Shop) -> None:
    shop.worker("order").crash_after_commit(of="commands")
    with pytest.raises(oms.OutcomeUnknown, match="ask again"):
        shop.place({"lamp": 1}, key="k-1")

    order = shop.place({"lamp": 1}, key="k-1")
    shop.run()
    shop.advance(minutes=1)
    shop.expect(order).confirmed()
    shop.expect().published("order.created", 1)


def test_the_order_service_cannot_commit_an_order_at_first(shop: Shop) -> None:
    shop.worker("order").fail_commit(of="commands")
    order = shop.place()
    shop.run()
    shop.expect(order).confirmed()


def test_a_step_of_the_shops_own_crashes(shop: Shop) -> None:
    sent: list[str] = []

    def send(_order: oms.OrderId, _payload: object) -> None:
        sent.append("parcel")

    def confirmed(event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.call("send")

    shop.app.subscribe("order.confirmed", group="parcels", handler=confirmed, calls={"send": oms.OutsideCall(send)})
    shop.worker("parcels").crash_before_commit(of="messages")
    shop.place()
    shop.run()
    assert sent == ["parcel"]


# -- a message


def test_it_comes_again(shop: Shop, order: oms.Order) -> None:
    again = shop.topic("inventory.reserved").repeat(order, times=2)
    shop.run()

    assert again.happened == 2
    assert len([one for one in shop.log.all_records() if one.topic == "inventory.reserved"]) == 3
    sold_once(shop, order)
    assert captures(shop) == 1


def test_it_comes_late(shop: Shop, order: oms.Order) -> None:
    shop.topic("payment.success").delay(minutes=5)
    shop.run()
    shop.advance(minutes=4)
    shop.expect(order).in_state("RESERVED").payment("CAPTURED")

    shop.advance(minutes=1)
    sold_once(shop, order)


def test_it_comes_too_late(shop: Shop, order: oms.Order) -> None:
    """The charge is captured, but its event arrives after the deadline: the charge is refunded."""
    shop.topic("payment.success").delay(order, minutes=20)
    shop.run()
    shop.advance(minutes=30)
    shop.expect(order).cancelled("DEADLINE").paid_nothing().reservation("RELEASED")
    shop.expect().promises_kept()


def test_others_are_not_late(shop: Shop, order: oms.Order) -> None:
    shop.topic("order.created").delay(order, minutes=5)
    other = shop.place({"lamp": 1})
    shop.run()
    shop.expect(other).confirmed()
    shop.expect(order).in_state("CREATED")
    shop.advance(minutes=5)
    shop.expect(order).confirmed()


# -- the gate


def test_it_loses_its_last_second(shop: Shop, order: oms.Order) -> None:
    """The hold that it just took is gone with it; the ledger gives it back."""
    shop.gate.lose_last_second()
    shop.run()

    sold_once(shop, order)
    assert shop.evidence.gate is not None
    assert shop.evidence.gate.epoch() == 2, "it was rebuilt"


def test_it_forgets_everything(shop: Shop, order: oms.Order) -> None:
    shop.run()
    shop.gate.flush()
    other = shop.place({"lamp": 2})
    shop.run()

    shop.expect(other).confirmed()
    shop.expect().stock("lamp", on_hand=0).promises_kept()


# -- armed faults that didn't happen


def test_a_fault_that_never_happened_is_an_error(shop: Shop) -> None:
    shop.worker("payment").crash_before_commit()
    shop.topic("payment.failed").repeat()
    with pytest.raises(NeverHappened) as never:
        shop.faults.check()
    shop.faults.armed.clear()

    assert str(never.value).splitlines()[1:] == [
        "  payment crashes before its commit",
        "  payment.failed is delivered again",
    ]


def test_so_it_is_where_the_shop_is_made_by_hand() -> None:
    with pytest.raises(NeverHappened, match="the gateway declines"), Shop() as shop:
        shop.gateway.decline_next()


def test_the_tests_own_failure_comes_first() -> None:
    def fails() -> None:
        with Shop() as shop:
            shop.gateway.decline_next()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()


def test_what_there_is_not_is_said_at_once(shop: Shop) -> None:
    with pytest.raises(ValueError, match="there is no service 'payments'; there are inventory, notification"):
        shop.worker("payments")
    with pytest.raises(ValueError, match="minutes=5"):
        shop.topic("payment.success").delay()
    with pytest.raises(ValueError, match="'messages', 'tasks' or 'commands'"):
        shop.worker("payment").crash_before_commit(of="orders")


def test_a_store_of_the_users_own_is_not_ours_to_hurt(tmp_path) -> None:
    shop = Shop(profile="embedded", data=tmp_path)
    with pytest.raises(ValueError, match="a worker can have faults only in a shop with stores of its own"):
        shop.worker("payment")
    shop.app.stop()
