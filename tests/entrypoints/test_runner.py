"""Stopping is bounded as a whole, whatever hangs."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from oms.adapters.system.bells import Bells
from oms.adapters.system.clock import SystemClock
from oms.entrypoints.runner import Runner


def test_workers_that_hang_share_one_deadline() -> None:
    release = threading.Event()
    hanging = SimpleNamespace(worker=SimpleNamespace(run_once=lambda: int(release.wait(30)), next_due=lambda: None))
    runner = Runner(dict.fromkeys("abcde", hanging), Bells(), SystemClock(), lambda _name, _error: None)
    runner.start()
    began = time.monotonic()
    try:
        assert not runner.stop(0.5)
        assert time.monotonic() - began < 2.0, "five workers one after the other would take 2.5 s"
    finally:
        release.set()
