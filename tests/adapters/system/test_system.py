"""Clock, names and threaded calls of the host."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from oms.adapters.system.clock import SystemClock, SystemIds
from oms.domain.values import checked_id
from oms.ports.call_executor import CallAbandoned, Ended
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.runtime.call_executor import ThreadPoolCallExecutor


def test_the_time_is_in_utc():
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert now.utcoffset() == timedelta(0)


def test_waits_go_on_while_the_clock_of_the_host_is_set(monkeypatch):
    class Set(datetime):
        """An hour behind what it was."""

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(hours=1)

    clock = SystemClock()
    before = clock.steady()
    monkeypatch.setattr("oms.adapters.system.clock.datetime", Set)
    time.sleep(0.01)
    assert timedelta() < clock.steady() - before < timedelta(minutes=1)
    assert before - clock.now() > timedelta(minutes=59)


def test_order_ids_are_canonical_and_in_the_order_of_time():
    ids = SystemIds()
    first = ids.order_id()
    time.sleep(0.002)
    second = ids.order_id()
    assert first < second
    assert uuid.UUID(first).version == 7
    assert checked_id(first, name="orderId") == str(uuid.UUID(first))


def test_tokens_are_unique_and_short():
    ids = SystemIds()
    tokens = {ids.token() for _ in range(10_000)}
    assert len(tokens) == 10_000
    assert max(map(len, tokens)) <= 36


class Waiting:
    """Calls that are collected by a thread which sleeps until it is woken."""

    def __init__(self, workers: int) -> None:
        self.woken = threading.Event()
        self.calls: ThreadPoolCallExecutor[str] = ThreadPoolCallExecutor(workers, self.woken.set)

    def collect(self, count: int) -> dict[str, Ended[str]]:
        ended: dict[str, Ended[str]] = {}
        while len(ended) < count:
            assert self.woken.wait(5)
            self.woken.clear()
            ended |= {end.token: end for end in self.calls.collect()}
        return ended


def test_answers_and_errors_come_back_by_their_token():
    waiting = Waiting(2)
    refused = ValueError("no")

    def fails():
        raise refused

    waiting.calls.submit("good", lambda: 42)
    waiting.calls.submit("bad", fails)
    assert waiting.collect(2) == {"good": Ended("good", 42), "bad": Ended("bad", error=refused)}
    assert waiting.calls.collect() == []
    assert waiting.calls.room() == 2


def test_an_exit_in_a_gateway_is_an_unknown_outcome_and_costs_no_thread():
    waiting = Waiting(1)
    for _ in range(3):
        waiting.calls.submit("exits", sys.exit)
        assert isinstance(waiting.collect(1)["exits"].error, OutcomeUnknown)
    waiting.calls.submit("next", lambda: "still here")
    assert waiting.collect(1)["next"].answer == "still here"


def test_calls_are_bounded_and_run_at_once():
    waiting = Waiting(3)
    together = threading.Barrier(3, timeout=5)
    for token in "abc":
        waiting.calls.submit(token, together.wait)
    assert waiting.calls.room() == 0
    with pytest.raises(Permanent):
        waiting.calls.submit("d", lambda: None)
    assert all(end.error is None for end in waiting.collect(3).values())
    assert waiting.calls.room() == 3


def test_quick_calls_may_queue_and_slow_ones_never_do():
    calls: ThreadPoolCallExecutor[int] = ThreadPoolCallExecutor(2, lambda: None, ahead_s=0.25, most=40)

    def ended(count: int) -> None:
        found, until = 0, time.monotonic() + 5
        while found < count and time.monotonic() < until:
            found += len(calls.collect())
        assert found == count

    calls.submit(0, lambda: None)
    ended(1)
    assert calls.room() == 40
    for token in range(40):
        calls.submit(token, lambda: None)
    with pytest.raises(Permanent):
        calls.submit(41, lambda: None)
    ended(40)
    assert len(calls._threads) <= 2
    calls.submit(42, lambda: time.sleep(0.3))
    ended(1)
    assert calls.room() == 2


def test_threads_are_used_again():
    waiting = Waiting(50)
    for _ in range(20):
        waiting.calls.submit("one", lambda: None)
        waiting.collect(1)
    assert len(waiting.calls._threads) == 1


def settled(condition):
    """Wait up to 5 s until a condition holds."""
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_calls_that_hang_are_bounded_and_block_further_ones_until_some_return():
    calls: ThreadPoolCallExecutor[int] = ThreadPoolCallExecutor(2, lambda: None, limit_s=0.05, most_hung=3)
    release, found = threading.Event(), []
    for token in range(4):
        assert settled(lambda: found.extend(calls.collect()) or calls.room() > 0 or calls.blocked())
        calls.submit(token, release.wait)
    assert settled(lambda: found.extend(calls.collect()) or len(found) == 4)
    assert calls.blocked()
    assert calls.room() == 0
    with pytest.raises(Permanent):
        calls.submit(5, lambda: None)
    assert len(calls._threads) == 4

    release.set()
    assert settled(lambda: not calls.blocked() and calls.room() == 2)
    assert settled(lambda: calls._threads == []), "the threads of abandoned calls end"
    calls.submit(6, lambda: "answered")
    assert settled(lambda: found.extend(calls.collect()) or found[-1].answer == "answered")
    assert all(isinstance(end.error, CallAbandoned) for end in found[:-1])


def test_a_call_that_found_no_thread_in_time_is_not_made():
    calls: ThreadPoolCallExecutor[str] = ThreadPoolCallExecutor(1, lambda: None, ahead_s=0.25, limit_s=0.2, most_hung=1)
    made, found = [], []
    calls.submit("quick", lambda: None)
    assert settled(lambda: found.extend(calls.collect()) or found)
    release = threading.Event()
    calls.submit("hangs", release.wait)
    calls.submit("waits", lambda: made.append("waits"))
    assert settled(lambda: found.extend(calls.collect()) or len(found) >= 2)
    release.set()
    assert settled(lambda: found.extend(calls.collect()) or len(found) == 3)
    ended = {end.token: end for end in found}
    assert isinstance(ended["hangs"].error, CallAbandoned)
    assert isinstance(ended["waits"].error, Retryable) == (made == [])


def test_collect_never_waits():
    calls: ThreadPoolCallExecutor[str] = ThreadPoolCallExecutor(1, lambda: None)
    release = threading.Event()
    calls.submit("slow", release.wait)
    started = time.monotonic()
    assert calls.collect() == []
    assert time.monotonic() - started < 0.5
    release.set()


def test_close_waits_no_longer_than_it_says_and_ends_idle_threads():
    calls: ThreadPoolCallExecutor[str] = ThreadPoolCallExecutor(2, lambda: None)
    release = threading.Event()
    calls.submit("hangs", release.wait)
    calls.submit("ends", lambda: None)
    started = time.monotonic()
    calls.close(0.1)
    assert time.monotonic() - started < 1
    assert calls.room() == 0
    with pytest.raises(Permanent):
        calls.submit("late", lambda: None)
    release.set()
    calls.close(5)
    assert not any(thread.is_alive() for thread in calls._threads)


def test_a_hanging_call_does_not_hold_up_the_end_of_the_process():
    script = (
        "import threading\n"
        "from oms.runtime.call_executor import ThreadPoolCallExecutor\n"
        "calls = ThreadPoolCallExecutor(1, lambda: None)\n"
        "calls.submit('hangs', threading.Event().wait)\n"
    )
    subprocess.run([sys.executable, "-c", script], timeout=20, check=True)


def test_calls_that_are_withdrawn_say_which_were_begun() -> None:
    calls: ThreadPoolCallExecutor[str] = ThreadPoolCallExecutor(1, lambda: None, ahead_s=0.25, limit_s=60)
    calls.submit("quick", lambda: 1)
    assert wait_until(lambda: bool(calls.collect()))
    assert calls.room() > 1, "quick calls may queue"
    begun, release = threading.Event(), threading.Event()
    made: list[str] = []

    def slow() -> None:
        begun.set()
        release.wait(20)

    calls.submit("slow", slow)
    calls.submit("queued", lambda: made.append("queued"))
    assert begun.wait(20)
    queued, slow_one = calls.withdraw(0.0)
    assert (queued.token, queued.left_s) == ("queued", None)
    assert slow_one.token == "slow"
    assert slow_one.left_s is not None
    assert 0 < slow_one.left_s <= 60
    assert calls.room() == 0
    release.set()
    assert wait_until(lambda: [one.token for one in calls.collect()] == ["slow"])
    assert made == []


def wait_until(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not (met := condition()) and time.monotonic() < until:
        time.sleep(0.001)
    return met
