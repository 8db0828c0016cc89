"""The environment of scenarios: starts servers and services when needed, and measures the floor and the system."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from oms.testing.bench import deployment
from oms.testing.bench.deployment import SERVICES, STOCKED, BenchFailed, Deployment
from oms.testing.bench.floor import Floor, Pace, make_topics, measured
from oms.testing.bench.measure import Load, ProgressCallback, measure
from oms.testing.bench.orders import REFUNDED_OF
from oms.testing.bench.results import Result
from oms.testing.bench.usage import usage_of
from oms.testing.bench.watch import FulfilmentWatch, KafkaWatch, Watch
from oms.testing.servers import Servers

FLOOR_DATABASE = "oms_floor"
WARM = 300
"""Orders that are placed before a measurement: a process compiles each statement when it first needs it."""


@attrs.frozen
class Options:
    """The size of the load and the time limits."""

    orders: int = 5000
    connections: int = 256
    rate_per_s: float = 200.0
    history: int = 1_000_000
    patience_s: float = 300.0
    floor: bool = True
    floor_s: float = 3.0


@attrs.define(eq=False)
class Bench:
    """The environment that the scenarios of one run share."""

    directory: Path
    options: Options
    progress: Callable[[str, int], ProgressCallback]
    """Begins a progress bar with a title and a total; returns the function that updates it."""

    own: Servers | None = None
    """Servers that the benchmark has started; the floor and most scenarios need them."""

    given: Deployment | None = None
    """A system that runs already: the benchmark starts and stops no processes."""

    paces: list[Pace] = attrs.field(factory=list)
    _system: Deployment | None = None

    @contextmanager
    def running(self, *, each: int = 1, settings: Mapping[str, str] | None = None) -> Iterator[Deployment]:
        """Run the system with all services for one block, with `each` processes of each service."""
        if self.given is not None:
            yield self.given
            return
        self.floor()
        system = self.system()
        system.start(SERVICES, each=each, settings=settings)
        try:
            yield system
        finally:
            system.stop()

    def with_servers(self, own: Servers, name: str) -> Bench:
        """Return an environment with other servers, in a subdirectory of this one."""
        directory = self.directory / name
        directory.mkdir()
        return Bench(directory, self.options, self.progress, own, paces=self.floor())

    def system(self) -> Deployment:
        """Return the system on the benchmark's own servers, set up; the caller starts its services."""
        if self._system is None:
            self._system = deployment.distributed(self.directory, self.servers(), STOCKED)
        return self._system

    def servers(self) -> Servers:
        """Return the benchmark's own servers; raises `BenchFailed` if there are none."""
        if self.own is None:
            raise BenchFailed("this scenario needs servers of its own")
        return self.own

    @property
    def load(self) -> Load:
        """The load that places all orders at once."""
        return Load(self.options.orders, self.options.connections)

    def measured(self, name: str, system: Deployment, load: Load, *, verified: bool = True) -> Result:
        """Measure a warmed-up system and compare it with the floor; then check every promise."""
        self.watched("warm-up", system, attrs.evolve(load, orders=WARM, rate_per_s=0.0, kind="", first=0))
        result = self.watched(name, system, load)
        if verified:
            system.verify(self.options.patience_s)
        return self._compared_with_floor(result)

    def fulfilled(self, name: str, system: Deployment, load: Load) -> Result:
        """Place orders; when they are confirmed, measure how they are shipped and partly refunded.

        The result is compared with the floor of placing orders, and every promise is checked.
        """
        self._shipped("warm-up", system, attrs.evolve(load, orders=WARM))
        result = self._shipped(name, system, load)
        system.verify(self.options.patience_s)
        return self._compared_with_floor(result)

    def _shipped(self, name: str, system: Deployment, load: Load) -> Result:
        bootstrap = system.environ["OMS_KAFKA_BOOTSTRAP"]
        with closing(KafkaWatch(bootstrap)) as watch:
            self.placed(f"{name}: place", system, watch, load)
            placed = sorted(watch.ends)
        with closing(FulfilmentWatch(bootstrap, placed[::REFUNDED_OF])) as watch:
            return self.placed(name, system, watch, attrs.evolve(load, placed=placed))

    def watched(self, name: str, system: Deployment, load: Load, progress: ProgressCallback | None = None) -> Result:
        """Place orders and wait until the log shows the end of each."""
        watch = KafkaWatch(system.environ["OMS_KAFKA_BOOTSTRAP"])
        try:
            return self.placed(name, system, watch, load, progress)
        finally:
            watch.close()

    def placed(
        self, name: str, system: Deployment, watch: Watch | None, load: Load, progress: ProgressCallback | None = None
    ) -> Result:
        """Place orders and wait until the watch has seen the end of each."""
        progress = progress or self.progress(name, load.orders)
        return measure(name, system, watch, load, settle_s=self.options.patience_s, progress=progress)

    def drain(self, system: Deployment) -> None:
        """Run the services until all accepted orders have ended, so that the next scenario begins at rest."""
        system.start()
        try:
            system.verify(self.options.patience_s)
        finally:
            system.stop()

    def floor(self) -> list[Pace]:
        """Return the paces of the bare drivers, measured once in a run, while no service runs."""
        if self.paces or self.own is None or not self.options.floor:
            return self.paces
        progress = self.progress("floor", 1)
        url = self.floor_url()
        make_topics(self.own.kafka_bootstrap)
        floor = Floor(url, self.own.redis_url, self.own.kafka_bootstrap)
        daemons = self.own.daemons()

        def cpu_s() -> float:
            return time.process_time() + sum(usage_of(pid, tree=True).cpu_s for pid in daemons.values())

        self.paces = measured(floor, seconds=self.options.floor_s, cpu_s=cpu_s)
        progress(1)
        return self.paces

    def floor_url(self) -> str:
        """Return the URL of a database with the same tables, which only the floor and pgbench use."""
        made = self.directory / "floor"
        if not made.exists():
            made.mkdir()
            deployment.distributed(made, self.servers(), {}, FLOOR_DATABASE)
        return self.database_url(FLOOR_DATABASE)

    def database_url(self, name: str) -> str:
        """Return the URL of a database on the benchmark's own server, with an administrator."""
        base, _, _ = self.servers().postgres_url.rpartition("/")
        return f"{base}/{name}"

    def _compared_with_floor(self, result: Result) -> Result:
        best = max(self.paces, key=lambda pace: pace.orders_per_s, default=None)
        if best is None:
            return result
        serial = next((pace.batch_ms for pace in self.paces if pace.batch == 1), 0.0)
        cpu_ms = sum(result.cpu_ms_per_order.values())
        notes = {"CPU ms an order": round(cpu_ms, 2), "the floor's": round(best.cpu_ms, 2)}
        return attrs.evolve(
            result, floor_per_s=round(best.orders_per_s, 1), floor_batch_1_ms=round(serial, 2), notes=notes
        )
