"""The scenarios: each deploys a system, places orders, and compares the result."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs

from oms.testing.bench import deployment, pgbench
from oms.testing.bench.bench import WARM, Bench
from oms.testing.bench.deployment import STOCKED, BenchFailed, Deployment
from oms.testing.bench.floor import Floor
from oms.testing.bench.measure import Load
from oms.testing.bench.memory import memory
from oms.testing.bench.orders import HOT
from oms.testing.bench.results import Result
from oms.testing.bench.watch import FileWatch

BURST, STEADY, EMBEDDED, ACCEPT, HOT_ONE = "burst", "steady", "embedded", "accept", "hot"
FULFIL = "fulfil"
GATEWAY, SLOW = "slow gateway", "slow gateway, 1% take 10 s"
ONE, TWO, FOUR = (f"{each} of each service" for each in (1, 2, 4))
FEW, MANY = "few orders", "history"
"""The names of the results of `history`."""

TAKES = 3
"""How often `history` measures both cases, in turn, because the load of the machine changes."""


def burst(bench: Bench) -> Iterator[Result]:
    """Place all orders at once, on one process of each service."""
    with bench.running() as system:
        yield bench.measured(BURST, system, bench.load)


def steady(bench: Bench) -> Iterator[Result]:
    """Place orders at a fixed rate."""
    with bench.running() as system:
        yield bench.measured(STEADY, system, attrs.evolve(bench.load, rate_per_s=bench.options.rate_per_s))


def fulfil(bench: Bench) -> Iterator[Result]:
    """Ship confirmed orders all at once, each with one command, and refund a part of every fourth one."""
    with bench.running() as system:
        yield bench.fulfilled(FULFIL, system, bench.load)


def hot(bench: Bench) -> Iterator[Result]:
    """Place orders that all want one product, which has 100 units."""
    with bench.running() as system:
        stocked = system.oms("stock", "set", HOT, "100", "--url", _url(system, "inventory"))
        if stocked.returncode != 0:
            raise BenchFailed(f"oms stock set: {stocked.stderr}")
        result = bench.measured(HOT_ONE, system, attrs.evolve(bench.load, kind="hot"))
        if result.states.get("CONFIRMED") != 100:
            raise BenchFailed(f"not exactly 100 were sold: {dict(result.states)}")
        compared = system.oms("reconcile")
        if compared.returncode != 0:
            raise BenchFailed(f"gate, ledger and orders differ: {compared.stdout}{compared.stderr}")
        yield result


def slow(bench: Bench) -> Iterator[Result]:
    """Place orders with a gateway that takes 200 ms per charge, without and with 1% of charges that take 10 s."""
    script = bench.directory / "slow.json"
    script.write_text(json.dumps([{"user": "slow", "behaviour": "delay", "seconds": 10}]))
    gateway = {
        "OMS_PAYMENT_DELAY_MS": "200",
        "OMS_PAYMENT_CALLS": "512",
        "OMS_PAYMENT_TIMEOUT_S": "15",
        "OMS_PAYMENT_SCRIPT": str(script),
    }
    for kind, name in (("", GATEWAY), ("slow", SLOW)):
        with bench.running(settings=gateway) as system:
            yield bench.measured(name, system, attrs.evolve(bench.load, kind=kind))


def history(bench: Bench) -> Iterator[Result]:
    """Run the same burst with few and with very many orders in the tables, in turn, on two sets of servers."""
    bench.servers()
    with deployment.servers() as others:
        full = bench.with_servers(others, "history")
        took_s = _fill(full)
        for take in range(1, TAKES + 1):
            for name, one in ((FEW, bench), (MANY, full)):
                with one.running() as system:
                    result = one.measured(name, system, one.load, verified=one is bench)
                notes = {} if one is bench else {f"seconds to fill in {bench.options.history:,} orders": took_s}
                yield attrs.evolve(result, take=take, notes={**result.notes, **notes})


def workers(bench: Bench) -> Iterator[Result]:
    """Run the same burst with 1, 2 and 4 processes of each service."""
    for each, name in ((1, ONE), (2, TWO), (4, FOUR)):
        with bench.running(each=each) as system:
            yield bench.measured(name, system, attrs.evolve(bench.load, processes=each))


def accept(bench: Bench) -> Iterator[Result]:
    """Measure how fast the order service alone accepts orders, compared with pgbench writing the same rows."""
    system = bench.system()
    system.start(["order"])
    try:
        bench.placed("warm-up", system, None, Load(WARM, bench.options.connections))
        result = bench.placed(ACCEPT, system, None, bench.load)
    finally:
        system.stop()
    bench.drain(system)
    rate = pgbench.rate(bench.floor_url(), bench.directory)
    yield attrs.evolve(result, notes={"pgbench_per_s": rate, "ratio": round(result.accepted_per_s / rate, 3)})


def embedded(bench: Bench) -> Iterator[Result]:
    """Measure `oms serve`, compared with SQLite's own rate of durable commits of one row."""
    directory = bench.directory / f"embedded-{time.monotonic_ns()}"
    directory.mkdir()
    rate = single_row_commits(directory)
    system = deployment.embedded(directory, STOCKED)
    try:
        watch = FileWatch(directory / "data")
        bench.placed("warm-up", system, watch, Load(WARM, bench.options.connections))
        result = bench.placed(EMBEDDED, system, watch, bench.load)
        system.verify(bench.options.patience_s)
    finally:
        system.stop()
    yield attrs.evolve(result, floor_per_s=round(rate, 1))


Scenario = Callable[[Bench], Iterator[Result]]

SCENARIOS: Mapping[str, Scenario] = {
    "burst": burst,
    "steady": steady,
    "embedded": embedded,
    "accept": accept,
    "fulfil": fulfil,
    "hot": hot,
    "slow": slow,
    "workers": workers,
    "memory": memory,
    "history": history,
}
"""All scenarios in the order in which they run; `history` is last, because its rows have no messages."""


def single_row_commits(directory: Path, seconds: float = 2.0) -> float:
    """Return SQLite's durable commits (WAL, synchronous=FULL) per second, of one row each, on one connection."""
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        connection.execute("INSERT INTO rows (body) VALUES (?)", ("x" * 200,))
        count += 1
    connection.close()
    return count / (now - began)


def _fill(bench: Bench) -> float:
    """Write the rows of ended orders, and vacuum as autovacuum would have done over time; returns the seconds taken."""
    import psycopg

    bench.system()
    began, progress, made, url = (
        time.monotonic(),
        bench.progress("history", bench.options.history),
        0,
        bench.database_url("oms"),
    )
    floor = Floor(url, bench.servers().redis_url, bench.servers().kafka_bootstrap)

    def add(more: int) -> None:
        nonlocal made
        made += more
        progress(made)

    try:
        floor.fill(bench.options.history, progress=add)
    finally:
        floor.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return round(time.monotonic() - began, 1)


def _url(system: Deployment, service: str) -> str:
    port = next((one.port for one in system.processes if one.name == service), None)
    if port is None:
        raise BenchFailed("the products are counted by the inventory service, which isn't ours here")
    return f"http://127.0.0.1:{port}"
