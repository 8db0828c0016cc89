"""Orders with lines and charges: what places them, what their amounts must be, and who gets to see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

import oms
from oms.testing import Shop

USD = oms.Currency.of("USD")


def usd(amount: str) -> oms.Money:
    return oms.Money.of(amount, USD)


LINES = (oms.OrderLine.of("lamp", 2, usd("30"), "Desk lamp"), oms.OrderLine.of("bulb", 1, usd("5.50")))
SHIPPING = oms.OrderCharge.of("shipping", usd("4.90"))
TOTAL = "40.40"


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


def test_an_order_has_the_lines_and_charges_that_it_was_placed_with(shop: Shop) -> None:
    order = shop.place(lines=LINES, charges=[SHIPPING], amount=TOTAL)
    shop.run()
    terms = shop.app.orders.get(order.id).agreed
    assert (terms.lines, terms.charges, dict(terms.items)) == (LINES, (SHIPPING,), {"lamp": 2, "bulb": 1})
    shop.expect(order).confirmed()
    assert shop.report().violations == ()


def test_every_message_of_the_way_has_the_lines(shop: Shop) -> None:
    heard: list[Any] = []

    def hear(event: oms.AnyEvent, _step: oms.StepContext) -> None:
        heard.append(event)

    for topic in ("order.created", "inventory.reserved", "order.confirmed"):
        shop.app.subscribe(topic, group=f"hear-{topic}", handler=hear)
    shop.place(lines=LINES, charges=[SHIPPING], amount=TOTAL)
    shop.run()
    assert {(event.topic, event.terms.lines, event.terms.charges) for event in heard} == {
        (topic, LINES, (SHIPPING,)) for topic in ("order.created", "inventory.reserved", "order.confirmed")
    }


def test_lines_need_no_amounts(shop: Shop) -> None:
    order = shop.place(lines=[oms.OrderLine.of("lamp", 1)], amount=7)
    shop.run()
    shop.expect(order).confirmed()


@pytest.mark.parametrize("amount", ["40.39", "40.41", "0"])
def test_amounts_must_add_up_to_the_total(shop: Shop, amount: str) -> None:
    with pytest.raises(oms.InvalidValue, match=r"add up to 40\.40 USD") as refused:
        shop.place(lines=LINES, charges=[SHIPPING], amount=amount)
    assert refused.value.code == "amounts_dont_add_up"


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("items_or_lines", {"items": {"lamp": 1}, "lines": LINES}),
        ("no_items", {"lines": []}),
        ("charges_without_amounts", {"items": {"lamp": 1}, "charges": [SHIPPING]}),
        ("charges_without_amounts", {"lines": [oms.OrderLine.of("lamp", 1)], "charges": [SHIPPING]}),
        ("repeated_product", {"lines": LINES * 2}),
        ("invalid_currency", {"lines": [oms.OrderLine.of("lamp", 1, oms.Money.of(100, oms.Currency.of("EUR")))]}),
    ],
)
def test_orders_that_are_refused(shop: Shop, code: str, order: dict[str, Any]) -> None:
    with pytest.raises(oms.InvalidValue) as refused:
        shop.place(**order)
    assert refused.value.code == code


class Discount(oms.Pricing):
    """Takes one dollar off the caller's total."""

    def __init__(self) -> None:
        self.seen: list[oms.Terms] = []

    def price(self, terms: oms.Terms) -> oms.Money:
        self.seen.append(terms)
        return oms.Money(terms.total.minor - 100, terms.total.currency)


class Refusing(oms.Policy):
    """Refuses every order."""

    def check(self, terms: oms.Terms, caller: oms.Principal) -> None:
        raise oms.InvalidValue("never", f"{len(terms.lines)} lines")


def test_amounts_are_compared_with_the_total_of_the_shops_pricing() -> None:
    pricing = Discount()
    with Shop(pricing=pricing) as shop:
        placed = shop.place(lines=LINES, charges=[SHIPPING], amount="41.40")
        assert placed.agreed.total == usd(TOTAL)
        with pytest.raises(oms.InvalidValue, match=r"the total is 39\.40 USD"):
            shop.place(lines=LINES, charges=[SHIPPING], amount=TOTAL)
    assert [terms.lines for terms in pricing.seen] == [LINES, LINES]


def test_an_order_whose_price_doesnt_add_up_is_refused_again_under_its_key() -> None:
    pricing = Discount()
    with Shop(pricing=pricing, policy=Refusing()) as shop:
        for _ in range(2):
            with pytest.raises(oms.InvalidValue) as refused:
                shop.place(lines=LINES, charges=[SHIPPING], amount=TOTAL, key="once")
            assert refused.value.code == "amounts_dont_add_up"
        with pytest.raises(oms.InvalidValue, match="2 lines"):
            shop.place(lines=LINES, charges=[SHIPPING], amount="41.40")
    assert len(pricing.seen) == 2


def test_a_key_tells_orders_with_other_lines_apart(shop: Shop) -> None:
    order: dict[str, Any] = {"lines": LINES, "charges": [SHIPPING], "amount": TOTAL, "key": "k"}
    first = shop.place(**order)
    assert shop.place(**order).id == first.id
    gift = oms.OrderCharge.of("gift", SHIPPING.amount)
    unnamed = oms.OrderLine.of("lamp", 2, usd("30"))
    dearer = (oms.OrderLine.of("lamp", 2, usd("31"), "Desk lamp"), oms.OrderLine.of("bulb", 1, usd("4.50")))
    plain: dict[str, Any] = {"items": {"lamp": 2, "bulb": 1}, "lines": None, "charges": ()}
    for changed in ({"charges": [gift]}, {"lines": (unnamed, LINES[1])}, {"lines": dearer}, plain):
        with pytest.raises(oms.KeyReused):
            shop.place(**order | changed)


def test_an_order_of_items_has_the_fingerprint_that_it_had_before_there_were_lines(shop: Shop) -> None:
    """Its key may have been used with the version before, up to 24 hours ago."""
    shop.place({"lamp": 2}, amount=7, metadata={"a": "b"}, key="k")
    (stored,) = shop.app.system.order.service.store.all_responses()
    assert stored.fingerprint == sha256(b'["customer-1",700,"USD",{"lamp":2},{"a":"b"}]').hexdigest()


def message(**fields: Any) -> bytes:
    body = {"orderId": "o-1", "userId": "ann", "totalAmount": 40.4, "items": {"lamp": 2, "bulb": 1}}
    return json.dumps(body | fields).encode()


WIRE_LINES = [
    {"productId": "lamp", "quantity": 2, "amount": 30, "name": "Desk lamp"},
    {"productId": "bulb", "quantity": 1, "amount": 5.5},
]
WIRE_CHARGES = [{"kind": "shipping", "amount": 4.9}]


def test_an_order_placed_by_message_has_its_lines(shop: Shop) -> None:
    shop.publish("order.created", message(lines=WIRE_LINES, charges=WIRE_CHARGES))
    shop.run()
    shop.expect("o-1").confirmed()
    assert shop.order("o-1").agreed.lines == LINES


def test_a_message_whose_lines_dont_add_up_is_a_dead_letter_of_each_reader(shop: Shop) -> None:
    shop.publish("order.created", message(lines=WIRE_LINES))
    shop.run()
    letters = shop.app.dead_letters.page()
    assert {(service, letter.topic, letter.cause) for service, letter in letters} == {
        ("order", "order.created", "Undecodable"),
        ("inventory", "order.created", "Undecodable"),
    }
    assert "add up to 35.50 USD, the total is 40.40 USD" in letters[0][1].detail


@pytest.mark.parametrize("first", ["inventory.reserved", "order.created"])
def test_lines_are_kept_whichever_message_comes_first(shop: Shop, first: str) -> None:
    """An inventory service of the version before this one answers without lines."""
    messages = {
        "inventory.reserved": message(),
        "order.created": message(lines=WIRE_LINES, charges=WIRE_CHARGES),
    }
    for topic in sorted(messages, key=lambda topic: topic != first):
        shop.publish(topic, messages[topic], key=b"o-1")
        shop.run()
    shop.expect("o-1").confirmed()
    assert (shop.order("o-1").agreed.lines, shop.order("o-1").agreed.charges) == (LINES, (SHIPPING,))
