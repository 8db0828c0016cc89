"""Copies of dead letters: one for each that is parked, in its service's `.dlq` topic, and no service handles them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oms
from oms.adapters.memory.log import MemoryLog
from oms.bootstrap.servers import topics_of
from oms.engine.dead_letter_copies import MAX_COPY_BYTES, UNPUBLISHABLE, copy_of
from oms.operations import promises
from oms.ports.errors import Permanent, PortError
from oms.ports.evidence import LogEvidence
from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.ports.messages import Outgoing, Record, copies_topic
from oms.ports.stores.rows import DeadLetter
from oms.settings import Settings
from oms.testing import Shop


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile=request.param, data=tmp_path))


def copies(shop: Shop, topic: str) -> list[Record]:
    return [record for record in shop.log.all_records() if record.topic == topic]


def said(record: Record) -> dict[str, str]:
    """What the headers of a copy say, without their prefix."""
    ours = [(name, value) for name, value in record.headers if name.startswith("oms_dead_letter_")]
    return {name.removeprefix("oms_dead_letter_"): value.decode() for name, value in ours}


def settle(shop: Shop) -> None:
    shop.advance(minutes=5)
    report = shop.report()
    assert report.quiet
    assert report.whole, report.violations


def test_a_message_that_cannot_be_read_is_copied_as_it_came_by_each_that_gave_it_up(shop: Shop) -> None:
    order = shop.place()
    shop.publish("order.created", b"\xff{", b"key", (("x-from", b"till \xfe"),))
    settle(shop)

    assert shop.status(order) == "CONFIRMED"
    letters = {letter.group: letter for letter in shop.parked()}
    assert set(letters) == {"order-group", "inventory-group"}
    for service in ("order", "inventory"):
        letter = letters[f"{service}-group"]
        (copy,) = copies(shop, f"{service}.dlq")
        assert (copy.key, copy.value, copy.headers[0]) == (b"key", b"\xff{", ("x-from", b"till \xfe"))
        assert said(copy) == {
            "id": letter.id,
            "group": letter.group,
            "cause": "Undecodable",
            "topic": "order.created",
            "partition": str(letter.partition),
            "offset": str(letter.offset),
            "attempts": "1",
            "parked_at": letter.parked_at.isoformat(),
            "value_bytes": "2",
        }
    assert "order.dlq" not in {event.topic for event in shop.published()}
    assert shop.published("order.dlq") == []


def test_a_message_without_a_value_is_told_from_an_empty_one() -> None:
    shop = Shop()
    shop.log.append("inventory.released", None)
    shop.log.append("inventory.released", b"")
    settle(shop)
    sizes = [said(copy).get("value_bytes") for copy in copies(shop, "order.dlq")]
    assert sorted(sizes, key=str) == ["0", None]


def test_an_own_steps_copies_go_to_a_topic_of_its_own_and_redrive_makes_no_other(shop: Shop) -> None:
    broken = [True]

    def handle(event: oms.AnyEvent, step: oms.StepContext) -> None:
        if broken[0]:
            raise ValueError("secret-password")
        step.publish("own.done")

    shop.app.subscribe("order.confirmed", group="own step", handler=handle, publishes=["own.done"])
    order = shop.place()
    settle(shop)
    (letter,) = shop.parked()
    (copy,) = copies(shop, "own_step.dlq")
    assert (said(copy)["attempts"], said(copy)["order_id"], said(copy)["cause"]) == ("5", order.id, "ValueError")
    assert copy.value == letter.value
    assert "secret-password" not in str(copy)
    assert "own_step.dlq" in topics_of(shop.app.own_steps)

    broken[0] = False
    shop.app.dead_letters.redrive(letter.id)
    settle(shop)

    assert len(shop.published("own.done")) == 1
    assert len(copies(shop, "own_step.dlq")) == 1


def test_a_task_that_is_parked_is_copied_too() -> None:
    shop = Shop()

    def handle(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.call("book", parcel=1)

    def refuse(_order: oms.OrderId, _payload: object) -> object:
        raise oms.Permanent("no such address")

    calls = {"book": oms.OutsideCall(refuse)}
    shop.app.subscribe("order.confirmed", group="own", handler=handle, calls=calls)
    shop.place()
    settle(shop)
    (copy,) = copies(shop, "own.dlq")
    assert said(copy)["topic"] == "task:call"
    assert copy.value == b'{"parcel": 1}'


def test_copies_are_no_events_to_subscribe_to() -> None:
    with pytest.raises(oms.OmsError, match=r"order\.dlq"):
        Shop().app.subscribe("order.dlq", group="own", handler=lambda _event, _step: None)


@pytest.mark.parametrize("group", ["order", "order-group", "payment"])
def test_a_step_cannot_be_called_like_a_service_whose_copies_it_would_share(group: str) -> None:
    with pytest.raises(oms.OmsError, match="the system's own"):
        Shop().app.subscribe("order.confirmed", group=group, handler=lambda _event, _step: None)


# -- what the broker refuses


def test_a_message_that_the_broker_refuses_is_copied_without_its_value(shop: Shop) -> None:
    fits_without_headers = MAX_MESSAGE_BYTES - 100

    def handle(_event: oms.AnyEvent, step: oms.StepContext) -> None:
        step.publish("own.done", text="x" * fits_without_headers)

    shop.app.subscribe("order.confirmed", group="own", handler=handle, publishes=["own.done"])
    shop.place()
    settle(shop)

    (letter,) = shop.parked()
    assert (letter.cause, letter.topic) == (UNPUBLISHABLE, "own.done")
    (copy,) = copies(shop, "own.dlq")
    assert (copy.key, copy.value) == (letter.key, b"")
    assert said(copy)["left_out"] == "value"
    assert int(said(copy)["value_bytes"]) == len(letter.value or b"") > fits_without_headers

    shop.app.dead_letters.redrive(letter.id)  # owed to the broker again, which refuses it again
    settle(shop)

    (second,) = shop.parked()
    assert (second.id, second.value, second.attempts) == (letter.id, letter.value, 2)
    assert len(copies(shop, "own.dlq")) == 1


class Choosy(MemoryLog):
    """A broker that takes nothing for the topics in `refuses`."""

    refuses: Sequence[str] = ()

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        reports = iter(super().publish([one for one in messages if one.topic not in self.refuses]))
        return [Permanent(f"no {one.topic}") if one.topic in self.refuses else next(reports) for one in messages]


def test_what_was_refused_is_sent_by_a_redrive() -> None:
    log = Choosy()
    log.refuses = ["order.confirmed"]
    shop = Shop(broker=log)
    order = shop.place()
    shop.advance(minutes=1)
    (letter,) = shop.parked()
    assert shop.stock("apple").held == 1

    log.refuses = []
    shop.app.dead_letters.redrive(letter.id)
    settle(shop)

    assert shop.status(order) == "CONFIRMED"
    assert shop.stock("apple").held == 0
    assert shop.parked() == []


def test_a_copy_that_the_broker_refuses_is_parked_itself_and_that_is_the_end() -> None:
    log = Choosy()
    log.refuses = ["order.dlq"]
    shop = Shop(broker=log)
    shop.publish("inventory.released", b"{")
    settle(shop)
    first, second = shop.parked()
    assert (first.topic, second.topic) == ("inventory.released", "order.dlq")
    shop.advance(hours=2)
    assert len(shop.parked()) == 2

    log.refuses = []
    shop.app.dead_letters.redrive(second.id)
    settle(shop)
    (copy,) = copies(shop, "order.dlq")
    assert said(copy)["id"] == first.id


# -- how much of it


@given(
    key=st.none() | st.integers(0, 3),
    value=st.none() | st.integers(0, 3),
    header=st.integers(0, 3),
    cause=st.sampled_from(["Undecodable", UNPUBLISHABLE]),
)
def test_a_copy_is_never_too_large_and_leaves_out_no_more_than_it_has_to(
    key: int | None, value: int | None, header: int, cause: str
) -> None:
    third = MAX_COPY_BYTES // 3
    letter = DeadLetter(
        id="letter-1",
        group="order-group",
        message_id="m",
        topic="t" * 249,
        partition=1,
        offset=2,
        key=None if key is None else b"k" * third * key,
        value=None if value is None else b"v" * third * value,
        headers=(("h", b"h" * third * header), ("oms_dead_letter_id", b"of an earlier copy")),
        cause=cause,
        detail="",
        attempts=1,
        parked_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    copy = copy_of(letter, "order.dlq")
    assert copy is not None
    size = len(copy.key or b"") + len(copy.value) + sum(len(name) + len(text) for name, text in copy.headers)
    assert size <= MAX_COPY_BYTES
    names = [name for name, _ in copy.headers]
    assert len(names) == len(set(names))
    copy_headers = dict(copy.headers)
    left_out = copy_headers.get("oms_dead_letter_left_out", b"").decode().split(",")
    assert (copy.key == letter.key) == ("key" not in left_out)
    assert (copy.value == (letter.value or b"")) == ("value" not in left_out)
    assert ("h" in copy_headers) == ("headers" not in left_out)
    if (key or 0) + (value or 0) + header < 3 and cause != UNPUBLISHABLE:
        assert left_out == [""]


def test_there_is_no_copy_of_a_copy() -> None:
    shop = Shop()
    shop.publish("order.created", b"{")
    settle(shop)
    letter = shop.parked()[0]
    assert copy_of(attrs.evolve(letter, topic=copies_topic("order")), "order.dlq") is None


# -- the promise


class WithoutCopies(LogEvidence):
    def __init__(self, log: LogEvidence) -> None:
        self._log = log
        self.offsets = log.offsets  # type: ignore[method-assign]

    def all_records(self) -> list[Record]:
        return [record for record in self._log.all_records() if not record.topic.endswith(".dlq")]


def test_a_copy_that_was_never_published_breaks_a_promise(shop: Shop) -> None:
    shop.publish("payment.success", b"{")
    settle(shop)
    report = promises.check(
        attrs.evolve(shop.app.evidence, log=WithoutCopies(shop.log)),
        shop.app.system.container.codec(),
        now=shop.clock.now(),
        deadline_s=900,
        settle_s=60,
    )
    assert {violation.promise for violation in report.violations} == {"P7"}
    assert len(report.violations) == 2, "the order and the notification service each parked it"
