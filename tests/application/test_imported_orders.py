"""Orders from the Spring system change, despite later messages about them, only when an operator resumes or cancels them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import oms
from oms.adapters.memory.log import MemoryLog
from oms.application import orders
from oms.domain.terms import Terms
from oms.domain.values import OrderId
from oms.engine.offsets import place
from oms.ports.evidence import BookKind
from oms.ports.messages import Outgoing
from oms.settings import Settings
from oms.testing import Shop

ID = "4e0b85d1-5421-4ccf-9695-59986ebebbae"
OLD = b'{ "totalAmount": 20.00, "items": {"pear": 1, "apple": 2}, "userId": "ann", "orderId": "' + ID.encode() + b'" }'
"""The Spring system's message about the same order, in other bytes than ours."""


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    made = Shop(settings=Settings(profile=request.param, data=tmp_path))
    taken_over(made)
    return made


def taken_over(shop: Shop) -> None:
    terms = Terms.checked("ann", shop.app.money(20), {"apple": 2, "pear": 1})
    since = shop.clock.now() - timedelta(days=90)
    with shop.app.system.order.units.open() as unit:
        orders.adopt_legacy(unit.work, OrderId(ID), terms, since, "CREATED")


def quiet(shop: Shop) -> None:
    report = shop.report()
    assert report.quiet
    assert report.whole, report.violations


def test_an_imported_order_rests(shop: Shop) -> None:
    shop.advance(days=2)
    assert shop.status(ID) == "LEGACY"
    assert [order.id for order in shop.app.orders.page(user_id="ann").content] == [ID]
    assert shop.published() == []
    assert shop.app.oldest_work_s() == 0
    quiet(shop)


def test_what_the_system_replaced_said_of_it_changes_nothing_for_the_order(shop: Shop) -> None:
    """The order group is new, so it reads all that is still kept; inventory's goes on behind it."""
    inventory = shop.app.system.assemblies["inventory"]
    shop.publish("order.created", OLD)
    shop.publish("inventory.reserved", b"Inventory reserved for order " + ID.encode())
    shop.app.system.assemblies["order"].worker.run_once()
    shop.app.system.assemblies["order"].worker.run_once()

    assert shop.status(ID) == "LEGACY"
    assert [(entry.trigger, entry.after) for entry in shop.app.orders.timeline(ID)] == [
        ("import", "LEGACY"),
        ("order.created", "LEGACY"),
    ]
    assert inventory.service.store.reservations([OrderId(ID)]) == {}


def test_a_resumed_order_is_charged_once_and_ends_like_any_other(shop: Shop) -> None:
    shop.run()
    shop.advance(days=1)
    resumed = shop.app.orders.resume(ID)
    assert resumed.state.value == "CREATED"
    assert resumed.deadline_at == shop.clock.now() + timedelta(seconds=shop.app.settings.order_deadline_s)
    assert shop.app.orders.resume(ID) == resumed
    shop.advance(minutes=1)
    shop.app.orders.resume(ID)
    shop.run()

    assert shop.status(ID) == "CONFIRMED"
    assert shop.topics(ID) == ["inventory.reserved", "order.confirmed", "order.created", "payment.success"]
    assert shop.stock("apple").on_hand == 98
    quiet(shop)


def after_the_old_system(message: bytes = OLD) -> Shop:
    """One message was handled there: our groups go on behind it. Then the order is imported."""
    log = MemoryLog()
    log.publish([Outgoing("order.created", None, message)])
    for group in ("order-group", "inventory-group"):
        member = log.subscribe(group, ["order.created"])
        member.commit({place(record): record.offset + 1 for record in member.poll(10)})
        member.close()
    shop = Shop(broker=log)
    taken_over(shop)
    shop.run()
    return shop


def test_an_order_that_is_told_of_in_other_bytes_than_before_is_one_message() -> None:
    """P8 and P9: the Spring system's message, which no service had to handle, and ours after it was resumed."""
    shop = after_the_old_system()
    quiet(shop)

    shop.app.orders.resume(ID)
    shop.advance(minutes=1)

    assert shop.status(ID) == "CONFIRMED"
    assert len({record.value for record in shop.log.all_records() if record.topic == "order.created"}) == 2
    quiet(shop)


def test_an_old_message_of_an_order_that_was_not_taken_over_is_reported() -> None:
    report = after_the_old_system(OLD.replace(b"4e0b85d1", b"00000000")).report()
    assert report.quiet
    assert {violation.promise for violation in report.violations} == {"P9"}


def test_an_order_whose_message_nobody_had_read_goes_on_by_itself(shop: Shop) -> None:
    shop.publish("order.created", OLD)
    shop.advance(minutes=1)
    assert shop.status(ID) == "CONFIRMED"
    quiet(shop)


def test_only_an_operator_ends_it_and_it_is_never_charged(shop: Shop) -> None:
    with pytest.raises(oms.Conflict) as refused:
        shop.cancel(ID)
    assert refused.value.code == "order_legacy"
    shop.cancel(ID, by_operator=True)
    shop.advance(minutes=1)
    assert shop.status(ID) == "CANCELLED"
    assert not [entry for entry in shop.gateway.all_entries() if entry.kind is BookKind.CAPTURE]
    with pytest.raises(oms.Conflict) as ended:
        shop.app.orders.resume(ID)
    assert ended.value.code == "order_settled"
    quiet(shop)


def test_a_customer_resumes_nothing_and_nobody_what_is_not_there(shop: Shop) -> None:
    with pytest.raises(oms.Refused):
        shop.app.orders.resume(ID, caller=oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann")))
    with pytest.raises(oms.NotFound):
        shop.app.orders.resume("another")
    assert shop.status(ID) == "LEGACY"


def test_a_resume_whose_commit_is_unknown_is_looked_up() -> None:
    lost = iter([True])

    def point(call: str) -> None:
        if call == "orders.commit:after" and next(lost, False):
            raise oms.OutcomeUnknown("the connection broke after COMMIT")

    plain = Shop()
    terms = Terms.checked("ann", plain.app.money(20), {"apple": 2})
    assembly = plain.app.system.order
    with assembly.units.open() as unit:
        orders.adopt_legacy(unit.work, OrderId(ID), terms, plain.clock.now(), "")
    shop = Shop(clock=plain.clock, ids=plain.ids, stores={"order": assembly.service.store.worker("w", point=point)})
    assert shop.app.orders.resume(ID).state is oms.OrderState.CREATED
    shop.advance(minutes=1)
    assert shop.status(ID) == "CONFIRMED"
