"""`hunt` with a shop's own gateway, pricing, policy and notifier: fresh for each schedule, and their calls get lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import oms
from oms.testing import HuntedShop, hunt
from oms.testing.sim.gateway import TapeGateway


class Wallet(TapeGateway):
    """A correct gateway that counts its calls."""

    def __init__(self) -> None:
        super().__init__(oms.testing.Shop().clock, lambda _label, _options: 0)
        self.calls: Counter[str] = Counter()

    def charge(self, charge):
        self.calls["charge"] += 1
        return super().charge(charge)

    def lookup(self, lookup):
        self.calls["lookup"] += 1
        return super().lookup(lookup)


class ForgetfulWallet(Wallet):
    """Forgets what it captured: a look-up finds nothing, and the charge is made again."""

    def charge(self, charge):
        answer = super().charge(charge)
        self.book._pages.clear()
        return answer


class Inbox(oms.Notifier):
    def __init__(self) -> None:
        self.got: list[str] = []

    def send(self, notification: oms.Notification) -> None:
        self.got.append(notification.id)


class Double(oms.Pricing):
    def price(self, terms: oms.Terms) -> oms.Money:
        return oms.Money(terms.total.minor * 2, terms.total.currency)


class NoOperators(oms.Policy):
    def check(self, terms: oms.Terms, caller: oms.Principal) -> None:
        if caller.role is oms.Role.OPERATOR:
            raise oms.Refused("no_operators", "operators don't buy")


made: list[object] = []


def wallet() -> Wallet:
    made.append(Wallet())
    return made[-1]


@hunt(schedules=80, gateway=wallet, notifier=Inbox, pricing=Double, policy=NoOperators)
def test_own_extensions_in_every_schedule(shop: HuntedShop) -> None:
    own = shop.extensions
    assert own.gateway is made[-1]
    assert own.gateway.calls == Counter(), "each schedule has an object of its own"
    with pytest.raises(oms.Refused):
        shop.place({"lamp": 1}, caller=oms.Principal(oms.Role.OPERATOR))
    order = shop.place({"lamp": 1}, amount=5, caller=oms.Principal(oms.Role.CUSTOMER, oms.UserId("customer-1")))
    shop.run()

    shop.expect(order).confirmed().paid(10)
    assert own.gateway.calls["charge"] >= 1
    assert set(own.notifier.got) == {f"{order.id}:order.confirmed", f"{order.id}:payment.success"}


def test_calls_and_answers_are_lost_in_some_schedules() -> None:
    seen: Counter[str] = Counter()

    @hunt(schedules=80, gateway=Wallet, notifier=Inbox)
    def hunted(shop: HuntedShop) -> None:
        shop.place({"lamp": 1})
        shop.run()
        own = shop.extensions
        seen["looked up"] += own.gateway.calls["lookup"] > 0
        seen["notified again"] += len(own.notifier.got) > len(set(own.notifier.got))

    hunted()
    assert all(seen[name] > 0 for name in ("looked up", "notified again")), seen


@pytest.mark.parametrize("losing", ["lose_next_answer", "lose_next_call"])
def test_a_test_can_lose_a_charge_of_its_own_gateway(losing: str) -> None:
    @hunt(schedules=6, gateway=Wallet)
    def hunted(shop: HuntedShop) -> None:
        getattr(shop.gateway, losing)()
        order = shop.place({"lamp": 1})
        shop.run()
        shop.expect(order).confirmed().paid(100)

    hunted()


def test_a_gateway_without_idempotency_keys_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @hunt(schedules=200, gateway=ForgetfulWallet)
    def hunted(shop: HuntedShop) -> None:
        order = shop.place({"lamp": 1})
        shop.run()
        shop.expect(order).confirmed().paid(100)

    with pytest.raises(AssertionError, match="P4"):
        hunted()


def test_an_own_gateway_decides_by_itself_what_it_declines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @hunt(schedules=1, gateway=Wallet)
    def hunted(shop: HuntedShop) -> None:
        shop.gateway.decline_next()

    with pytest.raises(AssertionError, match="your own gateway decides this itself"):
        hunted()


def test_an_object_in_place_of_a_factory_is_refused() -> None:
    with pytest.raises(TypeError, match="gateway must be a class or a function without arguments, not a Wallet object"):
        hunt(gateway=Wallet())


def test_the_app_of_a_hunted_shop_places_orders_in_its_world() -> None:
    @hunt(schedules=10)
    def hunted(shop: HuntedShop) -> None:
        shop.app.stock.set("lamp", 3)
        order = shop.app.orders.place(shop.app.draft("ann", 5, {"lamp": 2}))
        shop.run()
        shop.expect(order).confirmed()
        assert shop.stock("lamp").on_hand == 1

    hunted()
