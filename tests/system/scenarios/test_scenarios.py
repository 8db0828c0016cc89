"""What happens to an order, end to end, on every profile. The promises are checked after each scenario."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import pytest

import oms
from oms.ports.broker import Broker, Subscription
from oms.ports.errors import PortError
from oms.ports.messages import Outgoing
from oms.testing import Shop
from tests.support.files import WIRE

SOLD = ["inventory.reserved", "order.confirmed", "order.created", "payment.success"]


def test_an_order_is_reserved_paid_confirmed_and_told(system: Shop) -> None:
    order = system.place({"apple": 2, "pear": 1}, amount="12.50", metadata={"basket": "b-7"})
    assert order.state is oms.OrderState.CREATED
    assert system.published() == []

    system.run()

    assert system.status(order) == "CONFIRMED"
    assert system.topics(order) == SOLD
    assert system.stock("apple") == oms.Stock(oms.Sku("apple"), on_hand=98, held=0)
    assert system.stock("pear").available == 99
    assert [n.kind for n in system.notifications(order)] == ["order.confirmed", "payment.success"]
    assert system.notifications(order)[0].metadata == {"basket": "b-7"}
    lines = [note.event for note in system.telemetry.notes if note.event != "currency pinned"]
    assert lines[:3] == ["Inventory reserved", "Payment success", "Notification sent"]


def test_one_short_line_rejects_the_order_and_holds_nothing(system: Shop) -> None:
    order = system.place({"apple": 100, "pear": 101})
    system.run()

    assert system.status(order) == "REJECTED"
    assert system.order(order).reason is oms.Reason.OUT_OF_STOCK
    assert system.stock("apple").held == 0
    assert system.stock("pear") == oms.Stock(oms.Sku("pear"), on_hand=100, held=0)
    (rejected,) = system.published("inventory.rejected")
    assert isinstance(rejected, oms.InventoryRejected)
    assert [(s.sku, s.requested, s.available) for s in rejected.shortages] == [("pear", 101, 100)]
    assert [n.kind for n in system.notifications(order)] == ["order.rejected"]


def test_two_lines_of_one_product_are_summed_before_the_check(system: Shop) -> None:
    system.app.stock.set("apple", 5)
    body = b'{"orderId":"o-1","userId":"u","totalAmount":1,"items":{"apple":3,"apple":3}}'
    system.publish("order.created", body)
    system.run()

    assert system.status("o-1") == "REJECTED"
    assert system.stock("apple") == oms.Stock(oms.Sku("apple"), on_hand=5, held=0)


def test_an_order_of_many_products(system: Shop) -> None:
    order = system.place({f"sku-{n}": n % 7 + 1 for n in range(100)})
    system.run()

    assert system.status(order) == "CONFIRMED"
    assert system.stock("sku-6").on_hand == 93


def test_unknown_products_are_rejected_without_a_default_stock(make) -> None:
    shop: Shop = make(default_stock=None)
    shop.app.stock.set("apple", 1)
    known, unknown = shop.place({"apple": 1}), shop.place({"apple": 1, "pear": 1})
    shop.run()

    assert shop.status(known) == "CONFIRMED"
    assert shop.status(unknown) == "REJECTED"


def test_a_declined_payment_gives_the_stock_back(system: Shop) -> None:
    system.gateway.decline_next()
    order = system.place({"apple": 2})
    system.run()

    assert system.status(order) == "CANCELLED"
    assert system.order(order).reason is oms.Reason.PAYMENT_DECLINED
    assert system.stock("apple") == oms.Stock(oms.Sku("apple"), on_hand=100, held=0)
    assert "inventory.released" in system.topics(order)
    assert [n.kind for n in system.notifications(order)] == ["order.cancelled", "payment.failed"]


def test_a_cancel_before_anything_happened(system: Shop) -> None:
    order = system.place({"apple": 2})
    answer = system.cancel(order)
    assert answer.state is oms.OrderState.CANCELLING
    system.run()

    assert system.status(order) == "CANCELLED"
    assert system.order(order).reason is oms.Reason.CUSTOMER
    assert system.stock("apple").available == 100


def test_a_cancel_while_the_payment_is_unknown(system: Shop) -> None:
    order = system.place({"apple": 2})
    system.gateway.on(order.id).no_answer_before_charge(times=3)
    system.run()
    assert system.status(order) == "RESERVED"

    system.cancel(order)
    system.advance(minutes=1)

    assert system.status(order) == "CANCELLED"
    assert "payment.voided" in system.topics(order)
    assert system.stock("apple").available == 100


def test_a_cancel_while_the_charge_went_through_unheard(system: Shop) -> None:
    order = system.place({"apple": 2})
    system.gateway.on(order.id).no_answer_after_charge(times=1)
    system.run()
    system.cancel(order)
    system.advance(minutes=1)

    assert system.status(order) == "CANCELLED"
    assert "payment.refunded" in system.topics(order)
    assert system.stock("apple").available == 100


def test_a_customer_cannot_cancel_a_confirmed_order(system: Shop) -> None:
    order = system.place()
    system.run()
    with pytest.raises(oms.Conflict) as refused:
        system.cancel(order)
    assert refused.value.code == "order_settled"
    assert system.status(order) == "CONFIRMED"


def test_an_operator_cancels_a_confirmed_order_refunded_and_restocked(system: Shop) -> None:
    order = system.place({"apple": 2})
    system.run()
    assert system.stock("apple").on_hand == 98

    system.cancel(order, by_operator=True)
    system.run()

    assert system.status(order) == "CANCELLED"
    assert system.order(order).reason is oms.Reason.OPERATOR
    assert system.stock("apple") == oms.Stock(oms.Sku("apple"), on_hand=100, held=0)
    assert "payment.refunded" in system.topics(order)
    assert [n.kind for n in system.notifications(order)] == [
        "order.cancelled",
        "order.confirmed",
        "payment.refunded",
        "payment.success",
    ]


def test_the_deadline_ends_an_order_that_the_gateway_never_answers(system: Shop) -> None:
    order = system.place({"apple": 2})
    system.gateway.on(order.id).no_answer_before_charge(times=40)
    system.run()
    system.advance(minutes=14)
    assert system.status(order) == "RESERVED"
    assert system.stock("apple").held == 2

    system.advance(minutes=2)

    assert system.status(order) == "CANCELLED"
    assert system.order(order).reason is oms.Reason.DEADLINE
    assert system.stock("apple").available == 100


def test_an_order_in_time_has_no_deadline_left(system: Shop) -> None:
    order = system.place()
    system.run()
    version = system.order(order).version
    system.advance(hours=1)

    assert system.order(order).version == version


def test_no_answer_after_the_charge_is_one_charge(system: Shop) -> None:
    order = system.place(amount=30)
    system.gateway.on(order.id).no_answer_after_charge(times=1)
    system.run()
    assert system.status(order) == "RESERVED"

    system.advance(minutes=1)

    assert system.status(order) == "CONFIRMED"
    captures = [entry for entry in system.gateway.all_entries() if entry.kind.value == "CAPTURE"]
    assert [entry.amount for entry in captures] == [3000]


def test_a_charge_that_never_reached_the_gateway_is_made_once_more(system: Shop) -> None:
    order = system.place()
    system.gateway.on(order.id).no_answer_before_charge(times=1)
    system.run()
    system.advance(seconds=5)
    assert system.status(order) == "RESERVED", "not found is only unknown until the settle window has passed"

    system.advance(minutes=1)

    assert system.status(order) == "CONFIRMED"


class Twice(Broker):
    """A log that has every message twice, as after a lost delivery report."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        self._inner.publish(list(reversed(messages)))
        return self._inner.publish(messages)

    def subscribe(self, group: str, topics: Collection[str]) -> Subscription:
        return self._inner.subscribe(group, topics)

    def __getattr__(self, name: str):
        return getattr(self._inner, name)


def test_every_message_twice_has_every_effect_once(make) -> None:
    shop: Shop = make(broker=Twice(make.log()))
    orders = [shop.place({"apple": 3}) for _ in range(40)]
    shop.run()

    states = sorted(shop.status(order) for order in orders)
    assert states == ["CONFIRMED"] * 33 + ["REJECTED"] * 7
    assert shop.stock("apple") == oms.Stock(oms.Sku("apple"), on_hand=1, held=0)
    captures = [entry for entry in shop.gateway.all_entries() if entry.kind.value == "CAPTURE"]
    assert len(captures) == 33
    for order in orders:
        kinds = [n.kind for n in shop.notifications(order)]
        assert len(kinds) == len(set(kinds))


def test_a_foreign_order_without_key_and_headers_is_adopted_and_ends(system: Shop) -> None:
    value = (WIRE / "order.created.json").read_bytes()
    order_id = json.loads(value)["orderId"]
    system.publish("order.created", value)
    system.run()

    assert system.status(order_id) == "CONFIRMED"
    assert system.order(order_id).terms == oms.Terms.checked(
        "11111111-1111-1111-1111-111111111111",
        system.app.money(500),
        {"aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa": 2, "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb": 1},
    )
    assert [n.kind for n in system.notifications(order_id)] == ["order.confirmed", "payment.success"]


def test_a_foreign_order_that_nobody_pays_meets_its_deadline(system: Shop) -> None:
    system.gateway.on("foreign-1").no_answer_before_charge(times=100)
    system.publish("order.created", b'{"orderId":"foreign-1","userId":"u","totalAmount":1,"items":{"apple":1}}')
    system.run()
    system.advance(minutes=20)

    assert system.status("foreign-1") == "CANCELLED"


BAD = [
    b"",
    b"not json",
    b'{"orderId":"x","userId":"u","totalAmount":1,"items":{"apple":-5}}',
    b'{"orderId":"y","userId":"u","totalAmount":1,"items":{}}',
    b'{"orderId":"z","userId":"u","totalAmount":-1,"items":{"apple":1}}',
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("value", BAD)
def test_bad_bytes_are_parked_and_block_nothing(system: Shop, value: bytes) -> None:
    before = system.place()
    system.publish("order.created", value)
    after = system.place()
    system.run()

    assert system.status(before) == system.status(after) == "CONFIRMED"
    parked = system.parked()
    assert sorted(letter.group for letter in parked) == ["inventory-group", "order-group"]
    assert {letter.value for letter in parked} == {value}
    assert all(letter.cause == "Undecodable" and letter.detail for letter in parked)
    assert system.stock("apple").on_hand == 98


def test_old_messages_that_name_no_order_are_counted_and_skipped(system: Shop) -> None:
    system.publish("payment.success", b'{"status":"SUCCESS"}')
    system.run()

    assert system.parked() == []
    assert system.telemetry.total("messages_legacy") == 2


def test_thirty_buyers_of_ten_for_a_hundred(system: Shop) -> None:
    orders = [system.place({"console": 10}, user=f"buyer-{n}") for n in range(30)]
    system.run()

    states = [system.status(order) for order in orders]
    assert states.count("CONFIRMED") == 10
    assert states.count("REJECTED") == 20
    assert system.stock("console") == oms.Stock(oms.Sku("console"), on_hand=0, held=0)


def test_an_idempotency_key_gives_the_equal_answer_and_one_order(system: Shop) -> None:
    first = system.place({"apple": 2}, key="k-1")
    system.run()
    again = system.place({"apple": 2}, key="k-1")

    assert again.id == first.id
    assert again.state is oms.OrderState.CREATED
    assert system.app.orders.page().total == 1
    with pytest.raises(oms.KeyReused):
        system.place({"apple": 3}, key="k-1")

    system.advance(hours=25)
    assert system.place({"apple": 3}, key="k-1").id != first.id


def test_stock_is_counted_and_received_once_for_a_key(system: Shop) -> None:
    stock = system.app.stock
    assert stock.set("apple", 7, key="count-1").on_hand == 7
    assert stock.add("apple", 3, key="receipt-1").on_hand == 10
    assert stock.add("apple", 3, key="receipt-1").on_hand == 10
    system.place({"apple": 4})
    system.gateway.decline_next()
    system.run()
    assert stock.get("apple").on_hand == 10

    held = system.place({"apple": 4})
    system.gateway.on(held.id).no_answer_before_charge(times=1)
    system.run()
    with pytest.raises(oms.Conflict) as refused:
        stock.set("apple", 3)
    assert refused.value.code == "stock_below_held"
    assert stock.get("apple") == oms.Stock(oms.Sku("apple"), on_hand=10, held=4)
    system.advance(minutes=1)
    assert system.status(held) == "CONFIRMED"


def test_a_strangers_order_is_not_found(system: Shop) -> None:
    order = system.place(user="ann")
    bob = oms.Principal(oms.Role.CUSTOMER, oms.UserId("bob"))

    with pytest.raises(oms.NotFound):
        system.cancel(order, caller=bob)
    with pytest.raises(oms.NotFound):
        system.app.orders.get(order.id, caller=bob)
    with pytest.raises(oms.NotFound):
        system.app.orders.timeline(order.id, caller=bob)
    assert system.app.orders.page(caller=bob).total == 0
    assert system.app.orders.page(user_id="ann", caller=bob).total == 0
    with pytest.raises(oms.Refused):
        system.place(user="ann", caller=bob)
    system.run()
    assert system.status(order) == "CONFIRMED"
