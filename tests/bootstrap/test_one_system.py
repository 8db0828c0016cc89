"""However many threads ask first, an app puts its system together once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import oms
from oms.bootstrap import app as front
from oms.ports.errors import Retryable

THREADS = 8


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The systems that were built, slowly."""
    made: list[Any] = []
    build = front.build

    def slowly(*given: Any) -> Any:
        time.sleep(0.05)
        made.append(build(*given))
        return made[-1]

    monkeypatch.setattr(front, "build", slowly)
    return made


def test_commands_of_many_threads_meet_in_one(built: list[Any]) -> None:
    app = oms.create(profile="memory")
    start, seen = threading.Barrier(THREADS), []

    def ask() -> None:
        start.wait()
        seen.append(app.system)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert all(one is built[0] for one in seen)
    assert len(seen) == THREADS


def test_requests_during_a_start_are_told_to_come_again(built: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "check_servers", lambda *_: [])
    app = oms.create(profile="memory")
    refused, seen = [0], []

    def ask() -> None:
        while not seen:
            try:
                seen.append(app.system)
            except Retryable:
                refused[0] += 1
                time.sleep(0.001)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    app.start_when_reachable()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.stop()
    assert order.id
    assert len(built) == 1
    assert refused[0] > 0


def test_an_end_makes_nothing_that_wasnt_used() -> None:
    """A gateway that only the payment service can reach isn't missed by the order service."""
    app = oms.create(
        profile="memory", services=["order"], payment_gateway="nowhere:Gateway", notifier="nowhere:Notifier"
    )
    assert set(app.system.assemblies) == {"order"}
    app.stop()
