"""What the gate remembers of an order is let go once the ledger has settled it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oms.adapters.memory import gate_rules as script
from oms.domain.values import OrderId
from oms.ports.errors import Permanent
from oms.ports.gate import GateAnswer, StockGate
from oms.testing import Shop


def _gate(shop: Shop) -> Any:
    return shop.app.system.container.gate()


def _held(shop: Shop) -> list[OrderId]:
    return [order for order, answer, _ in _gate(shop).all_answers() if answer is GateAnswer.HELD]


def _expiring(shop: Shop) -> set[str]:
    return set(_gate(shop).state["expires"])


def test_every_settled_order_is_let_go(shop: Shop) -> None:
    confirmed, rejected, declined = shop.place({"apple": 1}), shop.place({"apple": 101}), shop.place({"apple": 2})
    shop.gateway.on(declined.id).decline()
    shop.run()
    assert [shop.status(order) for order in (confirmed, rejected, declined)] == ["CONFIRMED", "REJECTED", "CANCELLED"]
    assert _expiring(shop) == {confirmed.id, rejected.id, declined.id}


def test_an_order_that_waits_for_its_money_is_kept(shop: Shop) -> None:
    order = shop.place({"apple": 1})
    shop.gateway.on(order.id).no_answer_before_charge(times=100)
    shop.run()
    assert shop.status(order) == "RESERVED"
    assert _held(shop) == [order.id]
    assert _expiring(shop) == set()


def test_a_restocked_order_is_let_go(shop: Shop) -> None:
    order = shop.place({"apple": 3})
    shop.run()
    shop.cancel(order, by_operator=True)
    shop.run()
    assert shop.status(order) == "CANCELLED"
    assert _expiring(shop) == {order.id}
    shop.clock.advance(timedelta(milliseconds=script.ANSWER_KEPT_MS + 1))
    gate: StockGate = _gate(shop)
    gate.give_back([order.id])  # the answer has expired: nothing is given back a second time
    assert _gate(shop).state["available"]["apple"] == 100


def test_a_closed_gate_is_told_later(shop: Shop) -> None:
    order = shop.place({"apple": 1})
    shop.run()
    other = shop.place({"apple": 101})
    _gate(shop).lose_memory()
    shop.run()
    shop.advance(minutes=1)
    assert [shop.status(one) for one in (order, other)] == ["CONFIRMED", "REJECTED"]
    assert _held(shop) == []
    shop.check()


def test_what_the_gate_refuses_for_good_is_parked_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = shop.place({"apple": 1, "pear": 1, "plum": 1})
    shop.run()
    gate = _gate(shop)
    add = gate.add

    def refusing(deltas: Any, epoch: int) -> None:
        if any(sku == "pear" for _, sku, _ in deltas):
            raise Permanent("its key has another type")
        add(deltas, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(gate, "add", refusing)
        shop.cancel(order, by_operator=True)
        shop.run()
    (letter,) = shop.parked()
    assert (letter.topic, letter.cause) == ("task:gate-delta", "Permanent")
    assert (gate.state["available"]["apple"], gate.state["available"]["pear"]) == (100, 99)
    shop.app.dead_letters.redrive(letter.id)
    shop.run()
    assert gate.state["available"]["pear"] == 100
    shop.check()
