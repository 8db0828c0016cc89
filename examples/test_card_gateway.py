"""The card gateway keeps the contract of gateways, and its money is right when answers are lost.

python -m pytest test_card_gateway.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from card_gateway import CardGateway
from fake_card_api import FakeCardApi

import oms
from oms.testing import Shop
from oms.testing.contracts.gateway import GatewayContract


@pytest.fixture
def api() -> Iterator[FakeCardApi]:
    with FakeCardApi() as made:
        yield made


@pytest.fixture
def cards(api: FakeCardApi, tmp_path: Path) -> CardGateway:
    return CardGateway(api.url, "secret", tmp_path / "cards.db")


class TestCardGateway(GatewayContract):
    smallest_amount = 50

    @pytest.fixture
    def gateway(self, api: FakeCardApi, tmp_path: Path) -> CardGateway:
        self.api, self.path = api, tmp_path / "cards.db"
        return CardGateway(api.url, "secret", self.path)

    def decline(self, gateway: CardGateway, charge: oms.Charge) -> oms.Charge:  # noqa: ARG002 - the suite's hook
        return attrs.evolve(charge, metadata={"card": "card_declined"})

    def lose_answer(self, gateway: CardGateway, charge: oms.Charge) -> None:
        self.api.lose("confirm")
        with pytest.raises(OSError):
            gateway.charge(charge)

    def lose_refund_answer(self, gateway: CardGateway, refund: oms.Refund) -> None:
        self.api.lose("refund")
        with pytest.raises(OSError):
            gateway.refund(refund)

    def refuse_refund(self, gateway: CardGateway, refund: oms.Refund) -> oms.Refund:  # noqa: ARG002 - the suite's hook
        self.api.refuse_refunds()
        return refund

    def reopen(self, gateway: CardGateway) -> CardGateway:  # noqa: ARG002 - the suite's hook
        self.api.forget_keys()
        return CardGateway(self.api.url, "secret", self.path)


@pytest.mark.parametrize("verb", ["create", "confirm"])
def test_a_lost_answer_is_one_charge(api: FakeCardApi, cards: CardGateway, verb: str) -> None:
    with Shop(gateway=cards) as shop:
        order = shop.place(amount=30)
        api.lose(verb)
        shop.run()
        shop.expect(order).payment("UNKNOWN")
        shop.advance(minutes=1)
        shop.expect(order).confirmed().paid(30)
        shop.expect().promises_kept()


def test_a_decline_whose_cancel_is_lost_is_final_all_the_same(api: FakeCardApi, cards: CardGateway) -> None:
    with Shop(gateway=cards) as shop:
        order = shop.place(metadata={"card": "card_declined"})
        api.lose("cancel")
        shop.run()
        shop.advance(minutes=1)
        shop.expect(order).cancelled("PAYMENT_DECLINED").paid_nothing()
    assert [intent["status"] for intent in api.intents.values()] == ["canceled"]


def test_a_lost_refund_is_found_though_the_provider_forgot_its_key(api: FakeCardApi, cards: CardGateway) -> None:
    with Shop(gateway=cards) as shop:
        order = shop.place(amount=30)
        shop.run()
        shop.cancel(order, by_operator=True)
        api.lose("refund")
        shop.run()
        shop.expect(order).payment("REFUNDING")
        api.forget_keys()
        shop.advance(minutes=1)
        shop.expect(order).cancelled().payment("REFUNDED").paid_nothing()
    assert len(api.refunds) == 1


def test_a_refused_refund_is_paid_when_an_operator_retries_it(api: FakeCardApi, cards: CardGateway) -> None:
    with Shop(gateway=cards) as shop:
        order = shop.place({"lamp": 2}, amount=30)
        shop.run()
        api.refuse_refunds()
        refund = shop.app.orders.refund(oms.RefundOrder.of(order.id, "GOODWILL", "scratched", amount=10))
        shop.advance(minutes=1)
        assert _state_of(shop, order, refund) is oms.RefundState.REFUSED
        shop.expect(order).paid(30)
        api.forget_keys()
        shop.app.orders.retry_payment(order.id, refund.id, "the customer has a new card")
        shop.advance(minutes=1)
        assert _state_of(shop, order, refund) is oms.RefundState.PAID
        shop.expect(order).paid(20)
    assert [refund["amount"] for refund in api.refunds.values()] == [1000]


def _state_of(shop: Shop, order: oms.Order, refund: oms.OrderRefund) -> oms.RefundState:
    fulfilment = shop.app.orders.get(order.id).fulfilment
    return next(fulfilment.state_of(one) for one in fulfilment.refunds if one.id == refund.id)


def test_without_a_connection_nothing_was_attempted(tmp_path: Path) -> None:
    with FakeCardApi() as api:
        url = api.url
    cards = CardGateway(url, "secret", tmp_path / "cards.db")
    with Shop(gateway=cards) as shop:
        order = shop.place()
        shop.run()
        shop.expect(order).payment("INITIATED")  # not UNKNOWN: the next try needs no look-up


def test_a_charge_in_flight_finds_its_key_voided(cards: CardGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The void comes when the intent is made and not noted yet."""
    note: Callable[[str, str], str] = cards._note
    with Shop(gateway=cards) as shop:
        order = shop.place()

        def late(key: str, intent: str) -> str:
            monkeypatch.setattr(cards, "_note", note)
            money = shop.app.money(100)
            void = oms.Void(key=key, order_id=order.id, user_id=oms.UserId("customer-1"), amount=money)
            assert cards.void(void) == oms.Voided()
            return note(key, intent)

        monkeypatch.setattr(cards, "_note", late)
        shop.run()
        shop.expect(order).cancelled("PAYMENT_DECLINED").paid_nothing()
