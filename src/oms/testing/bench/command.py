"""`oms bench`, and `python -m oms.testing.bench`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

if TYPE_CHECKING:
    from oms.testing.bench.bench import Bench, Options

DISTRIBUTED = ("burst", "steady", "accept", "fulfil", "hot", "slow", "workers", "memory", "history")


def bench(
    *scenarios: Annotated[
        str,
        Parameter(
            help="burst, steady, embedded, accept, fulfil, hot, slow, workers, memory, history. "
            "Default: burst and steady."
        ),
    ],
    orders: Annotated[int, Parameter(help="Number of orders in each run.")] = 5000,
    connections: Annotated[int, Parameter(help="Number of connections; each sends one request at a time.")] = 256,
    rate: Annotated[float, Parameter(help="Orders per second in `steady`.")] = 200.0,
    history: Annotated[int, Parameter(help="Number of orders in the tables before `history` begins.")] = 1_000_000,
    floor: Annotated[bool, Parameter(help="Also measure the bare drivers, and compare the results with them.")] = True,
    patience: Annotated[
        float, Parameter(help="Time limit until all orders are accepted, and again until all have ended, in seconds.")
    ] = 300.0,
    least: Annotated[
        float,
        Parameter(
            help="Exit with 1 if completed orders per second, divided by those of the bare drivers, are below this."
        ),
    ] = 0.0,
    url: Annotated[
        str | None, Parameter(help="URL of a running system to measure; the OMS_... variables name its servers.")
    ] = None,
    json: Annotated[Path | None, Parameter(help="File for all figures, as JSON.")] = None,
    svg: Annotated[Path | None, Parameter(help="Directory for charts, as SVG.")] = None,
    keep: Annotated[
        Path | None,
        Parameter(help="New or empty directory for data and logs, which are kept. Default: a temporary directory."),
    ] = None,
) -> int:
    """Measure throughput, latency and CPU time, and compare them with the bare drivers. Starts its own servers."""
    from oms.entrypoints.cli.output import console, give_up
    from oms.testing.bench.bench import Options
    from oms.testing.bench.deployment import BenchFailed
    from oms.testing.bench.report import as_json, machine, show
    from oms.testing.bench.scenarios import SCENARIOS

    chosen = scenarios or ("burst", "steady")
    unknown = sorted(set(chosen) - set(SCENARIOS))
    if unknown:
        give_up(f"there is no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}", 2)
    where, screen = machine(), console()
    options = Options(orders, connections, rate, history, patience, floor=floor)
    results = []
    try:
        with _bench(options, chosen, url, keep) as made:
            for name in (one for one in SCENARIOS if one in chosen):
                results += list(SCENARIOS[name](made))
    except BenchFailed as failed:
        give_up(str(failed), 1)
    show(screen, results, made.paces)
    if json is not None:
        _write_json(json, as_json(results, made.paces, where))
    if svg is not None:
        from oms.testing.bench.charts import draw

        draw(svg, results)
    return 1 if any(one.floor_per_s and one.ratio < least for one in results) else 0


@contextmanager
def _bench(options: Options, chosen: tuple[str, ...], url: str | None, keep: Path | None) -> Iterator[Bench]:
    import os
    import signal
    import tempfile

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from oms.testing.bench import deployment
    from oms.testing.bench.bench import Bench
    from oms.testing.bench.deployment import BenchFailed, Deployment

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that services and servers are stopped too
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oms-bench-")))
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise BenchFailed(f"--keep {directory} isn't a new or empty directory")
        bars = stack.enter_context(Progress(*columns, console=Console(stderr=True)))

        def progress(title: str, total: int) -> Any:
            bar = bars.add_task(title, total=total)
            return lambda ended: bars.update(bar, completed=ended)

        made = Bench(directory, options, progress)
        if url is not None:
            at = urlsplit(url)
            address = at.hostname or "127.0.0.1", at.port or 8081
            made.given = Deployment(directory, dict(os.environ), given=address)
        elif any(name in DISTRIBUTED for name in chosen):
            made.own = stack.enter_context(deployment.servers())
        yield made


def _write_json(path: Path, figures: object) -> None:
    import msgspec

    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
