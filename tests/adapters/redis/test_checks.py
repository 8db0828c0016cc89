"""One clear line for each thing that is wrong with a Redis, and for each error of the driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions as driver
from redis._parsers.base import BaseParser

from oms.adapters.memory import ManualClock
from oms.adapters.redis import RedisGate, check
from oms.adapters.redis.checks import _problems
from oms.adapters.redis.connection import CONNECTIONS, Address, connect
from oms.adapters.redis.driver_errors import translated, translated_errors
from oms.ports.errors import Permanent, PortError, Retryable, SettingsError
from oms.settings import load_settings
from tests.support.redis_servers import Server, eventually, running

PASSWORD = "canary-password"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("checks") / "redis", "--requirepass", PASSWORD) as server:
        yield server


def line(settings: Any) -> str:
    found = str(*check(settings.redis))
    assert "\n" not in found
    assert PASSWORD not in found
    return found


@pytest.mark.servers
def test_a_server_that_is_as_it_should_be_has_no_problem(server: Server) -> None:
    assert check(server.settings(redis_password=PASSWORD).redis) == []


@pytest.mark.servers
@pytest.mark.parametrize(
    "login", [{}, {"redis_password": "wrong"}, {"redis_user": "nobody", "redis_password": PASSWORD}]
)
def test_a_wrong_login(server: Server, login: dict[str, str]) -> None:
    assert "refuses the login" in line(server.settings(**login))
    with pytest.raises(Retryable, match="refuses the login"):
        server.gate(**login).take({})


def test_nobody_is_there() -> None:
    assert "127.0.0.1:1" in line(load_settings({}, redis_url="redis://127.0.0.1:1/0"))
    assert "refused" in line(load_settings({}, redis_url="redis://127.0.0.1:1/0"))


@pytest.mark.servers
def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with running(tmp_path / "redis") as server:
        server.pause()
        assert "didn't answer in time" in line(server.settings())
        server.go_on()


@pytest.mark.servers
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_policy_that_drops_answers(tmp_path: Path, policy: str) -> None:
    with running(tmp_path / "redis", "--maxmemory-policy", policy) as server:
        assert f"maxmemory-policy {policy}" in line(server.settings())


@pytest.mark.servers
def test_a_cluster(tmp_path: Path) -> None:
    with running(tmp_path / "redis", "--cluster-enabled", "yes") as server:
        assert "Redis Cluster isn't supported" in line(server.settings())
        with pytest.raises(Retryable, match="Cluster isn't supported"):
            server.gate().epoch()


@pytest.mark.servers
def test_a_replica(tmp_path: Path) -> None:
    with (
        running(tmp_path / "a") as primary,
        running(tmp_path / "b", "--replicaof", f"127.0.0.1 {primary.port}") as server,
    ):
        eventually(lambda: server.admin.info("replication")["master_link_status"] == "up")
        assert "is a replica" in line(server.settings())


@pytest.mark.servers
def test_a_memory_that_is_full(tmp_path: Path) -> None:
    with running(tmp_path / "redis", "--maxmemory", "500kb") as server:
        assert "full" in line(server.settings())


@pytest.mark.servers
def test_a_restart_without_persistence_is_no_problem(tmp_path: Path) -> None:
    with running(tmp_path / "redis", "--appendonly", "no") as server:
        assert check(server.settings().redis) == []


GOOD = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "run_id": "a",
    "master_replid": "b",
    "cluster_enabled": 0,
}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old"),
        ({"run_id": ""}, "doesn't tell its run id"),
        ({"master_replid": None}, "doesn't tell its run id"),
    ],
)
def test_what_a_server_here_is_not(facts: dict[str, Any], message: str) -> None:
    assert list(_problems(GOOD)) == []
    (found,) = _problems({**GOOD, **facts})
    assert message in found


@pytest.mark.parametrize("version", ["7.0.0", "7.4.1", "8.0.2", "10.0"])
def test_a_later_version_is_fine(version: str) -> None:
    assert list(_problems({**GOOD, "redis_version": version})) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/x",
        "redis://h:1/0?ssl_cert_reqs=none",
        "redis://h/0?retry_on_timeout=true",
        "redis://h/0#a",
        "redis://h/1/2",
    ],
)
def test_an_address_holds_server_and_database_only(url: str) -> None:
    """The driver would take its options from there."""
    settings = load_settings({}, redis_url=url)
    assert "OMS_REDIS_URL" in line(settings)
    with pytest.raises(SettingsError):
        RedisGate.from_config(settings.redis, ManualClock())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address("h", 6379, 0, tls=False)),
        ("redis://h:1/7", Address("h", 1, 7, tls=False)),
        ("rediss://[::1]:2/", Address("::1", 2, 0, tls=True)),
    ],
)
def test_an_address(url: str, address: Address) -> None:
    assert Address.of(url) == address


@pytest.mark.servers
def test_an_authority_without_tls(server: Server) -> None:
    assert "warning: OMS_REDIS_CA_FILE" in line(server.settings(redis_password=PASSWORD, redis_ca_file=Path("ca.crt")))


def test_a_file_of_authorities_that_is_not_there() -> None:
    settings = load_settings({}, redis_url="rediss://127.0.0.1:1/0", redis_ca_file=Path("missing.crt"))
    assert "127.0.0.1:1" in line(settings)


def test_nothing_connects_before_it_is_used() -> None:
    RedisGate.from_config(load_settings({}, redis_url="redis://127.0.0.1:1/0").redis, ManualClock()).close()


def test_no_repr_shows_the_password() -> None:
    gate = RedisGate.from_config(load_settings({}, redis_password=PASSWORD).redis, ManualClock())
    for thing in (gate, gate._scripts, gate._scripts.client, gate._scripts.client.connection_pool):
        assert PASSWORD not in repr(thing)


@pytest.mark.servers
def test_connections_are_bounded(server: Server) -> None:
    client = connect(server.settings(redis_password=PASSWORD).redis)
    taken = [client.connection_pool.get_connection() for _ in range(CONNECTIONS)]
    with pytest.raises(Retryable, match="in use"):
        RedisGate(client, ManualClock()).epoch()
    for connection in taken:
        client.connection_pool.release(connection)
    client.close()


def _kinds(of: type[Exception]) -> Iterator[type[Exception]]:
    for kind in of.__subclasses__():
        if kind.__module__ == driver.__name__:
            yield kind
            yield from _kinds(kind)


@pytest.mark.parametrize(
    "kind", sorted({*_kinds(driver.RedisError), driver.ChildDeadlockedError, driver.RedisClusterException}, key=repr)
)
def test_no_error_of_the_driver_gets_through(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    error.args = ("it said so\nand more",)
    with pytest.raises(PortError) as raised, translated_errors:
        raise error
    assert "\n" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    "message",
    [
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM this user has no permissions to run the 'info' command",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOAUTH Authentication required.",
        "BUSY Redis is busy running a script.",
        "NOSCRIPT No matching script.",
        "MASTERDOWN ScriptRunner with MASTER is down",
        "NOREPLICAS Not enough good replicas to write.",
        "CLUSTERDOWN Hash slot not served",
        "MOVED 3999 127.0.0.1:6381",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR max number of clients reached",
        "ERR The user executing the script can't run this command or subcommand script: 17a7, on @user_script:1.",
        "ERR ACL failure in script: User oms has no permissions to run the 'hset' command",
        "ERR user_script:12: attempt to index a nil value",
        "ERR value is not an integer or out of range",
        "ERR increment or decrement would overflow",
        "FUTURE something that only a later server says",
    ],
)
def test_trouble_of_the_server_blames_no_order(message: str) -> None:
    error = BaseParser.parse_error(message)
    found = translated(error)
    assert type(found) is Retryable
    assert re.match("(the connection to |every connection to )?Redis", str(found))


def test_a_value_that_the_driver_refuses_is_permanent() -> None:
    assert type(translated(driver.DataError("bool"))) is Permanent
    assert type(translated(UnicodeError("surrogate"))) is Permanent
