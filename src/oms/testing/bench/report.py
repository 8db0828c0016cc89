"""Shows results as tables, and writes them as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from oms.testing.bench.floor import Pace
from oms.testing.bench.results import Quantiles, Result, Sample
from oms.testing.bench.verdict import Figure, growth, verdict

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("scenario", "orders", "accepted/s", "completed/s", "floor/s", "ratio", "POST p50/p95/p99 ms", "confirmed ms")


def show(screen: Console, results: Sequence[Result], paces: Sequence[Pace]) -> None:
    """Print the figures and the CPU time per order."""
    if paces:
        said = ", ".join(f"{one.orders_per_s:,.0f} at {one.batch} ({one.cpu_ms:.2f} CPU ms)" for one in paces)
        screen.print(f"floor, orders/s by size of batch: {said}")
    screen.print(_rates(results))
    screen.print(_costs(results))
    for result in results:
        for name, figure in result.notes.items():
            screen.print(f"{result.title}: {name} {figure:g}")
        if result.prompt_ms is not None:
            screen.print(
                f"{result.title}: without slow charges {result.prompt_per_s:,.0f}/s, {_three(result.prompt_ms)} ms"
            )
        if result.samples:
            screen.print(_memory(result.samples))
    if figures := verdict(results):
        screen.print(_figures(figures))


def _rates(results: Sequence[Result]) -> object:
    from oms.entrypoints.cli.output import table

    made = table(*COLUMNS)
    for one in results:
        made.add_row(
            one.title,
            f"{one.orders:,}",
            f"{one.accepted_per_s:,.0f}",
            f"{one.completed_per_s:,.0f}",
            f"{one.floor_per_s:,.0f}",
            f"{one.ratio:.2f}",
            _three(one.post_ms),
            _three(one.confirmed_ms),
        )
    return made


def _three(found: Quantiles) -> str:
    return f"{found.p50:g} / {found.p95:g} / {found.p99:g}"


def _memory(samples: Sequence[Sample]) -> object:
    """Return a table of the memory after the first wave, after each doubling of the waves, and after the last wave."""
    from oms.entrypoints.cli.output import table

    shown = [samples[at - 1] for at in _doublings(len(samples))]
    made = table("MiB at rest, after", *(f"{one.orders:,}" for one in shown), "ratio")
    for name, grown in growth(samples).items():
        made.add_row(name, *(f"{one.resident_mb[name]:.0f}" for one in shown), f"{grown:.2f}")
    return made


def _doublings(count: int) -> Sequence[int]:
    return [*(2**power for power in range(count.bit_length()) if 2**power < count), count]


def _figures(figures: Sequence[Figure]) -> object:
    from oms.entrypoints.cli.output import table

    made = table("wanted", "", "", "measured", "")
    for one in figures:
        made.add_row(one.name, one.how, f"{one.wanted:g}", f"{one.measured:g}", "holds" if one.holds else "falls short")
    return made


def _costs(results: Sequence[Result]) -> object:
    from oms.entrypoints.cli.output import table

    names = list(dict.fromkeys(name for one in results for name in one.cpu_ms_per_order))
    made = table("CPU ms an order", *names, "sum")
    for one in results:
        cells = [f"{one.cpu_ms_per_order.get(name, 0.0):.2f}" for name in names]
        made.add_row(one.title, *cells, f"{sum(one.cpu_ms_per_order.values()):.2f}")
    made.add_row("")
    for one in results:
        made.add_row(f"{one.title}: MiB", *(f"{one.memory_mb.get(name, 0.0):.0f}" for name in names))
    return made


def machine() -> Mapping[str, object]:
    """Return the properties of this machine."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "")
    return {
        "cpus": os.cpu_count() or 0,
        "cpu": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def as_json(results: list[Result], paces: list[Pace], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return all figures of a run."""
    return {
        "machine": dict(machine),
        "floor": [attrs.asdict(pace) for pace in paces],
        "results": [{**attrs.asdict(one), "ratio": round(one.ratio, 3)} for one in results],
        "verdict": [{**attrs.asdict(one), "holds": one.holds} for one in verdict(results)],
    }
