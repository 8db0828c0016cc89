"""The figures of a run, computed from the responses and the ends of its orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from oms.testing.bench.load import Answer
from oms.testing.bench.usage import Usage
from oms.testing.bench.watch import End


@attrs.frozen
class Quantiles:
    """Quantiles of latencies, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Quantiles:
        """Return the quantiles by the nearest-rank method; zeros if there are no latencies."""
        known = sorted(seconds)
        if not known:
            return cls(0.0, 0.0, 0.0)
        p50, p95, p99 = (known[min(len(known) - 1, int(share * len(known)))] * 1000 for share in (0.5, 0.95, 0.99))
        return cls(round(p50, 1), round(p95, 1), round(p99, 1))


@attrs.frozen
class Sample:
    """The resident memory of each service at rest in MiB, after `orders` orders."""

    orders: int
    resident_mb: Mapping[str, float]


@attrs.frozen
class Result:
    """One run. Rates are orders per second since the first request; CPU is milliseconds per order, by process."""

    scenario: str
    orders: int
    states: Mapping[str, int]
    accepted_per_s: float
    completed_per_s: float
    post_ms: Quantiles
    confirmed_ms: Quantiles
    """Time from the request to `order.confirmed` in the log; for shipped orders, from the shipment to their end."""

    cpu_ms_per_order: Mapping[str, float]
    memory_mb: Mapping[str, float]
    timeline: Sequence[tuple[float, int, int]]
    """Points (seconds since the first request, orders accepted by then, orders ended by then)."""

    prompt_per_s: float = 0.0
    prompt_ms: Quantiles | None = None
    """As `confirmed_ms`, but only for orders without a slow charge; None if no order has a slow charge."""

    floor_per_s: float = 0.0
    floor_batch_1_ms: float = 0.0
    notes: Mapping[str, float] = attrs.field(factory=dict)
    samples: Sequence[Sample] = ()
    take: int = 0
    """The number of the measurement, if a scenario is measured several times."""

    @property
    def title(self) -> str:
        """The scenario, with the number of the measurement."""
        return f"{self.scenario} ({self.take})" if self.take else self.scenario

    @property
    def cpu_ms(self) -> float:
        """CPU time per order in milliseconds, of all processes except the load."""
        return sum(ms for name, ms in self.cpu_ms_per_order.items() if name != "load")

    @property
    def ratio(self) -> float:
        """The rate of completed orders as a fraction of the floor's rate in the same run."""
        return self.completed_per_s / self.floor_per_s if self.floor_per_s else 0.0


def result_of(
    scenario: str,
    answers: Sequence[Answer],
    ends: Mapping[str, End],
    before: Mapping[str, Usage],
    after: Mapping[str, Usage],
) -> Result:
    """Compute the figures of a run; without `ends`, only those of the acceptance."""
    accepted = [answer for answer in answers if answer.status == 201]
    ended = [(answer, ends[answer.order]) for answer in accepted if answer.order in ends]
    began = min(answer.due_at for answer in answers)
    count = len(accepted)
    prompt = [(answer, end) for answer, end in ended if not answer.slow]
    some_slow = len(prompt) < len(ended)
    used = {name: usage.since(before.get(name, Usage())) for name, usage in after.items()}
    return Result(
        scenario=scenario,
        orders=count,
        states=Counter(end.state for _, end in ended),
        accepted_per_s=_rate(count, max(answer.answered_at for answer in answers) - began),
        completed_per_s=_completed(ended, began),
        post_ms=Quantiles.of([answer.answered_at - answer.due_at for answer in accepted]),
        confirmed_ms=_confirmed(ended),
        cpu_ms_per_order={name: round(usage.cpu_s * 1000 / max(1, count), 3) for name, usage in used.items()},
        memory_mb={name: round(usage.memory_mb, 1) for name, usage in used.items()},
        timeline=_timeline(began, [answer.answered_at for answer in accepted], [end.at for _, end in ended]),
        prompt_per_s=_completed(prompt, began) if some_slow else 0.0,
        prompt_ms=_confirmed(prompt) if some_slow else None,
    )


def _completed(ended: Sequence[tuple[Answer, End]], began: float) -> float:
    return _rate(len(ended), max((end.at for _, end in ended), default=began) - began)


def _confirmed(ended: Sequence[tuple[Answer, End]]) -> Quantiles:
    return Quantiles.of([end.at - answer.due_at for answer, end in ended if end.state in ("CONFIRMED", "COMPLETED")])


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds > 0 else 0.0


def _timeline(began: float, accepted: Sequence[float], ended: Sequence[float]) -> list[tuple[float, int, int]]:
    """Return a point for about each fiftieth of the run."""
    last = max([*accepted, *ended], default=began)
    step = max(0.05, (last - began) / 50)
    points = []
    moment = step
    while moment < last - began + step:
        until = began + moment
        points.append((round(moment, 2), sum(at <= until for at in accepted), sum(at <= until for at in ended)))
        moment += step
    return points
