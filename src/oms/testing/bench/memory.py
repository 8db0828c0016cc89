"""Places orders in waves and measures the resident memory of each service after each wave: it must not grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import msgspec

from oms.testing.bench.bench import Bench
from oms.testing.bench.results import Result, Sample

WAVE = 10_000
"""Orders in each wave; a tenth of all orders if that is less."""

REST_S = 3.0
"""Time after a wave during which memory is measured, in seconds; the lowest value counts."""


def memory(bench: Bench) -> Iterator[Result]:
    """Place waves until all orders are placed; write each sample to `memory.jsonl` in the run's directory at once."""
    orders, wave = bench.options.orders, min(WAVE, max(1, bench.options.orders // 10))
    progress, began, samples, placed = bench.progress("memory", orders), time.monotonic(), list[Sample](), 0
    with bench.running() as system:
        for done in range(0, orders, wave):
            load = attrs.evolve(bench.load, orders=min(wave, orders - done), first=done, some_refused=True)
            result = bench.watched("memory", system, load, lambda ended, done=done: progress(done + ended))  # type: ignore[misc]
            placed += result.orders
            samples.append(Sample(placed, _at_rest(system.resident_mb)))
            _note(bench.directory / "memory.jsonl", samples[-1], time.monotonic() - began, result.completed_per_s)
            if done == 0:
                system.verify(bench.options.patience_s)
        system.verify(bench.options.patience_s)
    yield attrs.evolve(result, samples=samples)


def _at_rest(resident_mb: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    until, least = time.monotonic() + REST_S, dict(resident_mb())
    while time.monotonic() < until:
        time.sleep(REST_S / 6)
        least = {name: min(now, least[name]) for name, now in resident_mb().items()}
    return {name: round(mb, 1) for name, mb in least.items()}


def _note(path: Path, sample: Sample, seconds: float, per_s: float) -> None:
    seen = {"orders": sample.orders, "seconds": round(seconds, 1), "completed_per_s": per_s, "load": os.getloadavg()[0]}
    with path.open("ab") as file:
        file.write(msgspec.json.encode({**seen, "resident_mb": sample.resident_mb}) + b"\n")
