"""A redrive that fails leaves the same dead letter parked, with the new cause: of messages, tasks and refused ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oms
from oms.adapters.memory.log import MemoryLog
from oms.adapters.memory.transaction import MemoryTransaction
from oms.engine.dead_letter_copies import UNPUBLISHABLE
from oms.ports.errors import PortError
from oms.ports.messages import Outgoing
from oms.ports.stores.rows import DeadLetterState
from oms.testing import Shop

KINDS = ["message", "task", "notification"]


class Moody:
    """Fails with the error that it was given last, as a handler, an outside call and a notifier."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error

    def send(self, notification: oms.Notification) -> None:
        if notification.kind == "order.confirmed":
            self()


def shop_of(kind: str, moody: Moody, **given: Any) -> Shop:
    shop = Shop(**given, **({"notifier": moody} if kind == "notification" else {}))
    if kind == "message":
        shop.app.subscribe("order.confirmed", group="own", handler=moody, publishes=["own.done"])
    elif kind == "task":
        call = oms.OutsideCall(moody)
        shop.app.subscribe(
            "order.confirmed", group="own", handler=lambda _event, step: step.call("ship"), calls={"ship": call}
        )
    return shop


def redrive(shop: Shop, name: str) -> None:
    """Redrive; a message that fails again is refused at once, a task fails later."""
    with suppress(oms.Conflict):
        shop.app.dead_letters.redrive(name)
    shop.advance(minutes=10)


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(KINDS), fails=st.lists(st.sampled_from(["first", "second", "third"]), max_size=4))
def test_a_letter_keeps_its_id_and_has_the_last_cause_until_a_redrive_succeeds(kind: str, fails: list[str]) -> None:
    moody = Moody()
    moody.error = oms.Permanent("at first")
    shop = shop_of(kind, moody)
    order = shop.place({"x": 1})
    shop.advance(minutes=10)
    (first,) = shop.parked()
    assert (first.detail.startswith("at first"), first.order_id) == (True, order.id)
    for number, text in enumerate(fails, start=1):
        moody.error = type(text.title(), (oms.Permanent,), {})(text)
        redrive(shop, first.id)
        (again,) = shop.parked()
        assert (again.id, again.parked_at, again.order_id) == (first.id, first.parked_at, order.id)
        assert (again.cause, again.detail.startswith(text)) == (text.title(), True)
        assert again.attempts == first.attempts + number
    moody.error = None
    redrive(shop, first.id)
    assert shop.parked() == []
    assert shop.app.dead_letters.get(first.id)[1].state is DeadLetterState.REDRIVEN
    assert moody.calls == len(fails) + 2
    shop.advance(hours=1)
    assert shop.report().violations == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_redrive_in_files(kind: str, tmp_path: Path) -> None:
    moody = Moody()
    moody.error = oms.Permanent("at first")
    shop = shop_of(kind, moody, profile="embedded", data=tmp_path)
    shop.place({"x": 1})
    shop.advance(minutes=10)
    (first,) = shop.parked()
    moody.error = ValueError("later") if kind == "message" else oms.Permanent("later")
    redrive(shop, first.id)
    (again,) = shop.parked()
    assert (again.id, again.detail.startswith("later")) == (first.id, True)


def test_a_message_that_still_cannot_be_read_has_one_attempt_more() -> None:
    shop = Shop()
    shop.app.subscribe("own.news", group="own", handler=Moody())
    shop.publish("own.news", b"{")
    shop.run()
    (first,) = shop.parked()
    with pytest.raises(oms.Conflict, match="it fails again"):
        shop.app.dead_letters.redrive(first.id)
    (again,) = shop.parked()
    assert (again.id, again.attempts, again.cause) == (first.id, first.attempts + 1, "Undecodable")


def test_a_redrive_whose_effects_the_store_refuses_has_the_stores_error(monkeypatch: pytest.MonkeyPatch) -> None:
    moody = Moody()
    moody.error = oms.Permanent("at first")
    shop = shop_of("message", moody)
    shop.place({"x": 1})
    shop.run()
    (first,) = shop.parked()
    flush, refused = MemoryTransaction.flush, []

    def refuse_once(self: MemoryTransaction, delivery: Any) -> None:
        if not refused and delivery.outbox:
            refused.append(delivery)
            self.work.refuse(oms.Permanent("the store refuses"))
        flush(self, delivery)

    monkeypatch.setattr(MemoryTransaction, "flush", refuse_once)
    monkeypatch.setattr(Moody, "__call__", lambda _self, _event, step: step.publish("own.done", a=1))
    with pytest.raises(oms.Conflict, match="the store refuses"):
        shop.app.dead_letters.redrive(first.id)
    (again,) = shop.parked()
    assert (again.id, again.detail) == (first.id, "the store refuses")
    shop.app.dead_letters.redrive(first.id)
    shop.run()
    assert (shop.parked(), len(shop.published("own.done"))) == ([], 1)


def test_a_task_that_fails_while_its_letter_still_waits_gets_another_letter() -> None:
    moody = Moody()
    moody.error = oms.Permanent("no")
    shop = Shop()
    calls = {"ship": oms.OutsideCall(moody)}
    for topic in ("order.confirmed", "payment.success"):
        shop.app.subscribe(topic, group="own", handler=lambda _event, step: step.call("ship"), calls=calls)
    shop.place({"x": 1})
    shop.run()
    letters = shop.parked()
    assert len(letters) == len({letter.id for letter in letters}) == moody.calls


# -- the order id of a letter


def parked_of(value: bytes, headers: Any = ()) -> Any:
    shop = Shop()
    shop.publish("payment.success", value, headers=headers)
    shop.run()
    letters = shop.parked()
    assert len({letter.order_id for letter in letters}) == 1
    return letters[0]


@pytest.mark.parametrize(
    ("value", "headers", "order_id"),
    [
        (b'{"orderId":"o-1","amount":"odd"}', (), "o-1"),
        (b'{"orderId":"o-1"', (("ce_subject", b"o-2"), ("ce_type", b"payment.success")), "o-2"),
        (b'{"orderId":7}', (("ce_subject", b"a b"),), None),
        (b'{"orderId":7}', (("ce_subject", b"\xff"),), None),
        (b"{", (), None),
    ],
)
def test_the_letter_of_a_message_that_cannot_be_decoded_names_its_order(
    value: bytes, headers: Any, order_id: str | None
) -> None:
    assert parked_of(value, headers).order_id == order_id


class Refusing(MemoryLog):
    """A broker that refuses every message of `own.done` for good."""

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        reports = iter(super().publish([one for one in messages if one.topic != "own.done"]))
        return [oms.Permanent("no") if one.topic == "own.done" else next(reports) for one in messages]


def test_the_letter_of_a_message_that_the_broker_refused_names_its_order() -> None:
    shop = Shop(broker=Refusing(4))
    handler = lambda _event, step: step.publish("own.done", a=1)  # noqa: E731
    shop.app.subscribe("order.confirmed", group="own", handler=handler, publishes=["own.done"])
    order = shop.place({"x": 1})
    shop.run()
    (letter,) = shop.parked()
    assert (letter.cause, letter.order_id) == (UNPUBLISHABLE, order.id)


@pytest.mark.parametrize("version", [b"2", b"", b"1.0", b"\xff"])
def test_a_message_of_an_unknown_schema_is_parked(version: bytes) -> None:
    shop = Shop()
    order = shop.place({"x": 1})
    shop.run()
    (sent,) = [record for record in shop.log.all_records() if record.topic == "order.created"]
    headers = tuple((name, version if name == "oms_schema" else value) for name, value in sent.headers)
    shop.publish("order.created", sent.value, key=sent.key, headers=headers)
    shop.run()
    assert shop.parked()
    for letter in shop.parked():
        assert (letter.cause, letter.order_id) == ("Undecodable", order.id)
        assert "oms_schema" in letter.detail
    assert shop.status(order) == "CONFIRMED"
