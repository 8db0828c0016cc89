"""The gate under exactly the rights that we ask an operator to grant, and over TLS."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from oms.adapters.memory import ManualClock
from oms.adapters.redis import ACL_RULES, RedisGate, check
from oms.adapters.redis.connection import connect
from oms.adapters.redis.gate import PREFIX
from oms.ports.errors import Retryable
from oms.testing.contracts.gate import GateContract
from tests.support.redis_servers import Server, running

pytestmark = pytest.mark.servers

PASSWORD = "canary-password"
ADMIN = "user default on nopass ~* &* +@all"


def acl_file(path: Path, rules: str = ACL_RULES) -> str:
    """An ACL file as an operator writes it."""
    hashed = sha256(PASSWORD.encode()).hexdigest()
    path.write_text(f"{ADMIN}\nuser oms on #{hashed} {rules}\n")
    return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("rights")
    options = ("--aclfile", acl_file(directory / "users.acl"), "--enable-debug-command", "yes")
    with running(directory / "redis", *options) as server:
        yield server


def settings_of(server: Server, **more: Any) -> Any:
    return server.settings(redis_user="oms", redis_password=PASSWORD, **more)


class TestGateWithItsRightsAlone(GateContract):
    """The whole contract, as the gate's user; an administrator flushes."""

    @pytest.fixture
    def new_gate(self, server: Server) -> Iterator[Callable[[], Any]]:
        self.server, self.clock, numbers = server, ManualClock(), count()
        client = connect(settings_of(server).redis)
        server.admin.acl_log_reset()
        yield lambda: RedisGate(client, self.clock, prefix=f"{PREFIX}{next(numbers)}:")
        client.close()
        assert server.admin.acl_log() == [], "the gate tried what it may not do"
        server.admin.flushall()

    def advance(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def lose_memory(self, gate: Any) -> None:
        self.server.admin.flushall()

    def test_it_shows_what_it_remembers(self, gate: Any) -> None:
        gate.take({"o1": {"sku-a": 1}})
        assert dict(gate.all_available()) == {"sku-a": 4, "sku-b": 10}
        assert [order for order, _, _ in gate.all_answers()] == ["o1"]

    def test_it_works_in_any_database(self, server: Server) -> None:
        url = server.url.removesuffix("/0") + "/5"
        gate = RedisGate.from_config(settings_of(server, redis_url=url).redis, ManualClock())
        gate.rebuild({"sku-a": 1}, {}, 1)  # type: ignore[dict-item]
        assert server.admin.info("keyspace").keys() == {"db5"}
        gate.close()


def test_the_checks_pass_with_these_rights(server: Server) -> None:
    server.admin.acl_log_reset()
    assert check(settings_of(server).redis) == []
    assert server.admin.acl_log() == []
    assert server.admin.keys("*") == []


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("SCAN", "0"), ("CONFIG", "GET", "*"), ("DEBUG", "SLEEP", "0"),
        ("ACL", "LIST"), ("SHUTDOWN",), ("REPLICAOF", "NO", "ONE"), ("SCRIPT", "FLUSH"), ("MONITOR",),
        ("HGET", "another", "a"), ("HSET", "oms:other", "a", "1"), ("PUBLISH", "a", "b"), ("EVAL", "return 1", "0"),
    ],
)  # fmt: skip
def test_nothing_else_is_allowed(server: Server, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        connect(settings_of(server).redis).execute_command(*command)


def test_scripts_reach_no_other_keys(server: Server) -> None:
    client = connect(settings_of(server).redis)
    sha = client.script_load("return redis.call('HGET', 'another', 'a')")
    with pytest.raises(ResponseError, match=r"access at least one of the keys|ACL failure"):
        client.evalsha(sha, 0)


def _granted() -> set[str]:
    return {rule[1:] for rule in ACL_RULES.split() if rule.startswith("+")}


def _called() -> set[str]:
    scripts = [path for path in (files("oms.adapters.redis") / "lua").iterdir() if path.name.endswith(".lua")]
    return {name.lower() for path in scripts for name in re.findall(r"redis\.call\('(\w+)'", path.read_text())}


def test_every_right_is_used() -> None:
    by_the_client = {"evalsha", "script|load", "info", "select", "hscan"}
    assert _granted() == _called() | by_the_client


def test_the_probe_runs_what_the_other_scripts_run() -> None:
    probe = (files("oms.adapters.redis") / "lua" / "probe.lua").read_text()
    assert {name.lower() for name in re.findall(r"\{ '(\w+)'", probe)} == _called()


@pytest.mark.parametrize("right", sorted(_called()))
def test_a_right_that_is_missing_is_seen_by_the_checks(server: Server, right: str) -> None:
    server.admin.execute_command(
        "ACL", "SETUSER", "less", "reset", "on", f">{PASSWORD}", *ACL_RULES.split(), f"-{right}"
    )
    (finding,) = check(server.settings(redis_user="less", redis_password=PASSWORD).redis)
    assert "doesn't let its user do what the gate does" in finding.text
    assert PASSWORD not in finding.text
    server.admin.delete(f"{PREFIX}probe")


def test_keys_that_are_not_the_gates_are_seen_by_the_checks(server: Server) -> None:
    rules = ACL_RULES.replace(f"~{PREFIX}*", "~shop:*").split()
    server.admin.execute_command("ACL", "SETUSER", "elsewhere", "reset", "on", f">{PASSWORD}", *rules)
    (finding,) = check(server.settings(redis_user="elsewhere", redis_password=PASSWORD).redis)
    assert "doesn't let its user do what the gate does" in finding.text


def _certificates(directory: Path) -> tuple[Path, Path, Path]:
    """An authority, and a server's key and certificate for 127.0.0.1."""
    ca, ca_key, key, cert = (directory / name for name in ("ca.crt", "ca.key", "redis.key", "redis.crt"))
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    _openssl("req", "-x509", *made, "-keyout", ca_key, "-out", ca, "-subj", "/CN=test authority")
    _openssl(
        "req", "-x509", *made, "-keyout", key, "-out", cert, "-subj", "/CN=redis",
        "-CA", ca, "-CAkey", ca_key, "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE",
    )  # fmt: skip
    return ca, key, cert


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the authority of a server that speaks TLS alone on its second port."""
    directory = tmp_path_factory.mktemp("tls")
    ca, key, cert = _certificates(directory)
    options = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no"]
    with running(directory / "plain") as other:
        port = other.port
    with running(directory / "redis", "--tls-port", str(port), "--tls-ca-cert-file", str(ca), *options):
        yield f"rediss://127.0.0.1:{port}/0", ca


def test_the_gate_works_over_tls(server: Server, tls: tuple[str, Path]) -> None:
    url, ca = tls
    settings = server.settings(redis_url=url, redis_ca_file=ca)
    assert check(settings.redis) == []
    gate = RedisGate.from_config(settings.redis, ManualClock())
    gate.rebuild({"a": 1}, {}, 1)  # type: ignore[dict-item]
    assert gate.epoch() == 1
    gate.close()


def test_a_certificate_of_nobody_we_trust_is_refused(server: Server, tls: tuple[str, Path]) -> None:
    url, _ = tls
    gate = RedisGate.from_config(server.settings(redis_url=url).redis, ManualClock())
    with pytest.raises(Retryable, match=r"(?i)certificate verify failed"):
        gate.epoch()
    assert len(check(server.settings(redis_url=url).redis)) == 1


def test_a_certificate_of_another_host_is_refused(server: Server, tls: tuple[str, Path]) -> None:
    url, ca = tls
    settings = server.settings(redis_url=url.replace("127.0.0.1", "localhost"), redis_ca_file=ca)
    with pytest.raises(Retryable, match=r"(?i)certificate verify failed"):
        RedisGate.from_config(settings.redis, ManualClock()).epoch()
