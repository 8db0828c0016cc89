"""Processes that die while they read the log: before the record arrives, so before its handler could be blamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

import oms
from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.memory.log import MemoryLog, MemorySubscription
from oms.ports.broker import TopicPartition
from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.ports.messages import Record
from oms.ports.stores.rows import DeadLetter
from oms.testing import Shop

BOMB = b"x" * (MAX_MESSAGE_BYTES + 1)
TOPIC = "order.confirmed"
Deadly = Callable[[Sequence[Record], bool], bool]


class Killed(BaseException):
    """Ends a process."""


def is_bomb(record: Record) -> bool:
    return record.oversized is not None


def in_batches(records: Sequence[Record], careful: bool) -> bool:
    """A process dies reading the bomb together with others, and survives reading it alone."""
    return not careful and any(map(is_bomb, records))


def always(records: Sequence[Record], careful: bool) -> bool:
    return any(map(is_bomb, records))


class Lives:
    """Processes of one system, one after the other, that share log and stores. Reading the own step's topic may kill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deadly: Deadly, partitions: int = 1) -> None:
        self.clock, self.ids = ManualClock(), CountedIds()
        self.log = MemoryLog(partitions, owner="w0", holds_back=True)
        self.deaths = 0
        self.handled: list[str] = []
        self.poison: set[str] = set()
        self._stores: dict[str, object] = {}
        self.shop = self._life(self.log)
        self._stores = {name: assembly.service.store for name, assembly in self.shop.app.system.assemblies.items()}
        self._stores["step-own"] = self._stores.pop("own")
        plain = MemorySubscription._next

        def fatal(reader: MemorySubscription, at: TopicPartition, limit: int) -> list[Record]:
            first = reader._member.positions[at]
            wanted = reader._topics.topic(at.topic)[at.partition][first : first + limit]
            if reader._member.topics == (TOPIC,) and deadly(wanted, at == reader._careful):
                raise Killed
            return plain(reader, at, limit)

        monkeypatch.setattr(MemorySubscription, "_next", fatal)

    def run(self, *, at_most: int = 12) -> None:
        """Live on, in a new process after each death."""
        while True:
            try:
                self.shop.run()
                self.shop.advance(minutes=1)
            except Killed:
                self.log.kill(f"w{self.deaths}")
                self.deaths += 1
                assert self.deaths <= at_most
                self.shop = self._life(self.log.worker(f"w{self.deaths}"))
            else:
                return

    def letters(self) -> list[DeadLetter]:
        store = self._stores["step-own"]
        return list(store.all_dead_letters())  # type: ignore[attr-defined]

    def notes(self) -> set[TopicPartition]:
        """The partitions that are noted before they are read, in the own step's store."""
        rows = self._stores["step-own"]._tables.attempts.rows  # type: ignore[attr-defined]
        return {at for _, at in rows if at.partition < 0}

    def _life(self, log: MemoryLog) -> Shop:
        shop = Shop(clock=self.clock, ids=self.ids, broker=log, stores=self._stores or None)
        shop.app.subscribe(TOPIC, group="own", handler=self._handle)
        return shop

    def _handle(self, event: oms.AnyEvent, _step: oms.StepContext) -> None:
        if event.order_id in self.poison:
            raise Killed
        self.handled.append(event.order_id)


def test_a_bomb_among_good_messages_is_read_alone_after_the_first_death(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, in_batches)
    before = lives.shop.place()
    lives.run()
    assert (lives.handled, lives.deaths) == ([before.id], 0)

    bomb = lives.log.append(TOPIC, BOMB, b"key")
    after = lives.shop.place()
    lives.run(at_most=3)

    assert set(lives.handled) == {before.id, after.id}
    (letter,) = lives.letters()
    assert (letter.topic, letter.offset, letter.cause) == (TOPIC, bomb.offset, "TooLarge")
    assert lives.deaths <= 2


def test_a_record_that_ends_every_process_that_reads_it_is_parked_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, always)
    lives.shop.place()
    lives.run()
    bomb = lives.log.append(TOPIC, BOMB, b"key")
    after = lives.shop.place()
    lives.run(at_most=5)

    assert after.id in lives.handled
    (letter,) = lives.letters()
    assert (letter.topic, letter.partition, letter.offset) == (TOPIC, 0, bomb.offset)
    assert (letter.cause, letter.key, letter.value, letter.headers) == ("Unread", None, None, ())
    with pytest.raises(oms.Conflict) as refused:
        lives.shop.app.dead_letters.redrive(letter.id)
    assert refused.value.code == "content_not_kept"
    assert 2 <= lives.deaths <= 5


def test_the_other_partitions_are_read_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, always, partitions=4)
    for number in range(3):
        lives.log.append(TOPIC, BOMB, f"key-{number}".encode())
    orders = [lives.shop.place() for _ in range(20)]
    lives.run(at_most=20)

    assert set(lives.handled) == {order.id for order in orders}
    assert [letter.cause for letter in lives.letters()] == ["Unread"] * 3


def test_a_message_whose_handler_kills_is_parked_with_its_content_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, lambda _records, _careful: False)
    orders = [lives.shop.place() for _ in range(6)]
    lives.poison.add(orders[3].id)
    lives.run(at_most=20)

    (letter,) = lives.letters()
    assert (letter.order_id, letter.cause) == (orders[3].id, "OmsError")
    assert letter.value is not None
    assert set(lives.handled) == {order.id for order in orders if order is not orders[3]}


def test_a_process_that_lives_on_leaves_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, lambda _records, _careful: False)
    lives.shop.place()
    lives.shop.run()
    assert lives.notes()
    lives.shop.advance(minutes=1)
    lives.shop.place()
    lives.shop.run()
    assert not lives.notes()


def test_a_process_that_ends_in_good_order_leaves_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, lambda _records, _careful: False)
    lives.shop.run()
    assert lives.notes()
    lives.shop.app.stop()
    assert not lives.notes()


def test_a_process_that_ends_because_it_cannot_read_leaves_its_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message for which there is no memory may end it by an exception: then it still closes in good order."""

    def no_memory(records: Sequence[Record], careful: bool) -> bool:
        if any(map(is_bomb, records)):
            raise MemoryError
        return False

    lives = Lives(monkeypatch, no_memory)
    lives.log.append(TOPIC, BOMB, b"key")
    with pytest.raises(MemoryError):
        lives.shop.run()
    lives.shop.app.stop()
    assert TopicPartition(TOPIC, ~0) in lives.notes()


def test_it_leaves_its_note_also_where_the_record_arrives_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_subscription: MemorySubscription, _timeout_s: float) -> bool:
        raise MemoryError

    lives = Lives(monkeypatch, lambda _records, _careful: False)
    lives.shop.run()
    monkeypatch.setattr(MemorySubscription, "wait", no_memory)
    with pytest.raises(MemoryError):
        lives.shop.app.system.assemblies["own"].consumer.wait(0.1)
    lives.shop.app.stop()
    assert TopicPartition(TOPIC, ~0) in lives.notes()


def test_a_note_whose_answer_was_lost_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = iter([True, True])

    def point(at: str) -> None:
        if at == "inventory.start_attempts:after" and next(lost, False):
            raise oms.OutcomeUnknown("the connection broke after COMMIT")

    clock, ids, log = ManualClock(), CountedIds(), MemoryLog(1, holds_back=True)
    plain = Shop(clock=clock, ids=ids).app.system.assemblies["inventory"].service.store
    shop = Shop(clock=clock, ids=ids, broker=log, stores={"inventory": plain.worker("faulty", point=point)})
    order = shop.place()
    shop.advance(minutes=1)

    assert next(lost, None) is None, "both answers were lost"
    assert shop.status(order) == "CONFIRMED"
    assert shop.app.telemetry.alerts == []


def test_partitions_that_go_to_another_member_are_no_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, lambda _records, _careful: False)
    for _ in range(4):
        lives.shop.run()
        lives.log.append(TOPIC, b"not json", b"key")
        lives.log.evict("w0")
    lives.run()
    logged = [line.event for line in lives.shop.app.telemetry.alerts]
    assert logged == ["message parked"] * len(logged)


def test_an_operator_is_told_where_a_process_died(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = Lives(monkeypatch, in_batches)
    bomb = lives.log.append(TOPIC, BOMB, b"key")
    lives.run(at_most=3)
    logged = [
        line.fields for line in lives.shop.app.telemetry.alerts if line.event == "processes died reading a partition"
    ]
    assert [(one["topic"], one["partition"], one["offset"], one["group"]) for one in logged] == [
        (TOPIC, 0, bomb.offset, "own")
    ]
