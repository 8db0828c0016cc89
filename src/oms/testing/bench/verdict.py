"""Compares the results of a run with the performance that the system should have."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

import attrs

from oms.testing.bench import scenarios
from oms.testing.bench.results import Result, Sample

ENOUGH_PER_S = 500.0
"""Orders per second that are enough with a slow gateway, even if a burst is faster."""

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


@attrs.frozen
class Figure:
    """One requirement: `measured` must be at least, at most or exactly `wanted`, by the operator `how`."""

    name: str
    measured: float
    how: str
    wanted: float

    @property
    def holds(self) -> bool:
        """Whether the requirement is met."""
        return _HOLDS[self.how](self.measured, self.wanted)


def verdict(results: Sequence[Result]) -> Sequence[Figure]:
    """Return each requirement that these results allow to check; several measurements count by their median."""
    takes: dict[str, list[Result]] = {}
    for result in results:
        takes.setdefault(result.scenario, []).append(result)
    return [figure for judge in _JUDGES for figure in judge(takes)]


Takes = Mapping[str, Sequence[Result]]


def _throughput(takes: Takes) -> Iterator[Figure]:
    for result in takes.get(scenarios.BURST, ()):
        if result.floor_per_s:
            yield Figure("burst: completed/s over the floor", round(result.ratio, 3), ">=", 0.5)
    for result in takes.get(scenarios.ACCEPT, ()):
        yield Figure("accept: accepted/s over pgbench", result.notes["ratio"], ">=", 0.4)
    for result in takes.get(scenarios.EMBEDDED, ()):
        yield Figure("embedded: completed/s over SQLite's commits", round(result.ratio, 3), ">=", 0.4)


def _latency(takes: Takes) -> Iterator[Figure]:
    for result in takes.get(scenarios.STEADY, ()):
        if serial_ms := result.floor_batch_1_ms:
            seen = result.confirmed_ms
            yield Figure("steady: p50 over the floor's at batch 1", _share(seen.p50, serial_ms), "<=", 2.0)
            yield Figure("steady: p99 over the floor's at batch 1", _share(seen.p99, serial_ms), "<=", 10.0)


def _slow(takes: Takes) -> Iterator[Figure]:
    enough = min([ENOUGH_PER_S, *(result.completed_per_s for result in takes.get(scenarios.BURST, ()))])
    for result in takes.get(scenarios.GATEWAY, ()):
        yield Figure("slow gateway: completed/s", result.completed_per_s, ">=", enough)
    for quick, slow in zip(takes.get(scenarios.GATEWAY, ()), takes.get(scenarios.SLOW, ()), strict=False):
        if slow.prompt_ms is not None:
            yield Figure("1% take 10 s: completed/s of the others", slow.prompt_per_s, ">=", enough)
            share = _share(slow.prompt_ms.p99, quick.confirmed_ms.p99)
            yield Figure("1% take 10 s: p99 of the others, over a run without", share, "<=", 1.5)


def _size(takes: Takes) -> Iterator[Figure]:
    few, many = takes.get(scenarios.FEW, ()), takes.get(scenarios.MANY, ())
    if few and many:
        rates, costs = (_medians(few, many, of) for of in (_completed, _cpu))
        yield Figure("history: completed/s over that of few orders", _share(*rates), ">=", 0.9)
        yield Figure("history: CPU an order over that of few orders", _share(*costs), "<=", round(1 / 0.9, 2))
    for result in takes.get("memory", ()):
        first, last = result.samples[0], result.samples[-1]
        for name, grown in growth(result.samples).items():
            yield Figure(f"memory: {name}, {first.orders:,} to {last.orders:,} orders", grown, "<=", 1.1)


def _others(takes: Takes) -> Iterator[Figure]:
    for result in takes.get(scenarios.HOT_ONE, ()):
        yield Figure("hot: confirmed of 100, no drift", result.states.get("CONFIRMED", 0), "=", 100)
    for one, two in zip(takes.get(scenarios.ONE, ()), takes.get(scenarios.TWO, ()), strict=False):
        yield Figure("workers: 2 over 1, completed/s", _share(two.completed_per_s, one.completed_per_s), ">=", 1.0)


_JUDGES = (_throughput, _latency, _slow, _size, _others)


def growth(samples: Sequence[Sample]) -> Mapping[str, float]:
    """Return the growth of each service: its resident memory after the last wave divided by that after the first."""
    first, last = samples[0].resident_mb, samples[-1].resident_mb
    return {name: _share(last[name], mb) for name, mb in first.items()}


def _medians(few: Sequence[Result], many: Sequence[Result], of: Callable[[Result], float]) -> tuple[float, float]:
    return median(map(of, many)), median(map(of, few))


def _completed(result: Result) -> float:
    return result.completed_per_s


def _cpu(result: Result) -> float:
    return result.cpu_ms


def _share(one: float, other: float) -> float:
    return round(one / other, 3) if other else 0.0
