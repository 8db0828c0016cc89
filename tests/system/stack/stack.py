"""The stack of docker-compose.yml as its users drive it: `docker compose`, `docker logs`, HTTP on 8081 to 8084."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import attrs

from tests.support.files import ROOT

PROJECT = "distributed-order-management"
SERVICES = ("order-service", "inventory-service", "payment-service", "notification-service")
DEPENDENCIES = ("kafka", "postgres", "redis", "edge")
UP_S = 600
SETTLED = {"CONFIRMED", "CANCELLED", "REJECTED"}
REQUEST = (ROOT / "tests/wire/post-order.request.json").read_text()


def run(*command: str, timeout_s: float = 60, cwd: Path = ROOT) -> str:
    """Standard output of a command; an AssertionError with its output if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done.stdout


def until(what: str, ask: Callable[[], Any], timeout_s: float = 60, every_s: float = 0.5) -> Any:
    """The first true answer of `ask`."""
    end = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        time.sleep(every_s)
    return answer


def http(port: int, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and parsed body of one request to this machine; OSError or HTTPException where none came."""
    connection = HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/json"} | (headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    return response.status, json.loads(text) if "json" in response.getheader("Content-Type", "") else text


@attrs.define
class Stack:
    """One project of compose. `files` are given to every command, as a user would with -f."""

    files: Sequence[str] = ()
    settings: dict[str, str] = attrs.field(factory=dict)

    def compose(self, *arguments: str, timeout_s: float = UP_S) -> str:
        """`docker compose ...`."""
        given = [part for file in self.files for part in ("-f", file)]
        return run("docker", "compose", "--progress", "plain", *given, *arguments, timeout_s=timeout_s)

    def up(self, *arguments: str) -> float:
        """Seconds that `docker compose up -d --wait` takes until every service is healthy."""
        began = time.monotonic()
        self.compose("up", "-d", "--wait", "--wait-timeout", str(UP_S), *arguments)
        return time.monotonic() - began

    def names(self) -> list[str]:
        """Containers of the project that run."""
        return run(
            "docker", "ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Names}}"
        ).split()

    def inspect(self, service: str, number: int = 1) -> dict[str, Any]:
        """What the engine knows of one container."""
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", f"{PROJECT}-{service}-{number}"))
        return found[0]

    def log(self, service: str, number: int = 1) -> str:
        """Everything that a container has written."""
        return subprocess.run(
            ["docker", "logs", f"{PROJECT}-{service}-{number}"], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def healthy(self, service: str, number: int = 1) -> bool:
        """Whether it runs, and its health check, where it has one, says so too."""
        state = self.inspect(service, number)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status", "healthy") == "healthy"

    def crash(self, service: str, number: int = 1) -> None:
        """SIGKILL from outside, as the kernel would: after `docker kill` no restart policy acts, since a person asked for it."""
        process = self.inspect(service, number)["State"]["Pid"]
        image = self.inspect("order-service")["Image"]
        code = f"import os; os.kill({process}, 9)"
        helper = ["docker", "run", "--rm", "--pid=host", "--network=none", "--user=0", "--entrypoint=python"]
        run(*helper, image, "-c", code)

    def restarts(self, service: str, number: int = 1) -> int:
        """How often the restart policy has acted."""
        return int(self.inspect(service, number)["RestartCount"])


def place(key: str, body: str = REQUEST, timeout_s: float = 120) -> str:
    """The id of one order: the request is repeated under its key until it is answered, as a careful caller does."""

    def once() -> str | None:
        try:
            status, answer = http(8081, "POST", "/orders", body, {"Idempotency-Key": key})
        except (OSError, HTTPException):
            return None
        assert status < 400 or status in {409, 502, 503, 504}, (status, answer)
        return str(answer["id"]) if status < 300 else None

    return str(until(f"POST /orders under {key}", once, timeout_s, every_s=0.2))


def state_of(order: str) -> str | None:
    """The order's state; None while no service responds."""
    try:
        status, answer = http(8081, "GET", f"/orders/{order}")
    except (OSError, HTTPException):
        return None
    assert status in {200, 502, 503, 504}, f"order {order}: {status} {answer}"
    return str(answer["status"]) if status == 200 else None


def settled(orders: Sequence[str], timeout_s: float = 180) -> dict[str, str]:
    """The states of all orders, once every one of them is settled."""
    found: dict[str, str] = {}

    def look() -> bool:
        for order in orders:
            if order not in found and (state := state_of(order)) in SETTLED:
                found[order] = str(state)
        return len(found) == len(orders)

    until(f"{len(orders)} orders settled", look, timeout_s)
    return found
