"""The pytest plugin: `shop`, a whole order system for one test, and real servers under names that begin with `oms_`.

Loaded by every pytest run of an environment that has `oms`, so it imports nothing heavy before it is used, and no
server is started before a test asks for it. Under pytest-xdist all workers share one set of servers, which the
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

    A test that fails prints its story; one that asked for a fault that never happened fails.
    """
    from oms.testing.shop import Shop

    made = Shop()
    yield made
    made.app.stop()


@pytest.fixture(scope="session")
def oms_servers() -> Servers:
    """PostgreSQL, Redis and Kafka, each started when its address is first asked for; see `oms.testing.servers`."""
    from oms.testing.servers import servers

    return servers()


@pytest.fixture(scope="session")
def oms_postgres_url(oms_servers: Servers) -> str:
    """A superuser's URL of the run's PostgreSQL."""
    return oms_servers.postgres_url


@pytest.fixture(scope="session")
def oms_redis_url(oms_servers: Servers) -> str:
    """The URL of the run's Redis; take keys under `oms_prefix`."""
    return oms_servers.redis_url


@pytest.fixture(scope="session")
def oms_kafka_bootstrap(oms_servers: Servers) -> str:
    """`host:port` of the run's Kafka; topics aren't made by themselves, name them under `oms_prefix`."""
    return oms_servers.kafka_bootstrap


@pytest.fixture
def oms_postgres_database(oms_postgres_url: str) -> Iterator[str]:
    """The URL of an empty database of this test's own; it's dropped afterwards."""
    from oms.testing.servers import fresh_database

    with fresh_database(oms_postgres_url) as url:
        yield url


@pytest.fixture
def oms_prefix() -> str:
    """A text of this test's own, with which its keys, topics and groups begin."""
    from oms.testing.servers import fresh_prefix

    return fresh_prefix()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A tape of the simulator is a test: `pytest some.omstape` replays it."""
    if file_path.suffix != ".omstape":
        return None
    from oms.testing.sim.collect import TapeCollector

    collector: pytest.Collector = TapeCollector.from_parent(parent, path=file_path)
    return collector


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that asked for a fault which never happened shows nothing: it fails."""
    passed = yield
    never = [line for shop in _shops(item) if (line := shop.faults.never_happened())]
    if never:
        pytest.fail("\n".join(never), pytrace=False)
    return passed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test tells the story of each shop that it has, unless the failure is one that did."""
    report = yield
    if report.when == "call" and report.failed:
        error = call.excinfo.value if call.excinfo is not None else None
        for shop in _shops(item):
            if getattr(error, "shop", None) is not shop:
                report.sections.append(("story of the shop", shop.story()))
    return report


def _shops(item: pytest.Item) -> Sequence[Shop]:
    """The shops among a test's fixtures, whatever they are called."""
    if SHOP not in sys.modules:
        return ()
    from oms.testing.shop import Shop

    given = getattr(item, "funcargs", None) or {}
    return list({id(made): made for made in given.values() if isinstance(made, Shop)}.values())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker which servers are the run's; called in the controlling process."""
    if os.name != "posix":  # such a run can't have any, and may not need them
        return
    from oms.testing.servers import servers

    node.workerinput[RUN] = str(servers().directory)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--oms-tape FILE`: a hunted test plays this tape instead of hunting."""
    parser.addoption("--oms-tape", default=None, help="a tape that a hunted test (oms.testing.hunt) is to replay")


def pytest_configure(config: pytest.Config) -> None:
    """In an xdist worker, take what the controlling process told."""
    if config.getoption("--oms-tape"):
        os.environ["OMS_TAPE"] = config.getoption("--oms-tape")
    config.stash[_OUTERMOST] = RUN not in os.environ
    told = getattr(config, "workerinput", {}).get(RUN)
    if told:
        os.environ[RUN] = told


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Report which servers were used, and which providers failed for them."""
    if CONTAINERS in sys.modules and RUN in os.environ:
        for server in sys.modules[CONTAINERS].servers().started:
            terminalreporter.write_line(f"oms: {server}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what this process began, unless this session runs inside another one that uses it."""
    if CONTAINERS in sys.modules and config.stash[_OUTERMOST]:
        sys.modules[CONTAINERS].end_of_run()
