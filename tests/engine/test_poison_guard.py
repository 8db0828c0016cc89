"""Which messages of a batch are handled, halved, parked or left alone, by how often processes died at its beginning."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from oms.engine.deliveries import ReceivedMessage
from oms.engine.poison_guard import CAREFUL_READS, MAX_ATTEMPTS, SuspectPartitions, plan_batch
from oms.ports.broker import TopicPartition
from oms.ports.messages import Cause, Message, MessageId, Record

GOOD, BAD = TopicPartition("good", 0), TopicPartition("bad", 1)


def batch(at: TopicPartition, *offsets: int) -> list[ReceivedMessage]:
    records = [Record(at.topic, at.partition, offset, None, None) for offset in offsets]
    names = [MessageId(f"{at.topic}/{record.offset}") for record in records]
    pairs = zip(names, records, strict=True)
    return [ReceivedMessage(Message(name, None, Cause(), record), name) for name, record in pairs]


def names(messages: Sequence[ReceivedMessage]) -> list[str]:
    return [one.inbox_id for one in messages]


def test_a_first_try_handles_the_whole_batch_in_its_order() -> None:
    messages = batch(GOOD, 1, 2) + batch(BAD, 7)
    plan = plan_batch(messages, {GOOD: 1, BAD: 1}, failures=0)
    assert (plan.now, plan.later, plan.cleared) == (messages, (), ())


def test_failures_without_a_death_do_not_halve_the_batch() -> None:
    messages = batch(BAD, 1, 2, 3, 4)
    assert plan_batch(messages, {BAD: 4}, failures=3).now == messages


def test_each_death_halves_the_batch_and_the_suspect_comes_first() -> None:
    messages = batch(GOOD, 1, 2, 3, 4) + batch(BAD, 7, 8, 9, 10)
    plan = plan_batch(messages, {GOOD: 1, BAD: 2}, failures=0)
    assert names(plan.now) == ["bad/7", "bad/8", "bad/9", "bad/10"]
    assert names(plan.later) == ["good/1", "good/2", "good/3", "good/4"]
    assert plan.cleared == [GOOD], "it was only in the same batch"
    assert names(plan_batch(messages, {GOOD: 1, BAD: 3}, failures=0).now) == ["bad/7", "bad/8"]


@pytest.mark.parametrize("tries", [MAX_ATTEMPTS - 1, MAX_ATTEMPTS])
def test_a_single_message_is_parked_at_its_fifth_try(tries: int) -> None:
    plan = plan_batch(batch(BAD, 7, 8), {BAD: tries}, failures=0)
    (one,) = plan.now
    assert one.inbox_id == "bad/7"
    assert (one.fault is not None) == (tries == MAX_ATTEMPTS)
    if one.fault is not None:
        assert (str(one.fault), one.attempts) == ("the process died 4 times while it was handled", 5)


def test_suspects_are_read_one_after_the_other_until_they_are_cleared() -> None:
    suspects = SuspectPartitions()
    suspects.add({GOOD: 1, BAD: 2})
    assert suspects.turn() == BAD, "the one with the most deaths"
    for offset in range(CAREFUL_READS):
        assert not suspects.is_cleared(offset)
        suspects.opened(offset)
        assert suspects.arrived({GOOD}) is None
        assert suspects.arrived({BAD}) == BAD
    assert suspects.is_cleared(CAREFUL_READS)
    suspects.clear_current()
    assert suspects.turn() == GOOD
    assert BAD not in suspects


def test_a_suspect_without_further_records_is_cleared_and_a_lost_one_forgotten() -> None:
    suspects = SuspectPartitions()
    suspects.add({GOOD: 1})
    suspects.opened(5)
    assert suspects.is_cleared(5), "no record has come since it was opened there"
    suspects.forget([GOOD])
    assert not suspects
    assert suspects.turn() is None
