"""P10: the same key and body get the same answer, whatever pricing, policy and state would say by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import oms
from oms.application.use_cases.requests import RequestContext, future_of
from oms.testing import Shop

Make = Callable[..., Shop]


class Moody:
    """A shop's pricing and policy in one: returns the given results, and counts its calls."""

    def __init__(self) -> None:
        self.total, self.refusal, self.asked = 10, None, 0
        self.refusal: Exception | None

    def price(self, terms: oms.Terms) -> oms.Money:
        self.asked += 1
        return oms.Money.of(self.total, terms.total.currency)

    def check(self, _terms: oms.Terms, _caller: oms.Principal) -> None:
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def moody() -> Moody:
    return Moody()


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, moody: Moody) -> Iterator[Shop]:
    made = Shop(settings=oms.Settings(profile=request.param, data=tmp_path), pricing=moody, policy=moody)
    yield made
    made.app.stop()


def test_a_repeat_gets_its_order_though_the_policy_refuses_by_now(shop: Shop, moody: Moody) -> None:
    first = shop.place(key="k")
    moody.total, moody.refusal = 99, oms.Refused("too_many", "enough for today")

    assert shop.place(key="k") == first
    assert (first.agreed.total.minor, moody.asked) == (1000, 1), "a repeat calls neither pricing nor policy"
    assert shop.app.orders.page().total == 1
    with pytest.raises(oms.Refused):
        shop.place(key="another")


def test_a_repeat_is_refused_as_at_first_though_the_policy_would_accept_by_now(shop: Shop, moody: Moody) -> None:
    moody.refusal = oms.Refused("too_many", "enough for today")
    for _ in range(2):
        with pytest.raises(oms.Refused) as refused:
            shop.place(key="k")
        assert (refused.value.code, refused.value.detail) == ("too_many", "enough for today")
        moody.refusal = None

    assert shop.app.orders.page().total == 0
    assert shop.place(key="another").state is oms.OrderState.CREATED


def test_a_derived_refusal_is_kept_as_the_kind_that_it_is(shop: Shop, moody: Moody) -> None:
    class Embargo(oms.Refused):
        pass

    moody.refusal = Embargo("embargo", "not to there")
    for _ in range(2):
        with pytest.raises(oms.Refused) as refused:
            shop.place(key="k")
        assert refused.value.code == "embargo"


@pytest.mark.parametrize("error", [oms.Retryable("pricing is down"), ValueError("odd")])
def test_a_failure_is_no_answer_and_is_never_kept(shop: Shop, moody: Moody, error: Exception) -> None:
    moody.refusal = error
    with pytest.raises(type(error)):
        shop.place(key="k")
    moody.refusal = None
    order = shop.place(key="k")

    moody.refusal = error
    assert shop.place(key="k") == order


def test_the_key_with_another_body_is_refused_before_the_shop_is_asked(shop: Shop, moody: Moody) -> None:
    shop.place(key="k")
    with pytest.raises(oms.KeyReused):
        shop.place({"pear": 1}, key="k")
    assert moody.asked == 1


def test_a_request_quoted_first_and_submitted_second_gets_the_response_of_the_other(shop: Shop, moody: Moody) -> None:
    """Two requests with one key at the same time: the transaction decides, whatever each was quoted."""
    orders, command = shop.app.orders, shop.app.draft("ann", 5, {"apple": 1})
    place, context = orders.place_order, RequestContext(key="k")
    accepted = place.quote(command, context)
    moody.refusal = oms.Refused("too_many", "enough")
    refused = place.quote(command, context)
    answers = [future_of(partial(place.submit, quote)) for quote in (accepted, refused, accepted)]
    shop.run()

    assert len({answer.result().id for answer in answers}) == 1
    assert orders.page().total == 1


def test_a_cancel_that_was_refused_stays_refused_under_its_key(shop: Shop) -> None:
    order = shop.place()
    shop.run()
    cancel = oms.CancelOrder(order.id)
    with pytest.raises(oms.Conflict) as first:
        shop.app.orders.cancel(cancel, key="c")
    shop.cancel(order, by_operator=True)
    shop.run()
    with pytest.raises(oms.Conflict) as second:
        shop.app.orders.cancel(cancel, key="c")

    assert (first.value.code, first.value.detail) == (second.value.code, second.value.detail)
    assert shop.app.orders.cancel(cancel, key="d").state is oms.OrderState.CANCELLED


def test_a_count_that_was_refused_stays_refused_under_its_key(shop: Shop) -> None:
    shop.app.stock.set("apple", 5)
    order = shop.place({"apple": 3})
    shop.gateway.on(order.id).no_answer_after_charge()
    shop.run()
    for units in (1, 1):
        with pytest.raises(oms.Conflict):
            shop.app.stock.set("apple", units, key="s")
        shop.advance(minutes=5)
    assert shop.app.stock.set("apple", 1).on_hand == 1


def test_a_key_is_free_again_after_its_day(shop: Shop, moody: Moody) -> None:
    first = shop.place(key="k")
    shop.advance(hours=25)
    moody.total = 20
    again = shop.place(key="k")
    assert (again.id != first.id, again.agreed.total.minor) == (True, 2000)


def test_a_key_doesnt_go_with_the_callers_own_transaction(shop: Shop) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        shop.app.orders.place(shop.app.draft("ann", 5, {"apple": 1}), key="k", connection=object())
