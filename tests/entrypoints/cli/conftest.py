from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import oms
from oms.entrypoints.cli import main
from tests.support.command_line import Done, Run
from tests.support.processes import Served, serve


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts `oms serve` as a process of its own; what still runs at the end is killed."""
    started: list[Served] = []

    def make(data: Path | None = None, *, wait: bool = True, **more: str) -> Served:
        served = serve(tmp_path / f"run{len(started)}", data or tmp_path / "data", **more)
        started.append(served)
        if wait:
            served.wait_for_start()
        return served

    yield make
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait(10)


@pytest.fixture
def run(system: tuple[oms.App, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against the system of the module, which is an app and its address."""
    monkeypatch.setenv("OMSCTL_URL", system[1])

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        out, err = capsys.readouterr()
        return Done(ended.value.code or 0, out, err)

    return run
