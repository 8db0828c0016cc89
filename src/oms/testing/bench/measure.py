"""One measurement: places orders from separate processes, and waits until every accepted order has ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import msgspec

from oms.testing.bench.deployment import BenchFailed, Deployment
from oms.testing.bench.load import Answer, Plan
from oms.testing.bench.results import Result, result_of
from oms.testing.bench.usage import Usage, usage_of
from oms.testing.bench.watch import Watch

ProgressCallback = Callable[[int], None]
"""Called with the number of orders that have ended."""


@attrs.frozen
class Load:
    """The load: `orders` at once or at a rate; `kind` is the argument of `orders.body`.

    Every order must be accepted, unless `some_refused`: on a machine that is busy with other work, a service may refuse
    some for the time being. With `placed`, confirmed orders are shipped and partly refunded (see `Plan`).
    """

    orders: int
    connections: int = 64
    rate_per_s: float = 0.0
    kind: str = ""
    processes: int = 1
    first: int = 0
    some_refused: bool = False
    placed: Sequence[str] = ()


def measure(
    scenario: str,
    deployment: Deployment,
    watch: Watch | None,
    load: Load,
    *,
    settle_s: float,
    progress: ProgressCallback,
) -> Result:
    """Place the orders and wait until all have ended; without a watch, until all have a response."""
    already = watch.look() if watch else 0
    before = deployment.usage()
    buyers = [_started(deployment, load, number) for number in range(load.processes)]
    used: dict[str, Usage] = {}
    try:
        until = time.monotonic() + settle_s
        while any(process.poll() is None for process, _ in buyers):
            used["load"] = sum((usage_of(process.pid) for process, _ in buyers), Usage())
            _look(watch, already, progress)
            _in_time(until, "the orders weren't accepted")
        answers = [answer for process, results in buyers for answer in _answers(process, results)]
        refused = sum(answer.status != 201 for answer in answers)
        requests, answers = len(answers), [answer for answer in answers if not answer.more]
        accepted = sum(answer.status == 201 for answer in answers)
        until = time.monotonic() + settle_s
        while watch is not None and _look(watch, already, progress) < accepted:
            _in_time(until, "the orders didn't end")
    finally:
        for process, _ in buyers:
            process.kill()
            process.wait()
    if refused and not load.some_refused:
        raise BenchFailed(f"{refused} of {requests} requests weren't accepted")
    ends = watch.ends if watch else {}
    if watch and not all(answer.order in ends for answer in answers if answer.status == 201):
        raise BenchFailed("orders of somebody else ended meanwhile")
    return result_of(scenario, answers, ends, before, {**deployment.usage(), **used})


def _look(watch: Watch | None, already: int, progress: ProgressCallback) -> int:
    if watch is None:
        time.sleep(0.05)
        return 0
    ended = watch.look() - already
    progress(ended)
    return ended


def _in_time(until: float, what: str) -> None:
    if time.monotonic() > until:
        raise BenchFailed(f"{what} in time")


def _started(deployment: Deployment, load: Load, number: int) -> tuple[subprocess.Popen[bytes], Path]:
    results = deployment.directory / f"answers-{number}.json"
    share = load.orders // load.processes + (number < load.orders % load.processes)
    host, port = deployment.addresses[number % len(deployment.addresses)]
    plan = Plan(
        host,
        port,
        str(results),
        share,
        max(1, load.connections // load.processes),
        load.rate_per_s / load.processes,
        load.kind,
        load.first + number,
        load.processes,
        tuple(load.placed),
    )
    command = [sys.executable, "-m", "oms.testing.bench.load"]
    process = subprocess.Popen(command, env=dict(deployment.environ), stdin=subprocess.PIPE)  # noqa: S603 - our own program
    if process.stdin is not None:
        process.stdin.write(msgspec.json.encode(plan))
        process.stdin.close()
    return process, results


def _answers(process: subprocess.Popen[bytes], results: Path) -> Sequence[Answer]:
    if process.returncode != 0:
        raise BenchFailed("a process of the load failed; it says above why")
    return msgspec.json.decode(results.read_bytes(), type=list[Answer])
