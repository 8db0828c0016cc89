"""Native servers: their data survives a kill, they can be paused, and none outlives the process that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
from attrs import frozen
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis, NativeServer, ServerFailed, fresh_prefix

pytestmark = pytest.mark.servers

GONE_S = 20.0


@frozen
class Use:
    """How a client writes to a server and reads back what is there."""

    kind: type[NativeServer]
    write: Callable[[str, str], None]
    read: Callable[[str], list[str]]


def _write_postgres(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [text])


def _read_postgres(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM kept")]


def _write_redis(url: str, text: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.rpush("kept", text)


def _read_redis(url: str) -> list[str]:
    with redis.Redis.from_url(url) as client:
        return [text.decode() for text in client.lrange("kept", 0, -1)]


def _write_kafka(bootstrap: str, text: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if "kept" not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    producer.produce("kept", text.encode())
    assert producer.flush(30) == 0


def _read_kafka(bootstrap: str) -> list[str]:
    settings = {"bootstrap.servers": bootstrap, "group.id": fresh_prefix(), "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "enable.partition.eof": True})
    consumer.subscribe(["kept"])
    try:
        found: list[str] = []
        for message in iter(lambda: consumer.poll(30), None):
            if message.error():
                return found
            found.append((message.value() or b"").decode())
        raise AssertionError("the end of the partition wasn't reached")
    finally:
        consumer.close()


USES = [
    pytest.param(Use(NativePostgres, _write_postgres, _read_postgres), id="postgres"),
    pytest.param(Use(NativeRedis, _write_redis, _read_redis), id="redis"),
    pytest.param(Use(NativeKafka, _write_kafka, _read_kafka), id="kafka", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=USES)
def use(request: pytest.FixtureRequest) -> Use:
    chosen: Use = request.param
    return chosen


@pytest.fixture(scope="module")
def server(use: Use) -> Iterator[NativeServer]:
    with use.kind() as started:
        yield started


def test_data_and_address_survive_a_kill_and_a_stop(use: Use, server: NativeServer) -> None:
    address, written = server.url, [fresh_prefix(), fresh_prefix()]
    use.write(server.url, written[0])
    server.kill()
    assert not server.running
    assert not processes_of(server.directory)
    server.start()
    use.write(server.url, written[1])
    server.restart()
    assert (server.url, use.read(server.url)[-2:]) == (address, written)


def test_a_kill_reaches_what_the_server_forked(use: Use, server: NativeServer) -> None:
    """PostgreSQL's sessions are processes in groups of their own, so the signal to one group would leave them."""
    if use.kind is NativePostgres:
        with psycopg.connect(server.url) as session:
            session_pid = session.info.backend_pid
            server.kill()
            assert not is_alive(session_pid)
    else:
        server.kill()
    assert not is_alive(server.pid)
    server.start()


def test_a_paused_server_is_silent_and_goes_on(use: Use, server: NativeServer) -> None:
    states = lambda: {stat_of(pid)[0] for pid in processes_of(server.directory)}  # noqa: E731
    server.pause()
    assert server.running
    assert states() == {"T"}
    server.resume()
    assert "T" not in states()
    text = fresh_prefix()
    use.write(server.url, text)
    assert use.read(server.url)[-1] == text


def test_a_paused_server_can_be_stopped_and_killed(use: Use, server: NativeServer) -> None:
    server.pause()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < server.stop_s, "it ended in order, not by the bound"
    server.start()
    server.pause()
    server.kill()
    assert not server.running
    server.start()


def test_it_listens_on_loopback_alone(use: Use, server: NativeServer) -> None:
    pids = {str(pid) for pid in processes_of(server.directory)}
    sockets = {link for pid in pids for link in _sockets(pid)}
    listening = [row for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    ours = [row.split()[1] for row in listening if row.split()[3] == "0A" and row.split()[9] in sockets]
    loopback = ("0100007F:", "0000000000000000FFFF00000100007F:")
    assert ours
    assert all(address.startswith(loopback) for address in ours), ours


def test_settings_replace_ours_and_a_stranger_on_this_machine_is_refused() -> None:
    with NativePostgres({"max_connections": "17"}) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("17",)
        durable = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
        assert durable == [("on",), ("on",)]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{server.port}/postgres")
    with NativeRedis({"databases": "3"}) as other, redis.Redis.from_url(other.url) as client:
        assert client.config_get("databases", "appendonly", "maxmemory-policy") == {
            "databases": "3",
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
        }
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=other.port).ping()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = NativeRedis({"maxmemory-policy": "nonsense"})
    with pytest.raises(ServerFailed, match="nonsense"), server:
        pass
    assert not server.directory.exists()


def test_a_closed_server_is_gone_and_says_so() -> None:
    with NativeRedis() as server:
        with pytest.raises(ServerFailed, match="runs already"):
            server.start()
        pid = server.pid
    server.close()
    assert not is_alive(pid)
    assert not server.directory.exists()
    with pytest.raises(ServerFailed, match="closed"):
        server.start()


PARENT = """
import json, os, sys, time
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
servers = [kind().start() for kind in (NativePostgres, NativeRedis, NativeKafka) if kind.name in sys.argv[1:]]
heir = os.fork()  # it inherits the pipes to the supervisors, and outlives us
if heir == 0:
    time.sleep(120)
    os._exit(0)
print(json.dumps({"heir": heir, "pids": [s.pid for s in servers], "directories": [str(s.directory) for s in servers]}), flush=True)
time.sleep(120)
"""


@pytest.mark.parametrize("names", [("postgres", "redis"), pytest.param(("kafka",), marks=pytest.mark.slow)], ids=str)
def test_servers_die_with_a_parent_that_is_killed(names: tuple[str, ...]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *names], stdout=subprocess.PIPE)
    assert parent.stdout
    report = json.loads(parent.stdout.readline())
    directories = [Path(directory) for directory in report["directories"]]
    assert len(directories) == len(names)
    try:
        assert all(processes_of(directory) for directory in directories)
        parent.kill()
        parent.wait()
        until(lambda: not any(is_alive(pid) for pid in report["pids"]))
        until(lambda: not any(directory.exists() for directory in directories))
        assert not any(processes_of(directory) for directory in directories)
    finally:
        os.kill(report["heir"], signal.SIGKILL)
        parent.stdout.close()


def test_a_server_dies_with_its_supervisor() -> None:
    server = NativeRedis().start()
    supervisor = int(stat_of(server.pid)[1])
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not is_alive(server.pid))
    with pytest.raises(ServerFailed, match="supervisor"):
        server.kill()
    server.close()
    assert not server.directory.exists()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GONE_S
    while not holds():
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    fields = stat_of(pid)
    return bool(fields) and fields[0] != "Z"


def stat_of(pid: int) -> list[str]:
    """State, parent and more of a process; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def processes_of(directory: Path) -> list[int]:
    """Living processes that work in this directory or below: a server, and what it forked."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            works_in = Path(os.readlink(f"/proc/{entry}/cwd")) if entry.isdigit() else None
        except OSError:
            continue
        if works_in and works_in.is_relative_to(directory) and is_alive(int(entry)):
            found.append(int(entry))
    return found


def _sockets(pid: str) -> Iterator[str]:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for descriptor in list(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):  # or was closed
                link = os.readlink(descriptor)
                if link.startswith("socket:["):
                    yield link[8:-1]
