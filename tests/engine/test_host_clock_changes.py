"""What waits within a process goes on when the host's clock is set: back by an hour, or forward."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

import oms
from oms.adapters.memory import ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.engine.service import Runnable
from oms.engine.worker import Retention, Worker
from oms.testing import Shop

HOUR = timedelta(hours=1)


class HostClock(ManualClock):
    """The clock of a host: setting it changes the wall-clock time only, not the monotonic time."""

    def __init__(self) -> None:
        super().__init__()
        self._set_by = timedelta()

    def set_by(self, by: timedelta) -> None:
        """An operator, or the service that keeps the time."""
        self._set_by += by
        self.set(self.now() + by)

    def steady(self) -> datetime:
        return self.now() - self._set_by


@pytest.fixture
def clock() -> HostClock:
    return HostClock()


def test_a_step_that_backs_off_is_tried_again_in_its_time(clock: HostClock) -> None:
    class Failing(Runnable):
        tries = 0

        def run_once(self) -> int:
            self.tries += 1
            raise oms.Retryable("away")

    step = Failing()
    worker = Worker("w", [step], clock, RecordingTelemetry())
    worker.run_once()
    clock.set_by(-HOUR)
    clock.advance(timedelta(seconds=6))
    worker.run_once()
    assert step.tries == 2
    clock.set_by(2 * HOUR)
    worker.run_once()
    assert step.tries == 2, "an hour that didn't pass isn't waited for"


def test_old_rows_go_in_their_time_by_the_date_of_the_host(clock: HostClock) -> None:
    asked: list[datetime] = []
    retention = Retention(lambda now, _limit: len(asked.append(now) or ()), clock)
    clock.set_by(-HOUR)
    clock.advance(HOUR)
    retention.run_once()
    assert asked == [clock.now()]


def test_a_deferred_message_is_handled_in_its_time(clock: HostClock) -> None:
    seen: list[str] = []

    def handle(event: oms.AnyEvent, _step: oms.StepContext) -> None:
        seen.append(event.order_id)
        if len(seen) == 1:
            raise oms.Retryable("not yet")

    shop = Shop(clock=clock)
    shop.app.subscribe("order.created", group="own", handler=handle)
    shop.place()
    shop.run()
    clock.set_by(-HOUR)
    clock.advance(timedelta(seconds=1))
    shop.run()
    assert len(seen) == 2


def test_messages_that_the_broker_refused_are_sent_in_their_time(clock: HostClock, monkeypatch: Any) -> None:
    shop = Shop(clock=clock)
    relay, away = shop.app.system.assemblies["order"].relay, [True]
    publish = relay._broker.publish

    def refused(messages: Sequence[Any]) -> Sequence[Any]:
        return [oms.Retryable("away") for _ in messages] if away[0] else publish(messages)

    monkeypatch.setattr(relay._broker, "publish", refused)
    order = shop.place()
    shop.run()
    away[0] = False
    clock.set_by(-HOUR)
    clock.advance(timedelta(seconds=1))
    shop.run()
    assert shop.status(order) == "CONFIRMED"


@pytest.mark.parametrize("look", ["claim_tasks", "claim_outbox", "backlog"])
def test_what_others_left_is_looked_for_in_time(clock: HostClock, monkeypatch: Any, look: str) -> None:
    shop = Shop(clock=clock)
    shop.run()
    store = shop.app.system.assemblies["payment"].service.store
    looks, found = [0], getattr(store, look)

    def counted(*given: Any) -> Any:
        looks[0] += 1
        return found(*given)

    monkeypatch.setattr(store, look, counted)
    clock.set_by(-HOUR)
    clock.advance(timedelta(seconds=2))
    shop.run()
    assert looks[0] > 0
