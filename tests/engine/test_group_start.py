"""Where a new group begins: at the earliest message or now; decided once, whatever happens to process and log later."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.adapters.memory import CountedIds, ManualClock, MemoryLog, MemoryStepStore
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.engine.group_start import start_offsets
from oms.ports.broker import TopicPartition
from oms.ports.messages import Outgoing
from oms.testing import Shop

TOPICS = ("order.created", "order.confirmed")


class Audit:
    """A step that notes each order, and how often its handler ran. It can be left out, as a version without it does."""

    def __init__(self) -> None:
        self.handled: Counter[tuple[str, str]] = Counter()

    def subscribe(self, app: oms.App, since: str | None = None, *topics: str) -> None:
        for topic in topics or TOPICS:
            given: Any = {} if since is None else {"since": since}
            app.subscribe(topic, group="audit", handler=self.handle, **given)

    def handle(self, event: oms.AnyEvent, step: oms.StepContext) -> None:
        self.handled[event.topic, event.order_id] += 1
        step.save({"times": int(str((step.state or {"times": 0})["times"])) + 1})

    def orders(self, topic: str = "order.created") -> set[str]:
        return {order for known, order in self.handled if known == topic}


@pytest.fixture
def audit() -> Audit:
    return Audit()


Versions = Callable[..., Shop]


@pytest.fixture
def version(tmp_path: Path, audit: Audit) -> Iterator[Versions]:
    """Ends the running process of an embedded system, and starts one with the step as given, or without it."""
    running: list[Shop] = []
    clock = ManualClock()

    def start(*subscribed: Any) -> Shop:
        if running:
            running.pop().close()
        numbered = CountedIds(len(list(tmp_path.glob("process-*"))))
        (tmp_path / f"process-{numbered.order_id()}").touch()
        shop = Shop(profile="embedded", data=tmp_path / "data", clock=clock, ids=numbered, payment_success_rate=1)
        if subscribed:
            audit.subscribe(shop.app, *subscribed)
        running.append(shop)
        return shop

    yield start
    for shop in running:
        shop.close()


def placed(shop: Shop, number: int = 3) -> set[str]:
    orders = {shop.place().id for _ in range(number)}
    shop.run()
    return set(map(str, orders))


def logged(shop: Shop, event: str) -> list[Any]:
    return [note.fields for note in shop.telemetry.notes if note.event == event]


# -- a new group


@pytest.mark.parametrize("since", [None, "earliest"])
def test_a_new_group_begins_with_the_first_message_unless_told_otherwise(
    version: Versions, audit: Audit, since: str | None
) -> None:
    before = placed(version())
    shop = version(since)
    after = placed(shop)
    assert audit.orders() == before | after
    assert logged(shop, "group created") == [
        {"group": "audit", "since order.created": "earliest", "since order.confirmed": "earliest"}
    ]


def test_a_new_group_that_begins_now_gets_only_what_comes_later(version: Versions, audit: Audit) -> None:
    placed(version())
    shop = version("now")
    after = placed(shop)
    assert audit.orders("order.created") == audit.orders("order.confirmed") == after
    assert logged(shop, "group created") == [
        {"group": "audit", "since order.created": "now", "since order.confirmed": "now"}
    ]
    assert logged(version("now"), "group created") == [], "it is created once"


def test_in_memory_now_is_when_the_shop_is_first_used(audit: Audit) -> None:
    shop = Shop()
    audit.subscribe(shop.app, "now")
    orders = placed(shop)
    assert audit.orders("order.created") == audit.orders("order.confirmed") == orders


def test_each_topic_of_a_new_group_begins_by_its_own_rule(version: Versions, audit: Audit) -> None:
    before = placed(version())
    shop = version()
    audit.subscribe(shop.app, "now", "order.created")
    audit.subscribe(shop.app, "earliest", "order.confirmed")
    after = placed(shop)
    assert (audit.orders("order.created"), audit.orders("order.confirmed")) == (after, before | after)


# -- a group that exists


def test_what_came_while_no_process_had_the_step_is_handled_later(version: Versions, audit: Audit) -> None:
    placed(version())
    first = placed(version("now"))
    missed = placed(version())
    last = placed(version("now"))
    assert audit.orders() == first | missed | last


def test_a_group_that_never_handled_anything_exists_nevertheless(version: Versions, audit: Audit) -> None:
    placed(version())
    version("now").run()
    missed = placed(version())
    version("now").run()
    assert audit.orders() == missed


@pytest.mark.parametrize("handles_something", [True, False])
def test_a_group_that_exists_ignores_since(version: Versions, audit: Audit, handles_something: bool) -> None:
    shop = version("earliest")
    before = placed(shop, 3 if handles_something else 0)
    missed = placed(version())
    version("now").run()
    assert audit.orders() == before | missed


def test_a_group_of_a_version_without_this_choice_ignores_it(version: Versions, audit: Audit, tmp_path: Path) -> None:
    before = placed(version("earliest"))
    missed = placed(version())
    version().close()
    with closing(sqlite3.connect(tmp_path / "data" / "step-audit.db")) as connection:
        connection.execute("DROP TABLE start_offsets")
        connection.execute("UPDATE alembic_version SET version_num = 'step_0004'")
        connection.commit()
    shop = version("now")
    shop.run()
    assert audit.orders() == before | missed
    (line,) = logged(shop, "group exists already")
    assert line == {"group": "audit", "detail": 'since="now" has no effect', "topics": "order.created, order.confirmed"}


def test_a_topic_that_a_group_gets_later_is_read_from_its_beginning(version: Versions, audit: Audit) -> None:
    before = placed(version("now", "order.confirmed"))
    shop = version()
    audit.subscribe(shop.app, "now", "order.confirmed", "order.created")
    shop.run()
    assert audit.orders("order.created") == before


# -- offsets that the log has lost


def lose_offsets(data: Path, group: str) -> None:
    with closing(sqlite3.connect(data / "broker.db")) as connection:
        connection.execute("DELETE FROM offsets WHERE consumers = ?", (group,))
        connection.commit()


def test_lost_offsets_lead_to_an_alert_and_to_no_second_effect(version: Versions, audit: Audit, tmp_path: Path) -> None:
    skipped = placed(version())
    shop = version("now")
    first = placed(shop)
    shop.advance(seconds=11)
    missed = placed(version())
    version().close()
    lose_offsets(tmp_path / "data", "audit")
    lose_offsets(tmp_path / "data", "payment-group")
    shop = version("now")
    shop.run()
    lost = [alert.fields["group"] for alert in shop.telemetry.alerts if alert.event == "group offsets are lost"]
    assert sorted(lost) == ["audit", "payment-group"]
    assert shop.telemetry.total("group_offsets_lost", group="audit") == 1
    assert audit.orders() == first | missed, "neither what came before it began nor less than since then"
    assert not audit.orders() & skipped
    assert set(audit.handled.values()) == {1}
    assert list(shop.gateway.all_entries()) == [], "no charge is made again"
    shop.expect().nothing_parked().nothing_owed()
    again = version("now")
    again.run()
    assert [alert.event for alert in again.telemetry.alerts] == []


def test_a_process_that_died_before_its_first_commit_is_no_loss(version: Versions, tmp_path: Path) -> None:
    placed(version("earliest"))
    version().close()
    lose_offsets(tmp_path / "data", "audit")
    shop = version("earliest")
    shop.run()
    assert shop.telemetry.alerts == []


# -- two instances


def test_instances_that_start_at_once_begin_at_the_same_offsets() -> None:
    """Whatever is published between their looks."""
    log, store = MemoryLog(partitions=2), MemoryStepStore(ManualClock(), CountedIds())

    class Late(MemoryLog):
        """Between this instance's look and its decision, another one decides."""

        def ends(self, topics: Any) -> Any:
            found = log.ends(topics)
            log.publish([Outgoing("t", b"k", b"between")] * 3)
            self.first = start_offsets(store, log, RecordingTelemetry(), "g", {"t": "now"})
            log.publish([Outgoing("t", b"k", b"later")])
            return found

    log.publish([Outgoing("t", b"k", b"before")] * 5)
    late = Late(topics=log._topics)
    telemetry = RecordingTelemetry()
    second = start_offsets(store, late, telemetry, "g", {"t": "now"})
    assert second == late.first
    assert sum(second.values()) == 8
    assert telemetry.notes == [], "the instance that decided says so"
    members = [log.subscribe("g", ["t"], late.first), log.subscribe("g", ["t"], second)]
    assert [record.value for member in members for record in member.poll(10)] == [b"later"]


def test_an_instance_that_died_before_it_joined_has_decided_nevertheless() -> None:
    log, store = MemoryLog(partitions=1), MemoryStepStore(ManualClock(), CountedIds())
    log.publish([Outgoing("t", b"k", b"before")])
    start_offsets(store, log, RecordingTelemetry(), "g", {"t": "now"})
    log.publish([Outgoing("t", b"k", b"later")])
    assert start_offsets(store, log, RecordingTelemetry(), "g", {"t": "now"}) == {TopicPartition("t", 0): 1}


def test_a_broker_that_knows_nothing_of_this_serves_groups_that_begin_at_the_earliest(audit: Audit) -> None:
    class Plain:
        """A shop's own broker: the two methods that the port always had."""

        def __init__(self) -> None:
            self.log = MemoryLog()

        def publish(self, messages: Any) -> Any:
            return self.log.publish(messages)

        def subscribe(self, group: str, topics: Any) -> Any:
            return self.log.subscribe(group, topics)

    shop = Shop(broker=Plain())
    audit.subscribe(shop.app)
    orders = placed(shop)
    assert audit.orders() == orders


@pytest.mark.parametrize("since", ["latest", "", None, 5, "NOW"], ids=repr)
def test_another_word_is_refused(since: Any) -> None:
    app = oms.create(profile="memory")
    with pytest.raises(oms.OmsError, match='since: expected "earliest" or "now"'):
        app.subscribe("order.created", group="audit", handler=lambda _event, _step: None, since=since)
