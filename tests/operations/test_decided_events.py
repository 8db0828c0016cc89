"""P7 and P8 of events about parts of an order: each parcel and each refund has its own message, and its own date."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

import oms
from oms.operations import promises
from oms.operations.promises import Report
from oms.ports.messages import Record
from oms.settings import Settings
from oms.testing import Shop
from tests.support.fulfilled_orders import (
    ShortLog,
    checked,
    confirmed,
    details,
    found,
    refund,
    refusing_shop,
    returned,
    ship,
)


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile=request.param, data=tmp_path / "data"))


def body(record: Record) -> Any:
    return json.loads(record.value or b"")


def messages(shop: Shop, topic: str) -> list[Record]:
    return [record for record in shop.log.all_records() if record.topic == topic]


@pytest.mark.parametrize(
    ("topic", "name", "index"),
    [
        ("order.shipped", "shipmentId", 1),
        ("order.refund_requested", "refundId", 2),
        ("payment.refund_paid", "refundId", 0),
        ("order.completed", "", 0),
        ("order.confirmed", "", 0),
        ("order.created", "", 0),
        ("payment.success", "", 0),
    ],
)
def test_a_message_that_was_never_published_is_named_with_its_part(
    shop: Shop, topic: str, name: str, index: int
) -> None:
    order_id = returned(shop)
    shop.place()
    lost = messages(shop, topic)[index]
    report = checked(shop, log=ShortLog(shop, lambda record: record == lost))
    assert not report.quiet
    (violation,) = report.violations
    assert (violation.promise, violation.order, violation.topic) == ("P7", order_id, topic)
    named = f"{topic} of {body(lost)[name]}" if name else topic
    assert violation.detail == f"{named} was decided and never published"


def test_refusals_and_instructions_are_published() -> None:
    shop, gateway = refusing_shop()
    order_id = confirmed(shop)
    ship(shop, order_id, 1)
    gateway.refuses = True
    made = refund(shop, order_id, "GOODWILL", amount="5.00")

    def without(topic: str) -> str:
        return details(checked(shop, log=ShortLog(shop, lambda record: record.topic == topic)))

    refusal = f"P7 payment.refund_failed of {made.id}/1 was decided and never published"
    assert without("payment.refund_failed") == refusal
    shop.app.orders.resolve_payment(order_id, made.id, "by cheque")
    assert checked(shop).violations == (), "it waits to be sent"
    shop.app.system.order.relay.run_once()
    assert checked(shop).violations == (), "it is sent, and not read yet"
    instruction = f"P7 order.payment_instructed of {made.id}/1 was decided and never published"
    assert instruction in without("order.payment_instructed")
    assert "P12 refund" in without("order.payment_instructed"), "nothing is left that would pay the refund"


@pytest.mark.parametrize("decide", ["ship", "refund"])
def test_a_message_in_the_outbox_is_on_its_way_only_for_its_own_part(shop: Shop, decide: str) -> None:
    order_id = confirmed(shop)
    if decide == "ship":
        ship(shop, order_id, 1)
    else:
        refund(shop, order_id, "CANCEL", 1)
    topic = messages(shop, "order.shipped") + messages(shop, "order.refund_requested")

    if decide == "ship":
        shop.app.orders.ship(oms.ShipOrder.of(order_id, {"lamp": 1}))
    else:
        shop.app.orders.refund(oms.RefundOrder.of(order_id, "CANCEL", "a test", items={"lamp": 1}))
    assert checked(shop).violations == ()
    report = checked(shop, log=ShortLog(shop, lambda record: record == topic[0]))
    assert [violation.promise for violation in report.violations] == ["P7"]


def dated(shop: Shop, kept: timedelta, lost: Record) -> Report:
    return promises.check(
        attrs.evolve(shop.evidence, log=ShortLog(shop, lambda record: record == lost)),
        shop.codec,
        now=shop.now(),
        deadline_s=900,
        settle_s=60,
        kept_s=kept.total_seconds(),
    )


@pytest.mark.parametrize("topic", ["order.shipped", "order.refund_requested", "payment.refund_paid", "order.completed"])
def test_the_date_of_a_parcel_counts_and_not_that_of_its_order(shop: Shop, topic: str) -> None:
    """The log keeps its messages for some days, and orders are shipped later."""
    order_id = confirmed(shop)
    ship(shop, order_id, 1)
    shop.advance(days=5)
    refund(shop, order_id, "CANCEL", 1)
    ship(shop, order_id, 1)
    shop.advance(hours=1)
    lost = messages(shop, topic)[-1]
    assert found(dated(shop, timedelta(days=1), lost)) == [("P7", order_id)]
    shop.advance(days=1)
    assert dated(shop, timedelta(days=1), lost).violations == (), "the log may have removed it"


def test_what_was_published_before_the_log_begins_is_no_loss(shop: Shop) -> None:
    """A refund changes the payment later than `payment.success` was published, and the reservation as well."""
    order_id = confirmed(shop)
    ship(shop, order_id, 1)
    shop.advance(days=5)
    refund(shop, order_id, "CANCEL", 1)
    old = {
        record
        for record in shop.log.all_records()
        if record.topic not in ("order.refund_requested", "payment.refund_paid")
    }
    report = promises.check(
        attrs.evolve(shop.evidence, log=ShortLog(shop, lambda record: record in old)),
        shop.codec,
        now=shop.now(),
        deadline_s=900,
        settle_s=60,
        kept_s=86_400,
    )
    assert report.violations == ()


# -- P8


def test_the_messages_about_two_parcels_are_no_copies_and_those_about_one_are(shop: Shop) -> None:
    order_id = returned(shop)
    assert len(messages(shop, "order.shipped")) == 2
    assert checked(shop).violations == ()
    second = messages(shop, "order.shipped")[1]
    shop.publish("order.shipped", second.value or b"", order_id.encode())
    assert checked(shop).violations == (), "a repeat"
    shop.publish("order.shipped", json.dumps({**body(second), "carrier": "another"}).encode(), order_id.encode())
    report = checked(shop)
    (violation,) = report.violations
    assert (violation.promise, violation.topic) == ("P8", "order.shipped")
    assert f"offset {second.offset} and " in violation.detail


def test_a_forged_message_about_a_refund_is_none_of_the_services(shop: Shop) -> None:
    """The order service parks it, because it names another amount or customer than the refund."""
    order_id = returned(shop)
    true = body(messages(shop, "payment.refund_paid")[0])
    for change in ({"amount": 0.01}, {"userId": "mallory"}):
        shop.publish("payment.refund_paid", json.dumps({**true, **change}).encode(), order_id.encode())
    shop.run()
    report = checked(shop)
    assert (report.parked, report.violations) == (2, ())
    only_forged = ShortLog(shop, lambda record: record == messages(shop, "payment.refund_paid")[0])
    assert [one.promise for one in checked(shop, log=only_forged).violations] == ["P7"], "a forged one is no substitute"
