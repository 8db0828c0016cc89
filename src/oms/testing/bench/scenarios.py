"""The scenarios: what is deployed, what is asked of it, and what it is compared with."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from oms.testing.bench import deployment, pgbench
from oms.testing.bench.deployment import SERVICES, STOCKED, BenchFailed, Deployment, keepers_of
from oms.testing.bench.floor import PREFIX, TOPICS, Floor, Pace, measured
from oms.testing.bench.measure import Load, Told, measure
from oms.testing.bench.orders import HOT
from oms.testing.bench.results import Result
from oms.testing.bench.usage import usage_of
from oms.testing.bench.watch import FileWatch, KafkaWatch, Watch
from oms.testing.containers import Servers

FLOOR_DATABASE = "oms_floor"
WARM = 300
"""Orders that are placed before what is measured: a process compiles its statements when it first needs them."""


@attrs.frozen
class Options:
    """How much to ask."""

    orders: int = 5000
    connections: int = 256
    rate_per_s: float = 200.0
    history: int = 1_000_000
    settle_s: float = 300.0
    floor: bool = True
    floor_s: float = 3.0


@attrs.define(eq=False)
class Bench:
    """Runs scenarios one after the other; `told` hears of progress."""

    directory: Path
    options: Options
    told: Callable[[str, int], Told]
    """Begins a progress bar: title and total."""

    own: Servers | None = None
    system: Deployment | None = None
    paces: list[Pace] = attrs.field(factory=list)
    given: tuple[str, int] | None = None

    # -- scenarios

    def burst(self) -> Iterator[Result]:
        """All at once, on four processes."""
        with self._running() as system:
            yield self._measured("burst", system, Load(self.options.orders, self.options.connections))

    def steady(self) -> Iterator[Result]:
        """At a fixed rate."""
        with self._running() as system:
            load = Load(self.options.orders, self.options.connections, self.options.rate_per_s)
            yield self._measured("steady", system, load)

    def hot(self) -> Iterator[Result]:
        """Everybody wants the one product of which there are 100."""
        with self._running() as system:
            stocked = system.oms("stock", "set", HOT, "100", "--url", _url(system, "inventory"))
            if stocked.returncode != 0:
                raise BenchFailed(f"oms stock set: {stocked.stderr}")
            result = self._measured("hot", system, Load(self.options.orders, self.options.connections, kind="hot"))
            if result.states.get("CONFIRMED") != 100:
                raise BenchFailed(f"not exactly 100 were sold: {dict(result.states)}")
            yield result

    def slow(self) -> Iterator[Result]:
        """A gateway that takes 200 ms a charge, without and with 1% that take 10 s."""
        script = self.directory / "slow.json"
        script.write_text(json.dumps([{"user": "slow", "behaviour": "delay", "seconds": 10}]))
        gateway = {
            "OMS_PAYMENT_DELAY_MS": "200",
            "OMS_PAYMENT_CALLS": "512",
            "OMS_PAYMENT_TIMEOUT_S": "15",
            "OMS_PAYMENT_SCRIPT": str(script),
        }
        for kind in ("", "slow"):
            with self._running(settings=gateway) as system:
                name = "slow gateway, 1% take 10 s" if kind else "slow gateway"
                yield self._measured(name, system, Load(self.options.orders, self.options.connections, kind=kind))

    def history(self) -> Iterator[Result]:
        """The same burst on empty tables, and after many orders."""
        with self._running() as system:
            yield self._measured("empty tables", system, Load(self.options.orders, self.options.connections))
            self._fill()
            load = Load(self.options.orders, self.options.connections)
            yield self._measured(f"after {self.options.history} orders", system, load, verified=False)

    def workers(self) -> Iterator[Result]:
        """The same burst with 1, 2 and 4 processes of each service."""
        for each in (1, 2, 4):
            with self._running(each=each) as system:
                load = Load(self.options.orders, self.options.connections, processes=each)
                yield self._measured(f"{each} of each service", system, load)

    def accept(self) -> Iterator[Result]:
        """The order service alone: how fast orders are accepted, beside pgbench with the rows of an acceptance."""
        system = self._system()
        system.start(["order"])
        try:
            load = Load(self.options.orders, self.options.connections)
            self._placed(system, None, "warm-up", Load(WARM, self.options.connections))
            result = self._placed(system, None, "accept", load)
        finally:
            system.stop()
        self._drain(system)
        rate = pgbench.rate(self._floor_url(), self.directory)
        yield attrs.evolve(result, notes={"pgbench_per_s": rate, "ratio": round(result.accepted_per_s / rate, 3)})

    def embedded(self) -> Iterator[Result]:
        """`oms serve`, beside SQLite's own rate of durable commits of one row."""
        directory = self.directory / f"embedded-{time.monotonic_ns()}"
        directory.mkdir()
        rate = single_row_commits(directory)
        system = deployment.embedded(directory, STOCKED)
        try:
            watch = FileWatch(directory / "data")
            self._placed(system, watch, "warm-up", Load(WARM, self.options.connections))
            load = Load(self.options.orders, self.options.connections)
            result = self._placed(system, watch, "embedded", load)
            system.verify(self.options.settle_s)
        finally:
            system.stop()
        yield attrs.evolve(result, floor_per_s=round(rate, 1))

    # -- inside

    @contextmanager
    def _running(self, *, each: int = 1, settings: Mapping[str, str] | None = None) -> Iterator[Deployment]:
        system = self._system()
        if self.given is not None:
            yield system
            return
        self.floor()
        system.start(SERVICES, each=each, settings=settings)
        try:
            yield system
        finally:
            system.stop()

    def _system(self) -> Deployment:
        if self.system is None:
            if self.own is None:
                raise BenchFailed("this scenario needs servers of its own")
            self.system = deployment.distributed(self.directory, self.own, STOCKED)
        return self.system

    def _measured(self, name: str, system: Deployment, load: Load, *, verified: bool = True) -> Result:
        watch = KafkaWatch(system.environ["OMS_KAFKA_BOOTSTRAP"])
        try:
            self._placed(system, watch, "warm-up", Load(WARM, load.connections, processes=load.processes))
            result = self._placed(system, watch, name, load)
        finally:
            watch.close()
        if verified:
            system.verify(self.options.settle_s)
        best = max(self.paces, key=lambda pace: pace.orders_per_s, default=None)
        serial = next((pace.batch_ms for pace in self.paces if pace.batch == 1), 0.0)
        if best is None:
            return result
        cpu_ms = sum(result.cpu_ms_per_order.values())
        notes = {"CPU ms an order": round(cpu_ms, 2), "the floor's": round(best.cpu_ms, 2)}
        return attrs.evolve(
            result, floor_per_s=round(best.orders_per_s, 1), floor_batch_1_ms=round(serial, 2), notes=notes
        )

    def _placed(self, system: Deployment, watch: Watch | None, name: str, load: Load) -> Result:
        told = self.told(name, load.orders)
        return measure(name, system, watch, load, settle_s=self.options.settle_s, told=told)

    def _drain(self, system: Deployment) -> None:
        """Let what was only accepted end, so that the next scenario meets a quiet system."""
        system.start()
        try:
            system.verify(self.options.settle_s)
        finally:
            system.stop()

    def floor(self) -> list[Pace]:
        """The paces of the bare drivers, measured once in a run, while nothing else runs."""
        if self.paces or self.own is None or not self.options.floor:
            return self.paces
        told = self.told("floor", 1)
        url = self._floor_url()
        make_topics(self.own.kafka_bootstrap)
        floor = Floor(url, self.own.redis_url, self.own.kafka_bootstrap)
        keepers = keepers_of(self.own)

        def cpu_s() -> float:
            return time.process_time() + sum(usage_of(pid, tree=True).cpu_s for pid in keepers.values())

        self.paces = measured(floor, seconds=self.options.floor_s, cpu_s=cpu_s)
        told(1)
        return self.paces

    def _floor_url(self) -> str:
        """A database with the same tables, which only the floor and pgbench write."""
        if self.own is None:
            raise BenchFailed("the floor needs servers of its own")
        base, _, _ = self.own.postgres_url.rpartition("/")
        made = self.directory / "floor"
        if not made.exists():
            made.mkdir()
            deployment.distributed(made, self.own, {}, FLOOR_DATABASE)
        return f"{base}/{FLOOR_DATABASE}"

    def _fill(self) -> None:
        if self.own is None:
            raise BenchFailed("a history is only made on servers of its own")
        told = self.told("history", self.options.history)
        base, _, _ = self.own.postgres_url.rpartition("/")
        floor = Floor(f"{base}/oms", self.own.redis_url, self.own.kafka_bootstrap)
        made = 0

        def tell(more: int) -> None:
            nonlocal made
            made += more
            told(made)

        try:
            floor.fill(self.options.history, told=tell)
        finally:
            floor.close()
        _analyze(f"{base}/oms")


SCENARIOS: Mapping[str, Callable[[Bench], Iterator[Result]]] = {
    "burst": Bench.burst,
    "steady": Bench.steady,
    "embedded": Bench.embedded,
    "accept": Bench.accept,
    "hot": Bench.hot,
    "slow": Bench.slow,
    "workers": Bench.workers,
    "history": Bench.history,
}
"""In the order in which they are run; `history` last, because its rows have no messages."""


def single_row_commits(directory: Path, seconds: float = 2.0) -> float:
    """Commits a second of one row each, durable (WAL, synchronous=FULL), on one connection of SQLite."""
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


def make_topics(bootstrap: str, partitions: int = 4) -> None:
    """The floor's topics."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})  # gone with its last reference, and its requests with it
    made = admin.create_topics([NewTopic(PREFIX + topic, partitions, 1) for topic in TOPICS])
    for future in made.values():
        try:
            future.result(30)
        except KafkaException as error:
            if not isinstance(error.args[0], KafkaError) or error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise
    while not made.keys() <= admin.list_topics(timeout=30).topics.keys():  # a broker hears of them a little later
        time.sleep(0.05)


def _analyze(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _url(system: Deployment, service: str) -> str:
    port = next((one.port for one in system.processes if one.name == service), None)
    if port is None:
        raise BenchFailed("the products are counted by the inventory service, which isn't ours here")
    return f"http://127.0.0.1:{port}"


def as_json(results: list[Result], paces: list[Pace], machine: Mapping[str, Any]) -> dict[str, Any]:
    """All of a run, for a file."""
    return {
        "machine": dict(machine),
        "floor": [attrs.asdict(pace) for pace in paces],
        "results": [{**attrs.asdict(one), "ratio": round(one.ratio, 3)} for one in results],
    }
