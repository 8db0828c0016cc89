"""One set of servers a run, shared by its processes, ended with it; and what keeps tests apart on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from oms.testing.servers import Servers, fresh_database, fresh_prefix, running_servers, servers

pytestmark = pytest.mark.servers

GONE_S = 20.0
LIGHT = """
import sys, oms.testing.plugin
heavy = {"psycopg", "redis", "confluent_kafka", "testcontainers", "docker", "sqlalchemy", "oms.testing.servers"}
sys.exit(" ".join(heavy & set(sys.modules)) or 0)
"""
USER_TESTS = """
import os, pathlib, pytest

@pytest.mark.parametrize("n", range(4))
def test_user(n, oms_redis_url, worker_id):
    with pathlib.Path(r"{report}").open("a") as report:
        report.write(f"{{worker_id}} {{oms_redis_url}}\\n")
    {then}
"""
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2"]


def test_the_plugin_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_that_ask_at_once_get_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMS_TEST_REDIS_URL", raising=False)
    with running_servers() as made, ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: made.redis_url, range(4)))) == 1
        assert [server.name for server in made.started] == ["redis"]
        ((name, daemon),) = made.daemons().items()
        assert (name, os.getpgid(daemon) > 0) == ("redis", True)
        address = made.redis_url
        assert "@" not in repr(made.started), "a password is not shown"
    assert not answers(address)
    assert not made.directory.exists()


def test_the_run_is_found_from_anywhere_in_it(oms_servers: Servers) -> None:
    assert servers() == oms_servers
    code = "from oms.testing.servers import servers; print(servers().directory)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str(oms_servers.directory)
    assert oms_servers.directory.is_dir(), "a child's end isn't the run's"


def test_databases_are_apart_and_dropped(oms_postgres_url: str, oms_postgres_database: str) -> None:
    with fresh_database(oms_postgres_url) as other:
        assert other != oms_postgres_database
        left_open = psycopg.connect(other)
        left_open.execute("CREATE TABLE mine (n int)")
        with psycopg.connect(oms_postgres_database) as connection:
            assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)
    left_open.close()


def test_prefixes_differ(oms_prefix: str) -> None:
    assert oms_prefix not in {fresh_prefix() for _ in range(100)}


@pytest.mark.slow
def test_workers_share_one_server_and_it_ends_with_the_run(tmp_path: Path) -> None:
    report = user_tests(tmp_path, then="pass")
    done = subprocess.run([*PYTEST, str(tmp_path)], env=alone(), capture_output=True, text=True, check=False)
    assert "4 passed" in done.stdout, done.stdout
    assert "oms: Redis by" in done.stdout
    workers, addresses = zip(*(line.split() for line in report.read_text().splitlines()), strict=True)
    assert set(workers) == {"gw0", "gw1"}
    assert len(set(addresses)) == 1
    until(lambda: not answers(addresses[0]))


@pytest.mark.slow
def test_a_worker_that_crashes_takes_no_server_with_it(tmp_path: Path) -> None:
    """The first worker starts the server and dies; those that follow use it."""
    report = user_tests(tmp_path, then="if worker_id == 'gw0': os._exit(3)")
    done = subprocess.run([*PYTEST, str(tmp_path)], env=alone(), capture_output=True, text=True, check=False)
    assert "crashed" in done.stdout
    assert "3 passed" in done.stdout, done.stdout
    assert len({line.split()[1] for line in report.read_text().splitlines()}) == 1


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    report = user_tests(tmp_path, then="import time; time.sleep(60)")
    room = tmp_path / "room"
    room.mkdir()
    env = {**alone(), "TMPDIR": str(room)}
    run = subprocess.Popen([*PYTEST, str(tmp_path)], env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    until(lambda: report.exists() and report.read_text().endswith("\n"), within_s=60)
    address = report.read_text().split()[1]
    assert answers(address)
    run.kill()
    run.wait()
    until(lambda: not answers(address))
    until(lambda: not list(room.glob("oms-*")))
    os.killpg(run.pid, signal.SIGKILL)  # its workers sleep on


def user_tests(folder: Path, then: str) -> Path:
    report = folder / "report.txt"
    (folder / "test_user.py").write_text(USER_TESTS.format(report=report, then=then))
    return report


def alone() -> dict[str, str]:
    """An environment of a run that isn't part of ours, with servers of its own."""
    ours = ("OMS_TEST_SERVERS", "OMS_TEST_REDIS_URL", "PYTEST_XDIST")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def answers(url: str) -> bool:
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def until(holds: Callable[[], bool], within_s: float = GONE_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.05)
