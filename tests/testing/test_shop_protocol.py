"""`Shop` and `HuntedShop` are one thing to a test: neither can get a question or a word that the other lacks."""

from __future__ import annotations

import inspect

import pytest

from oms.testing import HuntedShop, Shop, hunt
from oms.testing.fault_targets import NextCharge, ShopGateway
from oms.testing.hunted import HuntedGateway
from oms.testing.shop_protocol import AnyShop
from oms.testing.sim.scope import Scope
from oms.testing.sim.tape import Replay

STANDS_STILL = {"clock", "ids", "telemetry", "log", "publish", "worker", "topic", "gate", "close"}
"""What only a shop has that nothing moves in: the parts themselves, and faults that are the hunt's to choose elsewhere."""

HUNTED = {"finished"}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_neither_has_words_of_its_own() -> None:
    assert public(Shop) - public(AnyShop) <= STANDS_STILL
    assert public(HuntedShop) - public(AnyShop) == HUNTED
    assert public(HuntedGateway) == public(NextCharge) <= public(ShopGateway)


@pytest.mark.parametrize("name", ["place", "order_database", "cancel", "set_stock", "run", "advance", "now", "report"])
def test_what_each_does_in_its_own_way_is_called_alike(name: str) -> None:
    wanted = inspect.signature(getattr(AnyShop, name)).parameters
    for kind in (Shop, HuntedShop):
        found = inspect.signature(getattr(kind, name)).parameters
        assert {key: found[key] for key in wanted} == wanted, kind
        assert found.keys() - wanted.keys() <= {"caller"}, "an optional keyword at the most"


@pytest.mark.parametrize("name", sorted(public(AnyShop) - set(AnyShop.__abstractmethods__)))
def test_a_question_has_one_answer(name: str) -> None:
    for kind in (Shop, HuntedShop):
        assert getattr(kind, name) is getattr(AnyShop, name), f"{kind.__name__} answers {name} by itself"


def story_of_one(shop: AnyShop) -> tuple[object, ...]:
    """A test that is written for any shop."""
    order = shop.given(stock={"lamp": 2}, order={"lamp": 1}, amount="12.50", user="ann")
    shop.gateway.decline_next()
    other = shop.place({"lamp": 1}, key="k")
    shop.run()
    shop.advance(minutes=1)
    shop.expect().nothing_parked().promises_kept().published("order.created", 2)
    kinds = [[one.kind for one in shop.notifications(each)] for each in (order, other)]
    ends = sorted(shop.status(each) for each in (order, other))
    money = sorted(str(shop.paid(each)) for each in (order, other))
    return ends, money, kinds, shop.stock("lamp"), sorted(event.topic for event in shop.published()), shop.parked()


def test_a_test_for_one_is_a_test_for_the_other(shop: Shop) -> None:
    hunted = HuntedShop(Scope(orders=0, units=100), Replay())
    still, calm = story_of_one(shop), story_of_one(hunted)

    assert still == calm
    assert hunted.finished(None).violations == ()
    assert "order.cancelled" in hunted.story()


@hunt(schedules=20)
def test_what_a_hunted_test_asks_of_the_gateway_happens_in_each_schedule(shop: HuntedShop) -> None:
    shop.gateway.decline_next()
    order = shop.place()
    shop.run()
    shop.expect(order).cancelled("PAYMENT_DECLINED").paid_nothing()


def test_a_hunted_fault_that_never_happens_is_found_in_the_calm_schedule(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @hunt(schedules=4)
    def vain(shop: HuntedShop) -> None:
        shop.gateway.lose_next_call()
        shop.run()

    with pytest.raises(AssertionError, match="never happened"):
        vain()


def test_an_expectation_that_a_hunted_test_does_not_meet_tells_how_things_stood(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @hunt(schedules=4)
    def hasty(shop: HuntedShop) -> None:
        order = shop.place()
        shop.run()
        shop.expect(order).cancelled()

    with pytest.raises(AssertionError) as failed:
        hasty()
    text = str(failed.value)
    assert "CANCELLED, found CONFIRMED" in text.splitlines()[0]
    assert text.count("the shop at") == 1
    assert "payment CAPTURED: in the gateway's book: CAPTURE" in text
    (tape,) = tmp_path.glob("oms-tapes/*.omstape")
    assert "the shop at" not in tape.read_text()
