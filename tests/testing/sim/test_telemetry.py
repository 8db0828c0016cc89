"""Telemetry that fails at every call changes nothing: the same seeds are the same runs, to the byte."""

from __future__ import annotations

import pytest

from oms.application.extensions.telemetry import CheckedTelemetry
from oms.ports.telemetry import Telemetry
from oms.testing.sim import simulated_system
from oms.testing.sim.campaign import traces


class Failing(Telemetry):
    """Raises the given exception, which may also be a `BaseException`."""

    def __init__(self) -> None:
        self.calls = 0

    def _fail(self) -> None:
        self.calls += 1
        raise (SystemExit if self.calls % 3 == 0 else OSError)("no space left on the device")

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        self._fail()

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._fail()

    def note(self, event: str, **fields: object) -> None:
        self._fail()

    def failure(self, event: str, error: BaseException | None = None, /, **fields: object) -> None:
        self._fail()

    def alert(self, event: str, **fields: object) -> None:
        self._fail()


def compare(monkeypatch: pytest.MonkeyPatch, seeds: int) -> None:
    silent = traces(range(seeds))
    made: list[Failing] = []

    def failing() -> CheckedTelemetry:
        made.append(Failing())
        return CheckedTelemetry(made[-1])

    monkeypatch.setattr(simulated_system, "Silence", failing)
    assert traces(range(seeds)) == silent
    assert sum(one.calls for one in made) > 10 * seeds


def test_failing_signals_change_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, 50)


@pytest.mark.hunts
@pytest.mark.timeout(1800)
def test_failing_signals_change_none_of_two_thousand_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, 2000)
