"""The notification service's store: one notification for each order and kind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from oms.domain.events import Reason
from oms.domain.lines import OrderLine
from oms.domain.money import Money
from oms.domain.tasks import composite_key
from oms.domain.values import Sku, UserId
from oms.ports import limits
from oms.ports.errors import Permanent
from oms.ports.extensions import Notification
from oms.testing.contracts.dead_letters import DeadLetterContract
from oms.testing.contracts.limits import HALF_PAIR, LimitContract, refuses
from oms.testing.contracts.outbox import OutboxContract
from oms.testing.contracts.registration import RegistrationContract
from oms.testing.contracts.samples import AT, EUR, order_id
from oms.testing.contracts.stores import StoreContract, ids
from oms.testing.contracts.tasks import TaskContract

ONE, TWO = order_id(1), order_id(2)
CUP = Sku("sku-b")


CONFIRMED, PAID = "order.confirmed", "payment.success"


def name_of(kind: str) -> str:
    """Return the id of the first order's notification of a kind; it is the same on each attempt."""
    return f"{ONE}:{kind}"


def a_notification(kind: str = CONFIRMED, reason: Reason | None = None, amount: str = "12.50") -> Notification:
    """Return a notification about the first order."""
    return Notification(name_of(kind), ONE, UserId("user-1"), kind, Money.of(amount, EUR), reason, {"k": "✓"}, AT)


def a_parcel(part: str) -> Notification:
    """Return a notification about one shipment of the first order, which has no amount."""
    lines = (OrderLine(CUP, 1, None, "Tasse ✓"), OrderLine(Sku("sku-a"), 2))
    kind = "order.shipped"
    return Notification(
        composite_key(ONE, kind, part),
        ONE,
        UserId("user-1"),
        kind,
        None,
        metadata={"k": "✓"},
        at=AT,
        part=part,
        items={line.sku: line.quantity for line in lines},
        lines=lines,
        carrier="DHL",
        tracking_number="JD ✓",
    )


def a_refund() -> Notification:
    """Return a notification about a goodwill refund of the first order."""
    kind = "payment.refund_paid"
    amount = Money.of("1.00", EUR)
    return Notification(composite_key(ONE, kind, "r-1"), ONE, UserId("user-1"), kind, amount, part="r-1")


class NotificationStoreContract(
    StoreContract, TaskContract, OutboxContract, RegistrationContract, DeadLetterContract, LimitContract
):
    """The contract of `NotificationStore` and `NotificationEvidence`."""

    def test_a_notification_is_read_back_unchanged(self, store: Any) -> None:
        wanted = a_notification("order.cancelled", Reason.DEADLINE)
        _record(store, wanted)
        assert list(store.notifications(ONE)) == [(wanted, None)]
        assert list(store.all_notifications()) == [(wanted, None)]
        assert _load(store, wanted.id, "unknown") == {wanted.id: wanted}

    def test_a_notification_of_a_part_is_read_back_unchanged(self, store: Any) -> None:
        parcels = [a_parcel("s-2"), a_parcel("s-1")]
        _record(store, *parcels, a_notification(), a_refund())
        found = [one for one, _ in store.notifications(ONE)]
        assert found == [a_notification(), parcels[1], parcels[0], a_refund()]
        assert sorted(one.part for one, _ in store.all_notifications()) == ["", "r-1", "s-1", "s-2"]
        assert _load(store, parcels[0].id) == {parcels[0].id: parcels[0]}

    def test_an_order_has_one_notification_of_each_part(self, store: Any) -> None:
        _record(store, a_parcel("s-1"), a_parcel("s-2"))
        _record(store, attrs.evolve(a_parcel("s-2"), carrier="Another"))
        assert [one for one, _ in store.notifications(ONE)] == [a_parcel("s-1"), a_parcel("s-2")]

    def test_texts_of_a_notification_are_limited(self, new_store: Any) -> None:
        def write(store: Any, **fields: Any) -> None:
            _record(store, attrs.evolve(a_notification(), **fields))

        fields = {"id": limits.TASK_KEY, "order_id": limits.ID, "user_id": limits.ID, "kind": limits.TOPIC}
        for field, limit in fields.items():
            refuses(new_store, lambda store, text, field=field: write(store, **{field: text}), limit)  # type: ignore[misc]
        refuses(new_store, lambda store, text: write(store, kind="k", part=text), limits.TOPIC - len("k/"))
        write(new_store(), carrier="a\0b")  # accepted: JSON escapes U+0000
        line = OrderLine(CUP, 1, None, HALF_PAIR)
        for bad in ({"metadata": {"k": HALF_PAIR}}, {"carrier": HALF_PAIR}, {"lines": (line,)}):
            with pytest.raises(Permanent):
                write(new_store(), **bad)

    def test_an_order_has_one_notification_of_each_kind(self, store: Any) -> None:
        _record(store, a_notification(PAID), a_notification())
        _record(store, a_notification(amount="99"), a_notification(PAID))
        assert [one for one, _ in store.notifications(ONE)] == [a_notification(), a_notification(PAID)]
        assert list(store.notifications(TWO)) == []

    def test_a_concurrent_second_record_waits_and_changes_nothing(self, store: Any) -> None:
        with store.begin() as first:
            first.record_notifications([a_notification()])
            first.claim_inbox("g", ids("a"))
            self.meanwhile(lambda: _record(store, a_notification(amount="99")), first.commit)
        assert [one for one, _ in store.notifications(ONE)] == [a_notification()]

    def test_a_rollback_leaves_no_notification(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.record_notifications([a_notification()])
            assert _load(store, name_of(CONFIRMED)) == {}
            assert list(store.notifications(ONE)) == []
        assert list(store.all_notifications()) == []

    def test_a_delivery_records_its_time(self, store: Any) -> None:
        _record(store, a_notification(), a_notification(PAID))
        with store.begin() as transaction:
            transaction.mark_notified([name_of(CONFIRMED), "unknown"])
            transaction.commit()
        delivered = {one.kind: at for one, at in store.notifications(ONE)}
        assert delivered[PAID] is None
        assert isinstance(delivered[CONFIRMED], datetime)
        assert abs(delivered[CONFIRMED] - self.now()) < timedelta(seconds=5)

    def test_a_notification_can_be_recorded_as_delivered(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.record_notifications([a_notification()], delivered=True)
            transaction.commit()
        ((wanted, at),) = store.notifications(ONE)
        assert wanted == a_notification()
        assert abs(at - self.now()) < timedelta(seconds=5)

    def test_a_delivered_notification_does_not_change(self, store: Any) -> None:
        _record(store, a_notification())
        with store.begin() as transaction:
            transaction.mark_notified([name_of(CONFIRMED)])
            transaction.commit()
        _record(store, a_notification())
        ((_, at),) = store.notifications(ONE)
        assert at is not None


def _record(store: Any, *notifications: Notification) -> None:
    with store.begin() as transaction:
        transaction.record_notifications(notifications)
        transaction.commit()


def _load(store: Any, *names: str) -> dict[str, Notification]:
    return dict(store.notifications_by_id(names))
