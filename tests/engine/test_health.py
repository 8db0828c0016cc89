"""One record of what fails: it opens after failures of one kind, ends with a success of that kind, and logs each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import oms
from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.system.clock import SystemClock
from oms.engine.health import MAX_SUBJECTS, OPENS_AFTER, OPENS_AFTER_S, Condition, HealthRecord
from oms.ports.errors import PortError, Retryable
from oms.ports.messages import Outgoing
from oms.runtime.health_watch import HealthWatch, Probe
from oms.testing import Shop

WORK = Condition.WORK_FAILING


def gauge(telemetry: RecordingTelemetry, condition: Condition, service: str) -> float:
    labels = frozenset({("condition", condition.value), ("service", service)})
    return telemetry.gauges["health_problems", labels]


@given(st.lists(st.one_of(st.booleans(), st.floats(0.1, 5)), max_size=40))
def test_a_problem_opens_by_failures_and_ends_by_a_success_alone(events: list[bool | float]) -> None:
    clock, telemetry = ManualClock(), RecordingTelemetry()
    health = HealthRecord(clock, telemetry).of("payment")
    failures, first, was_open, opened, closed = 0, clock.steady(), False, 0, 0
    for event in events:
        if event is True:
            health.succeeded(WORK, "step")
            failures = 0
        elif event is False:
            first = first if failures else clock.steady()
            failures += 1
            health.failed(WORK, "step", "no room")
        else:
            clock.advance(timedelta(seconds=event))
        health.record.look()
        waited = clock.steady() - first >= timedelta(seconds=OPENS_AFTER_S)
        is_open = failures >= OPENS_AFTER or (failures > 0 and waited)
        opened, closed = opened + (is_open and not was_open), closed + (was_open and not is_open)
        was_open = is_open
        assert bool(health.record.report().not_ready) == is_open
        assert gauge(telemetry, WORK, "payment") == is_open
        assert [line.event for line in telemetry.failures] == ["not ready"] * opened
        assert [line.event for line in telemetry.notes] == ["recovered"] * closed


def test_commands_that_were_all_given_up_leave_no_problem_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that isn't ready gets no further request, whose success would end the problem."""
    shop = Shop()
    assembly, answers = shop.app.system.order, []

    def away(_group: object) -> None:
        raise Retryable("the database can't be reached")

    monkeypatch.setattr(assembly.commands, "_responses", away)
    assembly.commands.submit(SimpleNamespace(prepare=None), lambda _answer, error: answers.append(error))  # type: ignore[arg-type]
    problems = set()
    while not answers:
        assembly.commands.run_once()
        problems |= {problem.condition for problem in assembly.health.record.report().not_ready}
        shop.clock.advance(timedelta(seconds=1))
    assert problems == {WORK}
    assert isinstance(answers[0], Retryable)
    assert assembly.health.record.report().not_ready == ()


def test_each_gauge_is_there_from_the_start() -> None:
    shop = Shop()
    _ = shop.app.system
    for condition in Condition:
        for service in ("process", "order", "inventory", "payment", "notification"):
            assert gauge(shop.telemetry, condition, service) == 0


def test_the_number_of_subjects_is_bounded() -> None:
    record = HealthRecord(ManualClock(), RecordingTelemetry())
    for number in range(2 * MAX_SUBJECTS):
        record.failed(WORK, "s", str(number), "x", opens_after=1)
    assert len(record.report().not_ready) == MAX_SUBJECTS


def test_several_threads_log_an_opening_and_an_end_once() -> None:
    telemetry = RecordingTelemetry()
    record = HealthRecord(ManualClock(), telemetry)
    together = threading.Barrier(8)

    def look(number: int) -> None:
        for _ in range(200):
            together.wait()
            if number == 0:
                record.failed(WORK, "s", "x", "y", opens_after=1)
            record.look()
            together.wait()
            if number == 0:
                record.succeeded(WORK, "s", "x")
            record.look()

    threads = [threading.Thread(target=look, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.event for line in telemetry.failures] == ["not ready"] * 200
    assert [line.event for line in telemetry.notes] == ["recovered"] * 200


# -- the rows of the table, as they show while a system runs


@attrs.define
class Seen:
    """A running system as its operator sees it."""

    app: oms.App
    client: TestClient
    telemetry: RecordingTelemetry

    def codes(self) -> tuple[int, list[str], list[str]]:
        answer = self.client.get("/readyz")
        return answer.status_code, answer.json()["problems"], answer.json()["degraded"]

    def logged(self, event: str, condition: Condition) -> bool:
        lines = [*self.telemetry.failures, *self.telemetry.notes]
        return any(line.event == event and line.fields.get("condition") == condition.value for line in lines)

    def shows(self, condition: Condition, service: str, *, within_s: float = 5.0) -> None:
        """`/readyz`, the log line and the gauge, all of them within the time."""
        part = 2 if condition.degrades_only else 1

        def found() -> bool:
            codes = self.codes()
            return (
                condition.value in codes[part]
                and codes[0] == (200 if condition.degrades_only else 503)
                and self.logged("degraded" if condition.degrades_only else "not ready", condition)
                and gauge(self.telemetry, condition, service) >= 1
            )

        eventually(found, within_s, self.codes)

    def recovers(self, condition: Condition, service: str, *, within_s: float = 60.0) -> None:
        eventually(lambda: self.codes() == (200, [], []), within_s, self.codes)
        eventually(lambda: self.logged("recovered", condition), 5, self.codes)
        eventually(lambda: gauge(self.telemetry, condition, service) == 0, 5, self.codes)


def eventually(happened: Callable[[], bool], within_s: float, seen: Callable[[], object]) -> None:
    until = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < until, seen()
        time.sleep(0.02)


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.slow)])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def running(profile: str, path: Any, **given: Any) -> tuple[oms.App, RecordingTelemetry]:
    telemetry = RecordingTelemetry()
    return oms.create(profile=profile, data=path, environ={}, telemetry=telemetry, **given), telemetry


def watched(app: oms.App, telemetry: RecordingTelemetry) -> tuple[TestClient, Seen]:
    client = TestClient(oms.asgi(app), base_url="http://localhost")
    return client, Seen(app, client, telemetry)


def test_a_worker_that_is_stuck(profile: str, tmp_path: Any) -> None:
    app, telemetry = running(profile, tmp_path)
    is_stuck, goes_on = threading.Event(), threading.Event()

    def handle(_event: oms.AnyEvent, _step: oms.StepContext) -> None:
        is_stuck.set()
        goes_on.wait(60)

    app.subscribe("order.created", group="slow", handler=handle)
    client, seen = watched(app, telemetry)
    with app, client:
        app.orders.place(app.draft("ann", 1, {"x": 1}))
        assert is_stuck.wait(10)
        try:
            seen.shows(Condition.WORKER_STUCK, "slow")
            (line,) = [one for one in telemetry.failures if one.event == "worker stuck"]
            assert "goes_on.wait" in str(line.fields["stack"]), "the log shows where"
        finally:
            goes_on.set()
        seen.recovers(Condition.WORKER_STUCK, "slow")


def test_a_topic_that_cannot_be_written(profile: str, tmp_path: Any) -> None:
    app, telemetry = running(profile, tmp_path)
    log: Any = app.system.container.broker()
    publish, refuses = log.publish, {"order.created"}

    def choosy(messages: list[Outgoing]) -> list[PortError | None]:
        reports = iter(publish([one for one in messages if one.topic not in refuses]))
        return [Retryable("no room") if one.topic in refuses else next(reports) for one in messages]

    log.publish = choosy
    client, seen = watched(app, telemetry)
    with app, client:
        app.orders.place(app.draft("ann", 1, {"x": 1}))
        seen.shows(Condition.OUTBOX_BLOCKED, "order")
        refuses.clear()
        seen.recovers(Condition.OUTBOX_BLOCKED, "order")


def test_an_outbox_that_does_not_move_for_another_reason(profile: str, tmp_path: Any) -> None:
    """The relay does nothing: no error says so, but the oldest message stays the oldest for longer than its lease."""
    app, telemetry = running(profile, tmp_path, outbox_lease_s=1)
    relay: Any = app.system.order.relay
    run_once = relay.run_once
    relay.run_once = lambda: 0
    client, seen = watched(app, telemetry)
    with app, client:
        app.orders.place(app.draft("ann", 1, {"x": 1}))
        seen.shows(Condition.OUTBOX_BLOCKED, "order", within_s=1 + 3 + 5)
        relay.run_once = run_once
        seen.recovers(Condition.OUTBOX_BLOCKED, "order")


@pytest.mark.parametrize("service", ["payment", "notification"])
def test_a_gateway_or_notifier_that_fails(profile: str, tmp_path: Any, service: str) -> None:
    is_well = threading.Event()

    def call(answer: Any) -> Any:
        if not is_well.is_set():
            raise OSError("away")
        return answer

    class Gateway(oms.PaymentGateway):
        def charge(self, _charge: oms.Charge) -> Any:
            return call(oms.Captured("p")) if service == "payment" else oms.Captured("p")

        def lookup(self, _lookup: oms.Lookup) -> Any:
            return call(oms.Captured("p"))

        def void(self, _void: oms.Void) -> Any:
            return oms.Voided()

        def refund(self, _refund: oms.Refund) -> Any:
            return oms.Refunded()

    class Notifier(oms.Notifier):
        def send(self, _notification: oms.Notification) -> None:
            if service == "notification":
                call(None)

    app, telemetry = running(profile, tmp_path, gateway=Gateway(), notifier=Notifier(), default_stock=10)
    client, seen = watched(app, telemetry)
    with app, client:
        app.orders.place(app.draft("ann", 1, {"x": 1}))
        seen.shows(Condition.CALLS_FAILING, service)
        is_well.set()
        seen.recovers(Condition.CALLS_FAILING, service)


def test_a_worker_that_ends_with_an_error(profile: str, tmp_path: Any) -> None:
    app, telemetry = running(profile, tmp_path)
    relay: Any = app.system.order.relay
    ended: list[object] = []

    def fails_for_good() -> int:
        raise AssertionError("a bug")

    hook, threading.excepthook = threading.excepthook, ended.append
    try:
        client, seen = watched(app, telemetry)
        with app, client:
            relay.run_once = fails_for_good
            seen.shows(Condition.WORKER_FAILED, "process")
    finally:
        threading.excepthook = hook
    assert len(ended) == 1


def test_a_system_that_is_not_started_says_so() -> None:
    app, telemetry = running("memory", "oms-data")
    client, seen = watched(app, telemetry)
    with client:
        assert seen.codes() == (503, ["starting"], [])
        with app:
            assert seen.codes() == (200, [], [])
        assert seen.codes() == (503, ["starting"], [])


# -- questions to servers


class Asked:
    """A watch over one question, whose answer a test decides."""

    def __init__(self) -> None:
        self.telemetry = RecordingTelemetry()
        self.record = HealthRecord(SystemClock(), self.telemetry)
        self.answer: Callable[[], object] = lambda: None
        self.count = 0

    def ask(self) -> None:
        self.count += 1
        self.answer()

    def __enter__(self) -> Asked:
        question = Probe("store", self.record.of("order"), [(Condition.STORE_UNAVAILABLE, self.ask)])
        self.watch = HealthWatch(self.record, [question], {}, stuck_after_s=4, telemetry=self.telemetry)
        self.watch.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.watch.stop()

    def problems(self) -> list[str]:
        return [problem.text for problem in self.record.report().not_ready]


def fails() -> None:
    raise Retryable("no route to host")


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_one_failed_answer_is_no_problem_yet_and_two_are(asked: Asked) -> None:
    def fails_once() -> None:
        asked.answer = lambda: None
        fails()

    with asked:
        asked.answer = fails_once
        before = asked.count
        eventually(lambda: asked.count >= before + 3, 10, asked.problems)
        assert asked.telemetry.failures == []
        asked.answer = fails
        eventually(lambda: asked.problems() == ["order: store: no route to host"], 5, asked.problems)
        asked.answer = lambda: None
        eventually(lambda: asked.problems() == [], 5, asked.problems)
        assert [line.event for line in asked.telemetry.notes] == ["recovered"]


def test_an_answer_that_does_not_come_is_a_problem(asked: Asked) -> None:
    comes = threading.Event()
    with asked:
        asked.answer = lambda: comes.wait(30)
        eventually(lambda: asked.problems() == ["order: store: no answer for 3 s"], 6, asked.problems)
        comes.set()
        eventually(lambda: asked.problems() == [], 5, asked.problems)


def test_a_bug_in_a_check_is_reported_like_a_failure(asked: Asked) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    with asked:
        asked.answer = bug
        eventually(lambda: asked.problems() == ["order: store: a bug"], 5, asked.problems)
