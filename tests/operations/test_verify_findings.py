"""What `oms verify` says of one system: what it takes for a fault, what it doesn't, and where it says a fault is."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.adapters.memory.log import MemoryLog
from oms.application import orders
from oms.domain.terms import Terms
from oms.domain.values import OrderId
from oms.engine.offsets import place
from oms.operations import promises
from oms.operations.promises import Report
from oms.ports.messages import Outgoing
from oms.ports.stores.rows import StoredResponse
from oms.settings import Settings
from oms.testing import Shop
from tests.support.fulfilled_orders import ShortLog, found


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile=request.param, data=tmp_path / "data"))


def checked(shop: Shop, *, deadline_s: float = 900, settle_s: float = 60, **changed: Any) -> Report:
    evidence = attrs.evolve(shop.evidence, **changed)
    return promises.check(evidence, shop.codec, now=shop.now(), deadline_s=deadline_s, settle_s=settle_s)


# -- P4


class Book:
    def __init__(self, *entries: tuple[str, int]) -> None:
        self._entries = entries

    def all_entries(self) -> Iterable[oms.BookEntry]:
        at = datetime(2020, 1, 1, tzinfo=UTC)
        return [oms.BookEntry(key, oms.BookKind.CAPTURE, amount, at) for key, amount in self._entries]


def confirmed(shop: Shop) -> str:
    order = shop.place(amount=30)
    shop.run()
    shop.expect(order).confirmed()
    return order.id


def test_payments_of_other_systems_are_no_violation(shop: Shop) -> None:
    order_id = confirmed(shop)
    book = Book((f"oms-{order_id}", 3000), ("oms-of-another-system", 1), ("oms-of-another-system", 1), ("web-17", 1))
    report = checked(shop, book=book, whole_book=False)
    assert found(report) == []
    assert "P4" in report.checked
    assert report.notes == ("the gateway's book has 2 payments of other systems",)
    assert set(found(checked(shop, book=book))) == {("P4", "oms-of-another-system"[4:])}, "in a book of this system"


def test_a_book_without_a_payment_of_this_system_is_not_compared(shop: Shop) -> None:
    """A pilot's file, for instance, in the directory of a system that is paid elsewhere."""
    confirmed(shop)
    report = checked(shop, book=Book(("oms-pilot", 3000)), whole_book=False)
    assert found(report) == []
    assert "P4" not in report.checked
    assert "1 confirmed order isn't in the gateway's book: it has no payment of this system" in report.notes


def test_orders_from_before_the_book_are_not_compared_and_later_ones_are(shop: Shop) -> None:
    confirmed(shop)
    shop.advance(days=1)
    second, third = confirmed(shop), confirmed(shop)
    entries = [one for one in shop.evidence.book.all_entries() if one.key == f"oms-{second}"]  # type: ignore[union-attr]
    book: Any = type("Later", (), {"all_entries": lambda _self: entries})()
    report = checked(shop, book=book, whole_book=False)
    assert found(report) == [("P4", third)]
    assert report.notes == ("1 confirmed order isn't in the gateway's book: it begins later",)


def test_a_second_capture_of_a_known_order_is_found_in_any_book(shop: Shop) -> None:
    key = f"oms-{confirmed(shop)}"
    report = checked(shop, book=Book((key, 3000), (key, 3000)), whole_book=False)
    assert {violation.promise for violation in report.violations} == {"P4"}
    assert any("captured 2 times" in violation.detail for violation in report.violations)


# -- P6


def test_each_order_has_its_own_deadline(shop: Shop) -> None:
    order = shop.place()
    for _ in range(3):
        shop.app.system.order.worker.run_once()
    shop.clock.advance(timedelta(seconds=930))
    assert found(checked(shop, deadline_s=1)) == [], "today's setting is not that of the order"
    shop.clock.advance(timedelta(seconds=31))
    assert found(checked(shop, deadline_s=10**6)) == [("P6", order.id)]


def test_a_confirmed_order_that_is_cancelled_late_has_its_time(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.advance(days=1)
    shop.cancel(order_id, by_operator=True)
    assert shop.status(order_id) == "CANCELLING"
    assert found(checked(shop)) == []
    shop.clock.advance(timedelta(seconds=61))
    assert found(checked(shop)) == [("P6", order_id)]


# -- P7 to P9


def test_a_message_that_was_never_published_is_named_with_its_order_under_way(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.place()
    report = checked(shop, log=ShortLog(shop, lambda record: record.topic == "order.confirmed"))
    assert not report.quiet
    (violation,) = report.violations
    assert (violation.promise, violation.order, violation.topic) == ("P7", order_id, "order.confirmed")


def test_messages_that_differ_are_named_with_their_places(shop: Shop) -> None:
    order_id = confirmed(shop)
    shop.place()
    (ours,) = [record for record in shop.log.all_records() if record.topic == "order.confirmed"]
    other = json.dumps({**json.loads(ours.value or b""), "metadata": {"till": "7"}}).encode()
    shop.publish("order.confirmed", other, order_id.encode())
    (violation,) = checked(shop).violations
    theirs = [record for record in shop.log.all_records() if record.topic == "order.confirmed"][-1]
    assert violation.promise == "P8"
    assert (violation.order, violation.topic, violation.offset) == (order_id, "order.confirmed", theirs.offset)
    assert f"order.confirmed/{ours.partition} offset {ours.offset}" in violation.detail


def test_a_message_that_left_no_trace_is_named_with_its_place_under_way(tmp_path: Path) -> None:
    shop = Shop(settings=Settings(profile="embedded", data=tmp_path))
    order_id = confirmed(shop)
    shop.place()
    with closing(sqlite3.connect(tmp_path / "inventory.db")) as connection:
        before = connection.execute("SELECT message_id FROM inbox").fetchall()
        connection.execute("DELETE FROM inbox")
        connection.commit()
    report = checked(shop)
    assert not report.quiet
    assert len(report.violations) == len(before) == 2
    places = {(record.topic, record.partition, record.offset) for record in shop.log.all_records()}
    for violation in report.violations:
        assert (violation.promise, violation.order) == ("P9", order_id)
        assert (violation.topic, violation.partition, violation.offset) in places
        assert violation.topic in violation.detail


# -- P10


@pytest.mark.parametrize(
    "body", ['{"orderId":"gone"}', '{"orderId": "gone"}', '{ "status":"CREATED",\n"orderId" : "gone"}']
)
def test_an_answer_without_its_order_is_found_however_its_json_is_spelled(shop: Shop, body: str) -> None:
    confirmed(shop)
    with shop.app.system.order.service.store.begin() as transaction:
        transaction.save_responses([StoredResponse("customer", "k-1", "f", body)])  # type: ignore[attr-defined]
        transaction.commit()
    (violation,) = checked(shop).violations
    assert (violation.promise, violation.subject) == ("P10", "gone")
    assert "'k-1'" in violation.detail


@pytest.mark.parametrize("body", ["not JSON", "[1]", '{"refused": ["Conflict", "no", "no"]}', '{"orderId": 1}'])
def test_an_answer_that_names_no_order_needs_none(shop: Shop, body: str) -> None:
    with shop.app.system.order.service.store.begin() as transaction:
        transaction.save_responses([StoredResponse("customer", "k-1", "f", body)])  # type: ignore[attr-defined]
        transaction.commit()
    assert found(checked(shop)) == []


# -- the user's own steps


def refuse(_event: Any, _step: Any) -> None:
    raise oms.Permanent("this step takes nothing")


def with_a_step(shop: Shop) -> Shop:
    shop.app.subscribe("order.confirmed", group="shipping", handler=refuse)
    confirmed(shop)
    return shop


def test_a_steps_dead_letters_are_counted_and_their_copies_are_checked(shop: Shop) -> None:
    with_a_step(shop)
    report = checked(shop)
    assert (report.parked, found(report)) == (1, [])
    report = checked(shop, log=ShortLog(shop, lambda record: record.topic == "shipping.dlq"))
    assert [violation.topic for violation in report.violations] == ["shipping.dlq"]


def test_a_message_that_a_step_has_passed_over_is_found(shop: Shop) -> None:
    with_a_step(shop)
    step = shop.evidence.steps["shipping"]
    silent: Any = type("Silent", (), {"__getattr__": lambda _self, name: getattr(step.record, name)})()
    silent.all_inbox, silent.all_dead_letters = (lambda: iter(())), (lambda: iter(()))
    report = checked(shop, steps={"shipping": attrs.evolve(step, record=silent)})
    assert [(one.promise, one.topic) for one in report.violations] == [("P9", "order.confirmed")]
    assert "shipping has neither handled nor parked" in report.violations[0].detail


def test_messages_from_before_a_step_began_are_not_its_own(tmp_path: Path) -> None:
    settings = Settings(profile="embedded", data=tmp_path)
    with Shop(settings=settings) as before:
        confirmed(before)
    with Shop(settings=settings, clock=before.clock, ids=before.ids) as shop:
        shop.app.subscribe("order.confirmed", group="shipping", handler=lambda _event, _step: None, since="now")
        confirmed(shop)
        report = checked(shop, book=None)
        assert (dict(report.orders), found(report)) == ({"CONFIRMED": 2}, [])
        assert list(shop.evidence.steps["shipping"].record.all_inbox()) != []


def test_verify_reads_the_steps_that_the_settings_name_and_says_which_it_doesnt(tmp_path: Path) -> None:
    with with_a_step(Shop(settings=Settings(profile="embedded", data=tmp_path))) as shop:
        settings = shop.app.settings
    report = oms.verify(settings)
    assert report.parked == 0
    assert any("step-shipping is the record of a step that OMS_STEPS doesn't name" in note for note in report.notes)
    sys.modules["a_shop_with_a_step"] = module = type(sys)("a_shop_with_a_step")
    module.subscribe = lambda app: app.subscribe(  # type: ignore[attr-defined]
        "order.confirmed", group="shipping", handler=refuse
    )
    try:
        report = oms.verify(attrs.evolve(settings, steps=("a_shop_with_a_step:subscribe",)))
    finally:
        del sys.modules["a_shop_with_a_step"]
    assert (report.parked, report.notes, found(report)) == (1, (), [])


# -- orders of the system replaced

LEGACY_ID = "4e0b85d1-5421-4ccf-9695-59986ebebbae"
OLD = b'{ "totalAmount": 20.00, "items": {"apple": 2}, "userId": "ann", "orderId": "' + LEGACY_ID.encode() + b'" }'


@pytest.mark.parametrize("ends", ["rests", "is resumed", "is cancelled"])
def test_the_old_messages_of_an_imported_order_are_nobodys(ends: str) -> None:
    """They were handled by the system replaced, whose group goes on under the same name."""
    log = MemoryLog()
    log.publish([Outgoing("order.created", None, OLD)])
    for group in ("order-group", "inventory-group"):
        member = log.subscribe(group, ["order.created"])
        member.commit({place(record): record.offset + 1 for record in member.poll(10)})
        member.close()
    shop = Shop(broker=log)
    with shop.app.system.order.units.open() as unit:
        terms = Terms.checked("ann", shop.app.money(20), {"apple": 2})
        orders.adopt_legacy(unit.work, OrderId(LEGACY_ID), terms, shop.now() - timedelta(days=90), "CREATED")
    if ends == "is resumed":
        shop.app.orders.resume(LEGACY_ID)
    elif ends == "is cancelled":
        shop.cancel(LEGACY_ID, by_operator=True)
    shop.run()
    report = checked(shop)
    assert (report.quiet, found(report)) == (True, [])
