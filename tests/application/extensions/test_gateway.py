"""Every answer of a shop's gateway is checked: money that moved is never lost, and a wrong answer is never believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oms
from oms.application.extensions.gateway import UnusableGatewayAnswer, storable_payment_id
from oms.domain.text import is_storable
from oms.testing import Shop
from tests.support.answering_gateway import Answer, ByTurns, Gateway


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.slow)])
def shop_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Gateway], Shop]]:
    """Makes a shop with a gateway, on each profile that needs no server."""
    given = {} if request.param == "memory" else {"profile": "embedded", "data": tmp_path}
    made: list[Shop] = []

    def make(gateway: Gateway) -> Shop:
        made.append(Shop(gateway=gateway, **given))
        return made[-1]

    yield make
    for shop in made:
        shop.app.stop()


async def _coroutine() -> None: ...


WRONG: dict[str, Answer] = {
    "None": lambda: None,
    "an exception that is returned": lambda: oms.NotFound("charge_not_found", "no such charge"),
    "a class instead of an instance": lambda: oms.Voided,
    "text": lambda: "captured",
    "half an emoji": lambda: "\ud83d",
    "a coroutine": _coroutine,
    "an answer of another call": lambda: oms.Settings,
}


# -- the records


def test_each_call_takes_one_record_of_the_whole_order(shop_of: Callable[[Gateway], Shop]) -> None:
    gateway = Gateway(charge=oms.Unanswered)
    shop = shop_of(gateway)
    order = shop.place(amount="19.90", user="ann", metadata={"campaign": "spring"})
    shop.run()
    shop.advance(seconds=5)
    shop.cancel(order, by_operator=True)
    shop.run()
    shared: dict[str, Any] = {
        "key": f"oms-{order.id}",
        "order_id": order.id,
        "user_id": "ann",
        "amount": shop.app.money("19.90"),
        "metadata": {"campaign": "spring"},
    }
    by_call = {type(request): request for request in gateway.got}
    assert by_call == {
        oms.Charge: oms.Charge(**shared),
        oms.Lookup: oms.Lookup(**shared),
        oms.Refund: oms.Refund(**shared, charge_key=shared["key"], payment_id="p-1"),
    }


def test_a_void_names_the_order_too(shop_of: Callable[[Gateway], Shop]) -> None:
    gateway = Gateway(charge=oms.Unanswered, lookup=oms.Unanswered, void=oms.Voided)
    shop = shop_of(gateway)
    order = shop.place(amount=30, user="ann")
    shop.run()
    shop.cancel(order)
    shop.run()
    void = next(request for request in gateway.got if isinstance(request, oms.Void))
    assert (void.key, void.order_id, void.user_id) == (f"oms-{order.id}", order.id, "ann")
    assert (void.amount, void.payment_id) == (shop.app.money(30), None)


# -- answers of a wrong type


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_to_a_charge_is_unknown_and_looked_up(shop_of: Callable[[Gateway], Shop], name: str) -> None:
    gateway = Gateway(charge=WRONG[name])
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "lookup"]
    assert shop.status(order) == "CONFIRMED"
    assert not shop.parked()
    (alert,) = shop.telemetry.alerts
    assert alert.event == "payment without an answer"
    assert "charge() returned" in str(alert.fields["detail"])
    assert "expected one of Captured" in str(alert.fields["detail"])


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_to_a_look_up_charges_nobody_twice(shop_of: Callable[[Gateway], Shop], name: str) -> None:
    gateway = Gateway(charge=oms.Unanswered, lookup=WRONG[name])
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.advance(minutes=5)
    assert gateway.calls().count("charge") == 1
    shop.expect(order).in_state("RESERVED").payment("UNKNOWN").nothing_parked()
    assert "lookup() returned" in str(shop.telemetry.alerts[0].fields["detail"])


def test_a_refunded_charge_is_captured_in_its_look_up() -> None:
    gateway = Gateway(charge=oms.Unanswered, lookup=oms.Refunded)
    shop = Shop(gateway=gateway)
    order = shop.place()
    shop.run()
    shop.advance(seconds=1)
    shop.expect(order).in_state("RESERVED").payment("UNKNOWN")
    assert "lookup() returned" in str(shop.telemetry.alerts[0].fields["detail"])


@pytest.mark.parametrize("wrong", [oms.Refunded(), oms.UnknownCharge(), oms.Declined("x"), None], ids=repr)
def test_a_wrong_answer_to_a_void_keeps_the_stock_until_there_is_one(
    shop_of: Callable[[Gateway], Shop], wrong: object
) -> None:
    gateway = Gateway(charge=oms.Unanswered, lookup=oms.Unanswered, void=ByTurns(wrong, oms.Voided()))
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.cancel(order)
    shop.run()
    shop.expect(order).in_state("CANCELLING").payment("VOIDING").holds({"apple": 1})
    shop.advance(minutes=1)
    shop.expect(order).cancelled().payment("VOIDED").holds_nothing()


@pytest.mark.parametrize("wrong", [oms.Captured("p"), oms.Voided(), oms.UnknownCharge(), None], ids=repr)
def test_a_refund_is_done_only_by_its_own_answer(shop_of: Callable[[Gateway], Shop], wrong: object) -> None:
    gateway = Gateway(refund=ByTurns(wrong, oms.Refunded()))
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.cancel(order, by_operator=True)
    shop.run()
    shop.expect(order).in_state("CANCELLING").payment("REFUNDING")
    assert [alert.event for alert in shop.telemetry.alerts] == ["payment without an answer"]
    shop.advance(minutes=1)
    shop.expect(order).cancelled().payment("REFUNDED")


def test_a_coroutine_is_closed() -> None:
    """Python would warn that it was never awaited, and warnings are errors here."""
    shop = Shop(gateway=Gateway(charge=_coroutine))
    shop.place()
    shop.run()


# -- answers that say that nothing is decided


@pytest.mark.parametrize(
    "answer", [oms.Unanswered("503"), oms.Pending("bank"), OSError("half an emoji \ud83d")], ids=repr
)
def test_an_undecided_charge_is_looked_up(shop_of: Callable[[Gateway], Shop], answer: object) -> None:
    gateway = Gateway(charge=ByTurns(answer))
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.expect(order).payment("UNKNOWN")
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "lookup"]
    shop.expect(order).confirmed()
    assert not shop.telemetry.alerts


def test_an_authorisation_is_no_capture_and_raises_an_alert(shop_of: Callable[[Gateway], Shop]) -> None:
    gateway = Gateway(charge=lambda: oms.Authorised("p-1"), lookup=lambda: oms.Authorised("p-1"), void=oms.Voided)
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    assert [alert.fields["detail"] for alert in shop.telemetry.alerts] == ["Authorised"]
    shop.advance(minutes=5)
    shop.expect(order).in_state("RESERVED").payment("UNKNOWN")
    shop.advance(minutes=15)
    shop.expect(order).cancelled("DEADLINE").payment("VOIDED")


def test_a_charge_that_was_not_attempted_is_made_again_without_a_look_up(shop_of: Callable[[Gateway], Shop]) -> None:
    gateway = Gateway(charge=ByTurns(oms.NotAttempted("refused"), oms.NotAttempted("refused"), oms.Captured("p-1")))
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.expect(order).payment("INITIATED")
    shop.advance(seconds=1)  # 0.25 s and 0.5 s later: far within the settle window
    assert gateway.calls() == ["charge", "charge", "charge"]
    shop.expect(order).confirmed()


def test_a_look_up_that_was_not_attempted_says_nothing_of_its_charge(shop_of: Callable[[Gateway], Shop]) -> None:
    gateway = Gateway(charge=oms.Unanswered, lookup=ByTurns(oms.NotAttempted(), oms.NotAttempted(), oms.Captured("p")))
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.advance(minutes=1)
    assert gateway.calls() == ["charge", "lookup", "lookup", "lookup"]
    shop.expect(order).confirmed()


def test_an_unknown_charge_is_unknown_until_the_settle_window_has_passed(shop_of: Callable[[Gateway], Shop]) -> None:
    gateway = Gateway(charge=ByTurns(oms.Unanswered(), oms.Captured("p-1")), lookup=oms.UnknownCharge)
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.advance(seconds=9)
    assert gateway.calls().count("charge") == 1
    shop.advance(seconds=10)
    assert gateway.calls().count("charge") == 2
    shop.expect(order).confirmed()


# -- payment ids


ODD_IDS = ["p" * 65, "a\ud83d", "a\0b", "\ud83d" * 1000, "x" * 1_000_000, 12345, None, "", b"p-1", 10**100]


@pytest.mark.parametrize("payment_id", ODD_IDS, ids=lambda one: ascii(one)[:20])
def test_an_odd_payment_id_never_loses_the_money(shop_of: Callable[[Gateway], Shop], payment_id: Any) -> None:
    gateway = Gateway(charge=lambda: oms.Captured(payment_id))
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.expect(order).confirmed().payment("CAPTURED").nothing_parked()
    shop.cancel(order, by_operator=True)
    shop.run()
    shop.expect(order).cancelled().payment("REFUNDED").nothing_parked()
    refund = gateway.got[-1]
    assert refund.payment_id == storable_payment_id(payment_id, refund.charge_key)


def test_one_embedded_shop_takes_every_odd_payment_id(tmp_path: Path) -> None:
    gateway = Gateway(charge=ByTurns(*map(oms.Captured, ODD_IDS)))
    with Shop(gateway=gateway, profile="embedded", data=tmp_path) as shop:
        orders = [shop.place() for _ in ODD_IDS]
        shop.run()
        for order in orders:
            shop.expect(order).confirmed().payment("CAPTURED").nothing_parked()


def test_an_odd_payment_id_raises_an_alert_and_a_number_does_not() -> None:
    for payment_id, alerts in (("p" * 65, 1), ("p" * 64, 0), (12345, 0), (None, 1)):
        shop = Shop(gateway=Gateway(charge=lambda found=payment_id: oms.Captured(found)))
        order = shop.place()
        shop.run()
        assert len(shop.telemetry.alerts) == alerts
        for alert in shop.telemetry.alerts:
            assert alert.event == "payment id can't be stored"
            assert alert.fields["order_id"] == order.id


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.text(st.characters()), st.text(min_size=60), st.integers(), st.binary()), max_size=4))
def test_a_stored_payment_id_fits_and_stays_unique(found: list[Any]) -> None:
    stored = [storable_payment_id(one, f"oms-{'k' * 64}") for one in found]
    assert all(0 < len(one) <= 64 and is_storable(one) for one in stored)
    assert all(one == text for one, text in zip(stored, found, strict=True) if one and _fits(text))
    assert len(set(stored)) == len({str(one) for one in found})


def _fits(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 64 and is_storable(text)


def test_an_object_without_text_is_a_payment_id_all_the_same() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    assert "Mute" in storable_payment_id(Mute(), "oms-1")


# -- hostile text


@pytest.mark.parametrize("text", ["\ud83d", "\0", "x" * 1_000_000, None, 7], ids=lambda one: ascii(one)[:20])
def test_hostile_text_in_an_answer_changes_nothing(shop_of: Callable[[Gateway], Shop], text: Any) -> None:
    gateway = Gateway(
        charge=ByTurns(oms.Unanswered(text), oms.Declined(text)), lookup=ByTurns(oms.Pending(text), oms.Declined(text))
    )
    shop = shop_of(gateway)
    order = shop.place()
    shop.run()
    shop.advance(minutes=1)
    shop.expect(order).cancelled("PAYMENT_DECLINED").nothing_parked()
    following = shop.place()
    shop.advance(minutes=1)
    shop.expect(following).cancelled("PAYMENT_DECLINED")


def test_the_reason_of_a_decline_is_logged() -> None:
    shop = Shop(gateway=Gateway(charge=lambda: oms.Declined("insufficient funds \ud83d")))
    order = shop.place()
    shop.run()
    (line,) = [line for line in shop.telemetry.notes if line.event == "Payment declined"]
    assert line.fields == {"order_id": order.id, "reason": "insufficient funds \ufffd"}


def test_a_wrong_answer_is_an_unknown_outcome() -> None:
    assert issubclass(UnusableGatewayAnswer, oms.OutcomeUnknown)
