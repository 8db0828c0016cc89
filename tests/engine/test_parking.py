"""A dead letter can always be written, whatever the failed code raised: no worker ends because of its texts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.adapters.memory.transaction import MemoryTransaction
from oms.engine.parking import REFUSED_BY_STORE
from oms.ports.errors import Retryable
from oms.ports.stores.rows import DeadLetter, Delivery
from oms.testing import Shop

HALF_EMOJI = json.loads('"unknown recipient \\ud83d"')


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


HOSTILE: list[Exception] = [
    oms.Permanent(HALF_EMOJI),
    oms.Permanent("a\0b"),
    oms.Permanent("x" * 1_000_000),
    type("N" * 1000, (oms.Permanent,), {})("odd name"),
    type("Silent", (NoText, oms.Permanent), {})(),
]


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, notification: oms.Notification) -> None:
        raise self.error


def eventually(happened: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__[1:9])
def test_hostile_error_of_a_notifier_is_parked_in_memory(error: Exception) -> None:
    shop = Shop(notifier=Failing(error))
    shop.place()
    shop.run()
    assert len(shop.parked()) == 2
    assert all(len(letter.detail) <= 500 and letter.detail.isprintable() for letter in shop.parked())


def test_hostile_errors_of_a_notifier_are_parked_in_files_and_orders_go_on(tmp_path: Path) -> None:
    notifier = Failing(HOSTILE[0])
    app = oms.create(profile="embedded", data=tmp_path, log_level="error", notifier=notifier, default_stock=100)
    with app:
        for error in HOSTILE:
            notifier.error = error
            order = app.orders.place(app.draft("ann", "1", {"x": 1}))
            eventually(
                lambda order=order: len([1 for _, one in app.dead_letters.page() if one.order_id == order.id]) == 2
            )
        assert not app.failed
        assert app.problems() == []


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__[1:9])
@pytest.mark.parametrize("where", ["handler", "call", "then"])
def test_hostile_error_of_a_step_is_parked(where: str, error: Exception) -> None:
    def fail(*_: Any) -> None:
        raise error

    def handle(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.call("ship")

    shop = Shop()
    call = oms.OutsideCall(fail) if where == "call" else oms.OutsideCall(lambda *_: None, fail)
    handler = fail if where == "handler" else handle
    shop.app.subscribe("order.confirmed", group="own", handler=handler, calls={"ship": call})
    shop.place()
    shop.run()
    (letter,) = shop.parked()
    assert len(letter.detail) <= 500
    assert len(letter.cause) <= 128


def _refusing(monkeypatch: pytest.MonkeyPatch, refuses: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
    """Let the memory stores refuse some dead letters for good; returns the refused ones."""
    its_own, refused = MemoryTransaction.flush, []

    def flush(self: MemoryTransaction, delivery: Delivery) -> None:
        bad = [letter for letter in delivery.parked if refuses(letter)]
        if bad:
            refused.extend(bad)
            self.work.refuse(oms.Permanent("the store can't take this"))
        its_own(self, delivery)

    monkeypatch.setattr(MemoryTransaction, "flush", flush)
    return refused


@pytest.mark.parametrize("where", ["message", "task"])
def test_a_store_that_refuses_the_full_letter_gets_one_without_texts(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: Any) -> None:
        raise oms.Permanent("the text that the store refuses")

    shop = Shop()
    call = oms.OutsideCall(fail)
    handler = fail if where == "message" else lambda _event, step: step.call("ship")
    shop.app.subscribe("order.confirmed", group="own", handler=handler, calls={"ship": call})
    _refusing(monkeypatch, lambda letter: letter.detail != REFUSED_BY_STORE)
    order = shop.place()
    shop.run()
    (letter,) = shop.parked()
    assert (letter.group, letter.cause, letter.detail) == ("own", "Permanent", REFUSED_BY_STORE)
    assert order.id.encode() in (letter.key or b"")


def test_a_message_whose_letter_no_store_takes_is_kept_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise oms.Permanent("odd")

    shop = Shop()
    shop.app.subscribe("order.confirmed", group="own", handler=fail)
    with monkeypatch.context() as broken:
        refused = _refusing(broken, lambda _letter: True)
        shop.place()
        shop.advance(minutes=1)
        assert len(refused) > 2
        assert shop.parked() == []
    shop.advance(minutes=2)
    assert len(shop.parked()) == 1


def test_an_unpublishable_message_with_a_hostile_refusal_is_parked() -> None:
    shop = Shop()
    order = shop.place()
    broker = shop.app.system.container.broker()
    its_own = broker.publish
    refuse = oms.Permanent(HALF_EMOJI)
    broker.publish = lambda messages: [refuse] * len(messages)
    shop.run()
    broker.publish = its_own
    letters = [one for one in shop.parked() if one.order_id in (None, order.id)]
    assert letters
    assert all("\ufffd" in letter.detail for letter in letters)


def test_a_store_out_of_reach_does_not_shorten_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise oms.Permanent("the full text")

    shop = Shop()
    shop.app.subscribe("order.confirmed", group="own", handler=fail)
    its_own = MemoryTransaction.flush

    def flush(self: MemoryTransaction, delivery: Delivery) -> None:
        if delivery.parked:
            raise Retryable("the database is down")
        its_own(self, delivery)

    with monkeypatch.context() as down:
        down.setattr(MemoryTransaction, "flush", flush)
        shop.place()
        shop.advance(minutes=1)
        assert shop.parked() == []
    shop.advance(minutes=2)
    assert [letter.detail for letter in shop.parked()] == ["the full text"]
