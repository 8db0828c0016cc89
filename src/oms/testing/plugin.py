"""The pytest plugin: the fixture `shop`, a whole order system for one test, and fixtures of real servers (`oms_...`).

Every pytest run in an environment with `oms` loads this plugin, so it imports heavy modules only when they are used,
and starts a server only when a test uses it. Under pytest-xdist all workers share one set of servers, which the
controlling process owns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from oms.testing.servers import Servers
    from oms.testing.shop import Shop

CONTAINERS = "oms.testing.servers"
SHOP = "oms.testing.shop"
RUN = "OMS_TEST_SERVERS"
_OUTERMOST = pytest.StashKey[bool]()


@pytest.fixture
def shop() -> Iterator[Shop]:
    """An order system in memory with virtual time and a scripted gateway; see `oms.testing.Shop`.

    A failed test prints its story. A test that armed a fault which never happened fails.
    """
    from oms.testing.shop import Shop

    made = Shop()
    yield made
    made.app.stop()


@pytest.fixture(scope="session")
def oms_servers() -> Servers:
    """PostgreSQL, Redis and Kafka, each started when its address is first read; see `oms.testing.servers`."""
    from oms.testing.servers import servers

    return servers()


@pytest.fixture(scope="session")
def oms_postgres_url(oms_servers: Servers) -> str:
    """The URL of the run's PostgreSQL, with a superuser."""
    return oms_servers.postgres_url


@pytest.fixture(scope="session")
def oms_redis_url(oms_servers: Servers) -> str:
    """The URL of the run's Redis; begin your keys with `oms_prefix`."""
    return oms_servers.redis_url


@pytest.fixture(scope="session")
def oms_kafka_bootstrap(oms_servers: Servers) -> str:
    """`host:port` of the run's Kafka. It doesn't create topics automatically; begin their names with `oms_prefix`."""
    return oms_servers.kafka_bootstrap


@pytest.fixture
def oms_postgres_database(oms_postgres_url: str) -> Iterator[str]:
    """The URL of a new, empty database for this test; dropped afterwards."""
    from oms.testing.servers import fresh_database

    with fresh_database(oms_postgres_url) as url:
        yield url


@pytest.fixture
def oms_prefix() -> str:
    """A unique prefix for the keys, topics and groups of this test."""
    from oms.testing.servers import fresh_prefix

    return fresh_prefix()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a tape of the simulator as a test: `pytest some.omstape` replays it."""
    if file_path.suffix != ".omstape":
        return None
    from oms.testing.sim.collect import TapeCollector

    collector: pytest.Collector = TapeCollector.from_parent(parent, path=file_path)
    return collector


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that armed a fault which never happened."""
    passed = yield
    never = [line for shop in _shops(item) if (line := shop.faults.never_happened())]
    if never:
        pytest.fail("\n".join(never), pytrace=False)
    return passed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the story of each shop to a failed test's report, unless the failure already contains it."""
    report = yield
    if report.when == "call" and report.failed:
        error = call.excinfo.value if call.excinfo is not None else None
        for shop in _shops(item):
            if getattr(error, "shop", None) is not shop:
                report.sections.append(("story of the shop", shop.story()))
    return report


def _shops(item: pytest.Item) -> Sequence[Shop]:
    """Return the shops among the values of a test's fixtures."""
    if SHOP not in sys.modules:
        return ()
    from oms.testing.shop import Shop

    given = getattr(item, "funcargs", None) or {}
    return list({id(made): made for made in given.values() if isinstance(made, Shop)}.values())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send the addresses of the run's servers to an xdist worker; runs in the controlling process."""
    if os.name != "posix":  # servers can't be started here, and the tests may not need any
        return
    from oms.testing.servers import servers

    node.workerinput[RUN] = str(servers().directory)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--oms-tape FILE`: a hunted test plays this tape instead of hunting."""
    parser.addoption("--oms-tape", default=None, help="a tape that a hunted test (oms.testing.hunt) is to replay")


def pytest_configure(config: pytest.Config) -> None:
    """In an xdist worker, take the servers' addresses from the controlling process."""
    if config.getoption("--oms-tape"):
        os.environ["OMS_TAPE"] = config.getoption("--oms-tape")
    config.stash[_OUTERMOST] = RUN not in os.environ
    run = getattr(config, "workerinput", {}).get(RUN)
    if run:
        os.environ[RUN] = run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Report which servers were used, and which providers failed for them."""
    if CONTAINERS in sys.modules and RUN in os.environ:
        for server in sys.modules[CONTAINERS].servers().started:
            terminalreporter.write_line(f"oms: {server}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers that this process started, unless this session runs inside another session that uses them."""
    if CONTAINERS in sys.modules and config.stash[_OUTERMOST]:
        sys.modules[CONTAINERS].end_of_run()
