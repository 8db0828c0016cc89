"""Whether a member is in its group, by librdkafka's errors and statistics; without a Kafka."""

from __future__ import annotations

import json
import time

import pytest

from oms.adapters.kafka.membership import JOINS_WITHIN_S, STEADY_STATISTICS, Membership
from oms.adapters.kafka.probe import RESPONSE_TIMEOUT_S, Probe
from oms.ports.errors import Retryable

STEADY = json.dumps({"name": "oms#consumer-1", "cgrp": {"state": "up", "join_state": "steady"}})
JOINING = json.dumps({"cgrp": {"state": "up", "join_state": "wait-join"}})


def steady(member: Membership) -> None:
    for _ in range(STEADY_STATISTICS):
        member.note_statistics(STEADY)


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def member(clock: Time) -> Membership:
    return Membership(clock)


@pytest.mark.parametrize("later", [JOINING, json.dumps({"cgrp": {"state": "query-coord", "join_state": "init"}}), "{}"])
def test_only_a_member_that_is_steady_ends_a_refusal(member: Membership, later: str) -> None:
    member.refuse("GROUP_AUTHORIZATION_FAILED")
    member.note_statistics(later)
    assert member.refusal == "GROUP_AUTHORIZATION_FAILED"
    steady(member)
    assert member.refusal is None


def test_a_member_whose_heartbeats_are_refused_is_refused_while_it_still_looks_steady(member: Membership) -> None:
    for _ in range(10):
        member.refuse("GROUP_AUTHORIZATION_FAILED")
        member.note_statistics(STEADY)
        assert member.refusal == "GROUP_AUTHORIZATION_FAILED"
    member.note_statistics(STEADY)
    assert member.refusal is None


def test_the_last_statistics_of_a_client_that_ended_say_nothing(member: Membership) -> None:
    member.fail("fenced")
    member.note_statistics(STEADY)
    assert member.refusal == "fenced", "the client may still believe that it is in its group"
    member.begin()
    assert member.refusal == "fenced", "the next one isn't in the group yet"
    steady(member)
    assert member.refusal is None


def test_a_member_that_never_gets_in_is_refused_without_an_error(member: Membership, clock: Time) -> None:
    for _ in range(int(JOINS_WITHIN_S)):
        member.note_statistics(JOINING)
        assert member.refusal is None
        clock.now_s += 1
    clock.now_s += 1
    member.note_statistics(JOINING)
    assert "not a member" in str(member.refusal)
    steady(member)
    assert member.refusal is None


@pytest.mark.parametrize("text", ["", "no JSON", '{"cgrp": 5}', "[]"])
def test_statistics_that_cannot_be_read_change_nothing(member: Membership, text: str) -> None:
    member.note_statistics(text)
    assert member.refusal is None


def test_a_probe_without_a_kafka_says_why_and_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(Retryable, match="Kafka"):
        Probe({"bootstrap.servers": "127.0.0.1:1", "log_level": "2"}).check(["order.created"], ["order-group"])
    assert time.monotonic() - began < 3 * RESPONSE_TIMEOUT_S
