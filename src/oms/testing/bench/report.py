"""Results as a table for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from oms.testing.bench.floor import Pace
from oms.testing.bench.results import Result

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("scenario", "orders", "accepted/s", "completed/s", "floor/s", "ratio", "POST p50/p95/p99 ms", "confirmed ms")


def show(screen: Console, results: Sequence[Result], paces: Sequence[Pace]) -> None:
    """What was measured, and what it cost."""
    if paces:
        said = ", ".join(f"{one.orders_per_s:,.0f} at {one.batch} ({one.cpu_ms:.2f} CPU ms)" for one in paces)
        screen.print(f"floor, orders/s by size of batch: {said}")
    screen.print(_rates(results))
    screen.print(_costs(results))
    for result in results:
        for name, figure in result.notes.items():
            screen.print(f"{result.scenario}: {name} {figure:g}")


def _rates(results: Sequence[Result]) -> object:
    from oms.entrypoints.cli.output import table

    made = table(*COLUMNS)
    for one in results:
        post, confirmed = one.post_ms, one.confirmed_ms
        made.add_row(
            one.scenario,
            f"{one.orders:,}",
            f"{one.accepted_per_s:,.0f}",
            f"{one.completed_per_s:,.0f}",
            f"{one.floor_per_s:,.0f}",
            f"{one.ratio:.2f}",
            f"{post.p50:g} / {post.p95:g} / {post.p99:g}",
            f"{confirmed.p50:g} / {confirmed.p95:g} / {confirmed.p99:g}",
        )
    return made


def _costs(results: Sequence[Result]) -> object:
    from oms.entrypoints.cli.output import table

    names = list(dict.fromkeys(name for one in results for name in one.cpu_ms_per_order))
    made = table("CPU ms an order", *names, "sum")
    for one in results:
        cells = [f"{one.cpu_ms_per_order.get(name, 0.0):.2f}" for name in names]
        made.add_row(one.scenario, *cells, f"{sum(one.cpu_ms_per_order.values()):.2f}")
    made.add_row("")
    for one in results:
        made.add_row(f"{one.scenario}: MiB", *(f"{one.memory_mb.get(name, 0.0):.0f}" for name in names))
    return made


def machine() -> Mapping[str, object]:
    """Where this was measured."""
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
    """All of a run, for a file."""
    return {
        "machine": dict(machine),
        "floor": [attrs.asdict(pace) for pace in paces],
        "results": [{**attrs.asdict(one), "ratio": round(one.ratio, 3)} for one in results],
    }
