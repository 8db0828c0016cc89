"""Kills a start of an embedded system at each thing that it writes, and starts the system again.

`python killed_starts.py DIRECTORY EVERY FIRST`: every `EVERY`-th moment from `FIRST` on, of the first start of a new
system and of a later one with orders under way; 0 is `FIRST` alone. Prints how many moments there were. Each life is a process of its own,
forked from this one, which has no threads; a kill is SIGKILL right before a statement, a new file or changed rights.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import oms

EVENTS = {"os.mkdir", "os.chmod", "open"}


class Moments:
    """Counts what is about to be written, and kills this process at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0
        self._connect = sqlite3.connect
        sqlite3.connect = self._traced  # type: ignore[assignment]
        sys.addaudithook(self._heard)

    def _traced(self, *given: Any, **named: Any) -> sqlite3.Connection:
        connection = self._connect(*given, **named)
        connection.set_trace_callback(lambda _statement: self._passed())
        return connection

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and (event != "open" or int(arguments[2]) & os.O_CREAT):  # type: ignore[call-overload]
            self._passed()

    def _passed(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def life(directory: Path) -> None:
    app = oms.create(profile="embedded", environ={}, data=directory, log_level="error", payment_success_rate=1.0)
    app.make_extensions()
    app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    app.stop()


def forked(act: Callable[[], int]) -> int:
    """The exit code of a child that does this; a count above 255 comes through a pipe."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(act()).encode())
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as output:
        answer = output.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    assert status == 0, f"{status} {answer}"
    return int(answer)


def lived(directory: Path, at: int | None) -> int:
    moments = Moments(at)
    life(directory)
    return moments.count


def recovered(directory: Path) -> int:
    """Start again, and hold what is there against every promise."""
    life(directory)
    app = oms.create(profile="embedded", environ={}, data=directory, log_level="error")
    report = oms.verify(app.settings)
    assert report.whole, report
    return 0


def kill_each(start_from: Path | None, work: Path, every: int, first: int) -> int:
    def fresh() -> Path:
        shutil.rmtree(work, ignore_errors=True)
        if start_from is not None:
            shutil.copytree(start_from, work)
        return work

    moments = forked(lambda: lived(fresh(), None)) if every else first
    for at in range(first, moments + 1, every or 1):
        directory = fresh()
        ended = forked(partial(lived, directory, at))
        assert ended == -signal.SIGKILL, (at, ended)
        try:
            forked(partial(recovered, directory))
        except AssertionError:
            print(f"killed at moment {at} of {moments}", file=sys.stderr)
            raise
    return moments


if __name__ == "__main__":
    base, step, begin = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    new = kill_each(None, base / "new", step, begin)
    life_before = base / "before"
    forked(lambda: lived(life_before, None))
    print(new, kill_each(life_before, base / "later", step, begin))
