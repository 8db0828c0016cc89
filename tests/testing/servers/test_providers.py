"""Which provider gives a server: addresses, then Docker, then native programs; with none of them the run fails and says what to install."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest
import redis

from oms.testing.servers import Server, ServerFailed, Servers, ServersMissing, docker, providers, running_servers
from oms.testing.servers.environment import VARIABLES
from oms.testing.servers.native import postgres
from oms.testing.servers.server_types import NAMES, ServerName

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def _no_choice_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in (providers.BACKENDS, *VARIABLES.values(), *(variable for variable, _ in docker.IMAGES.values())):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")


@pytest.fixture
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is installed: neither servers nor Java nor Maven."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PG_CONFIG", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(postgres, "PLACES", (f"{tmp_path}/*/bin",))


@pytest.fixture(scope="session", params=["postgres", "redis", pytest.param("kafka", marks=pytest.mark.slow)])
def there(request: pytest.FixtureRequest, oms_servers: Servers) -> Server:
    """A server of the run, however this machine gives it."""
    name: ServerName = request.param
    return oms_servers.server(name)


def test_a_given_address_is_taken_as_it_is(there: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES[there.name], there.address)
    monkeypatch.setenv(providers.BACKENDS, "urls")
    with running_servers(there.name) as servers:
        assert (servers.server(there.name).address, servers.provider(there.name)) == (there.address, "urls")
        assert [server.name for server in servers.started] == [there.name]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("postgres", "postgresql://postgres:hidden@127.0.0.1:1/postgres"),
        ("redis", "redis://:hidden@127.0.0.1:1/0"),
        ("kafka", "127.0.0.1:1"),
        ("kafka", "not an address"),
        ("redis", "http://127.0.0.1:1"),
    ],
)
def test_a_given_address_that_is_silent_is_an_error_and_nothing_else_is_taken(
    name: ServerName, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[name], address)
    with pytest.raises(ServerFailed) as refused, providers.running(name):
        pass
    assert VARIABLES[name] in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.usefixtures("_bare_machine")
@pytest.mark.parametrize("name", NAMES)
def test_with_nothing_there_it_fails_and_says_what_to_install(name: ServerName) -> None:
    with pytest.raises(ServersMissing) as missing, providers.running(name):
        pass
    text = str(missing.value)
    assert VARIABLES[name] in text
    assert "no Docker engine answers" in text
    assert providers.PACKAGES[name] in text


def test_a_run_without_servers_fails_and_skips_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text("def test_user(oms_redis_url):\n    assert oms_redis_url\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PATH": str(tmp_path), "OMS_TEST_SERVERS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    assert "1 error in" in done.stdout.splitlines()[-1]
    assert "skip" not in done.stdout.splitlines()[-1]
    assert "apt-get install redis-server" in done.stdout


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(providers.BACKENDS, "podman")
    with pytest.raises(ServersMissing, match="auto, urls, docker or native"):
        providers.allowed()


@pytest.mark.parametrize("choice", ["urls", "docker", "native"])
@pytest.mark.usefixtures("_bare_machine")
def test_a_choice_allows_one_rung(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(providers.BACKENDS, choice)
    with pytest.raises(ServersMissing) as missing, providers.running("redis"):
        pass
    tried = [line.split(":")[0].strip() for line in str(missing.value).splitlines() if line.startswith("  ")]
    assert tried[0] == choice
    assert not {"urls", "docker", "native"} - {choice} & set(tried)


def test_a_refused_engine_leads_to_native_servers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as nobody_listens:
        nobody_listens.bind(str(tmp_path / "no-engine.sock"))
        with providers.running("redis") as server:
            assert (server.provider, server.passed_over) == ("native", ())
            redis.Redis.from_url(server.address).ping()


def test_a_dumb_engine_is_waited_for_briefly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "PROBE_S", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "no-engine.sock"))
        listener.listen()
        with providers.running("redis") as server:
            assert server.provider == "native"


class Engine(BaseHTTPRequestHandler):
    """A Docker engine that has no image and reaches no registry."""

    def do_GET(self) -> None:
        if self.path.endswith("/_ping"):
            self._answer(200, "OK")
        elif self.path.endswith("/version"):
            self._answer(200, '{"ApiVersion": "1.43", "Version": "24.0"}')
        else:
            self._answer(404, '{"message": "No such image"}')

    def do_POST(self) -> None:
        self._answer(500, '{"message": "the registry is out of reach"}')

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if body.startswith("{") else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def _engine_without_images(tmp_path: Path) -> Iterator[None]:
    with ThreadingUnixStreamServer(str(tmp_path / "no-engine.sock"), Engine) as engine:
        engine.daemon_threads = True
        thread = threading.Thread(target=engine.serve_forever, args=(0.01,))
        thread.start()
        yield
        engine.shutdown()
        thread.join()


@pytest.mark.usefixtures("_engine_without_images")
def test_an_engine_without_the_image_leads_on_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_TEST_REDIS_IMAGE", "shop/redis:1")
    with providers.running("redis") as server:
        assert server.provider == "native"
        (reason,) = server.passed_over
    assert "shop/redis:1" in reason
    assert "the registry is out of reach" in reason
    assert reason in str(server)


@pytest.mark.usefixtures("_engine_without_images")
@pytest.mark.parametrize("name", NAMES)
def test_an_engine_without_the_image_fails_where_docker_was_chosen(
    name: ServerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(providers.BACKENDS, "docker")
    with pytest.raises(ServersMissing, match="the registry is out of reach"), providers.running(name):
        pass
