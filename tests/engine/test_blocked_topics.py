"""A topic that the broker doesn't accept messages for delays no other topic, and shows until it can be written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oms
from oms.adapters.memory.log import MemoryLog
from oms.engine.health import Condition, Problem
from oms.operations.promises import Violation
from oms.ports.errors import OutcomeUnknown, PortError, Retryable
from oms.ports.messages import Outgoing
from oms.testing import Shop

NAMES = ["ship.a", "ship.b", "ship.c", "ship.d"]


class Choosy(MemoryLog):
    """A broker that accepts no message for the topics in `refuses`, and counts its calls."""

    error: Callable[[str], PortError] = Retryable

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.refuses: set[str] = set()
        self.calls: list[Sequence[str]] = []

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        self.calls.append([one.topic for one in messages])
        reports = iter(super().publish([one for one in messages if one.topic not in self.refuses]))
        return [self.error(f"no {one.topic}") if one.topic in self.refuses else next(reports) for one in messages]


def shop_that_ships(log: Choosy, topics: Sequence[str] = NAMES, *, batch: int = 5) -> Shop:
    shop = Shop(broker=log, batch=batch)

    def confirmed(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        for topic in topics:
            step.publish(topic, a=1)

    shop.app.subscribe("order.confirmed", group="shipping", handler=confirmed, publishes=topics)
    return shop


def published(shop: Shop, topic: str) -> list[str]:
    return [event.order_id for event in shop.published(topic)]


def blocked_of(shop: Shop) -> list[Problem]:
    return [one for one in shop.app.health().not_ready if one.condition is Condition.OUTBOX_BLOCKED]


def logged(shop: Shop, event: str) -> list[dict[str, object]]:
    lines = [*shop.telemetry.notes, *shop.telemetry.alerts, *shop.telemetry.failures]
    return [dict(line.fields) for line in lines if line.event == event]


@settings(max_examples=25, deadline=None)
@given(
    blocked=st.sets(st.sampled_from(NAMES), min_size=1, max_size=3),
    batch=st.integers(1, 8),
    unknown=st.booleans(),
    down_minutes=st.integers(0, 30),
)
def test_blocked_topics_delay_no_other_topic_and_all_leaves_when_they_are_back(
    blocked: set[str], batch: int, unknown: bool, down_minutes: int
) -> None:
    log = Choosy(4)
    log.refuses = set(blocked)
    log.error = OutcomeUnknown if unknown else Retryable  # type: ignore[assignment]
    shop = shop_that_ships(log, batch=batch)
    orders = {shop.place({"x": 1}).id for _ in range(12)}
    shop.run()
    shop.advance(seconds=5)
    for topic in NAMES:
        assert set(published(shop, topic)) == (set() if topic in blocked else orders)
    shop.advance(minutes=down_minutes)
    log.refuses = set()
    shop.advance(seconds=90)
    for topic in NAMES:
        assert sorted(set(published(shop, topic))) == sorted(orders)
    assert list(shop.app.system.assemblies["shipping"].service.store.all_outbox()) == []
    assert blocked_of(shop) == []


def test_a_blocked_topic_is_tried_with_one_row_and_ever_more_rarely() -> None:
    log = Choosy(4)
    log.refuses = {"ship.a"}
    shop = shop_that_ships(log, ["ship.a"], batch=50)
    for _ in range(40):
        shop.place({"x": 1})
    shop.run()
    log.calls.clear()

    shop.advance(hours=1)

    tries = [topics for topics in log.calls if "ship.a" in topics]
    assert 50 <= len(tries) <= 75
    assert all(topics == ["ship.a"] for topics in tries)


def test_rows_of_a_blocked_topic_are_not_claimed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Choosy(4)
    log.refuses = {"ship.a"}
    shop = shop_that_ships(log, batch=5)
    for _ in range(20):
        shop.place({"x": 1})
    shop.advance(minutes=2)
    store: Any = shop.app.system.assemblies["shipping"].service.store
    claimed, claim = [0], store.claim_outbox

    def counted(*given: Any) -> Any:
        rows = claim(*given)
        claimed[0] += len(rows)
        return rows

    monkeypatch.setattr(store, "claim_outbox", counted)
    shop.advance(minutes=10)
    assert 1 <= claimed[0] <= 5 * 12


def test_a_blocked_topic_shows_until_it_can_be_written() -> None:
    log = Choosy(4)
    log.refuses = {"ship.a"}
    shop = shop_that_ships(log)
    shop.place({"x": 1})
    shop.run()
    (line,) = logged(shop, "topic can't be written")
    assert (line["group"], line["topic"]) == ("shipping", "ship.a")
    (failure,) = [one for one in shop.telemetry.failures if one.event == "topic can't be written"]
    assert str(failure.error) == "no ship.a"
    assert blocked_of(shop) == []

    shop.advance(seconds=4)
    (blocked,) = blocked_of(shop)
    assert (blocked.service, blocked.subject) == ("shipping", "ship.a")
    assert "'ship.a'" in blocked.detail
    assert "no ship.a" in blocked.detail
    assert blocked.text in shop.app.problems()
    assert shop.app.health().status == "not ready"
    shop.advance(hours=1)
    assert len(logged(shop, "topic can't be written")) == 1
    assert [fields["topic"] for fields in logged(shop, "messages of a topic can't be sent")] == ["ship.a"]

    log.refuses = set()
    shop.advance(minutes=2)
    assert blocked_of(shop) == []
    assert [fields["topic"] for fields in logged(shop, "topic can be written again")] == ["ship.a"]


def test_a_topic_that_accepts_some_rows_alone_is_not_reported_as_recovered_each_time() -> None:
    class Half(Choosy):
        """One partition out of reach: single rows are accepted, batches fail in part."""

        def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
            if len([one for one in messages if one.topic in self.refuses]) > 1:
                return super().publish(messages)
            refused, self.refuses = self.refuses, set()
            reports = super().publish(messages)
            self.refuses = refused
            return reports

    log = Half(4)
    log.refuses = {"ship.a"}
    shop = shop_that_ships(log, ["ship.a"], batch=20)
    for _ in range(40):
        shop.place({"x": 1})
    shop.advance(minutes=3)
    assert len(logged(shop, "topic can't be written")) <= 2
    assert blocked_of(shop)


def test_a_topic_whose_rows_another_process_sent_is_forgotten() -> None:
    log = Choosy(4)
    log.refuses = {"ship.a"}
    shop = shop_that_ships(log, ["ship.a"])
    shop.place({"x": 1})
    shop.advance(seconds=20)
    store: Any = shop.app.system.assemblies["shipping"].service.store
    store.mark_sent([row.id for row in store.all_outbox()])
    assert blocked_of(shop)
    shop.advance(minutes=3)
    assert blocked_of(shop) == []


def test_a_process_that_stops_gives_back_the_rows_of_blocked_topics() -> None:
    log = Choosy(4)
    log.refuses = {"ship.a"}
    shop = shop_that_ships(log, ["ship.a"])
    shop.place({"x": 1})
    shop.run()
    assembly = shop.app.system.assemblies["shipping"]
    assert assembly.service.store.claim_outbox(9, 10.0) == []
    assembly.relay.give_back()
    assert len(assembly.service.store.claim_outbox(9, 10.0)) == 1


def test_verify_names_the_topic_and_order_of_a_message_that_is_not_sent() -> None:
    log = Choosy(4)
    log.refuses = {"order.confirmed"}
    shop = shop_that_ships(log)
    order = shop.place({"x": 1})
    shop.advance(minutes=5)
    assert [found for found in shop.report().violations if found.promise == "P7"] == []
    shop.advance(hours=1)
    found: list[Violation] = [one for one in shop.report().violations if one.promise == "P7"]
    assert [one.subject for one in found] == [order.id]
    assert "order.confirmed" in found[0].detail
    assert "outbox of order" in found[0].detail


def test_blocked_topics_delay_no_other_topic_in_files(tmp_path: Path) -> None:
    app = oms.create(profile="embedded", data=tmp_path, log_level="error", batch=5, default_stock=100)

    def confirmed(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.publish("ship.a", a=1)
        step.publish("ship.b", a=1)

    app.subscribe("order.confirmed", group="shipping", handler=confirmed, publishes=["ship.a", "ship.b"])
    log: Any = app.system.container.broker()
    publish, refuses = log.publish, {"ship.a"}

    def choosy(messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        reports = iter(publish([one for one in messages if one.topic not in refuses]))
        return [Retryable("no room") if one.topic in refuses else next(reports) for one in messages]

    log.publish = choosy

    def count(topic: str) -> int:
        return len({record.key for record in log.all_records() if record.topic == topic})

    def eventually(happened: Callable[[], bool]) -> None:
        until = time.monotonic() + timedelta(seconds=20).total_seconds()
        while not happened():
            assert time.monotonic() < until
            time.sleep(0.05)

    with app:
        for _ in range(20):
            app.orders.place(app.draft("ann", "1", {"x": 1}))
        eventually(lambda: count("ship.b") == 20 and app.problems() != [])
        assert (count("ship.a"), app.degraded()) == (0, [])
        refuses.clear()
        eventually(lambda: count("ship.a") == 20 and app.problems() == [])
