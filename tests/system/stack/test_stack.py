"""What a clone's user sees: the stack comes up, works, is killed piece by piece, restarted, and has lost nothing.

The tests build on each other in this order, on one stack.
"""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.stack.load import Load
from tests.system.stack.stack import (
    DEPENDENCIES,
    PROJECT,
    ROOT,
    SERVICES,
    Stack,
    http,
    place,
    run,
    settled,
    state_of,
    until,
)

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

PORTS = {"order-service": 8081, "inventory-service": 8082, "payment-service": 8083, "notification-service": 8084}
AT_REST_MB = 100
CRASH_ORDERS = 20
STOP_S = 11
"""Ten are promised; one is for the engine's own work around the process."""

README = f"""
curl -X POST http://localhost:8081/orders -H "Content-Type: application/json" -d @post-order.request.json
docker logs {PROJECT}-inventory-service-1
docker logs {PROJECT}-payment-service-1
docker logs {PROJECT}-notification-service-1
"""


def test_it_comes_up_as_it_is(stack: Stack) -> None:
    built = time.monotonic()
    stack.compose("build")
    up = stack.up("--build")
    print(f"\nbuild {time.monotonic() - built - up:.0f} s, up until all are healthy {up:.0f} s")
    assert sorted(stack.names()) == sorted(f"{PROJECT}-{name}-1" for name in (*SERVICES, *DEPENDENCIES))
    assert stack.inspect("setup")["State"]["ExitCode"] == 0
    for service, port in PORTS.items():
        assert http(port, "GET", "/readyz")[0] == 200, service


def test_the_readme_of_the_system_replaced_works_as_it_stands(stack: Stack) -> None:
    lines = README.strip().splitlines()
    answer = run("bash", "-ec", lines[0], cwd=ROOT / "tests/wire")
    order = json.loads(answer)["id"]
    assert json.loads(answer)["status"] == "CREATED"
    settled([order])

    def seen() -> str:
        return run("bash", "-ec", "\n".join(lines[1:]), cwd=ROOT / "tests/wire")

    until("Notification sent", lambda: "Notification sent" in seen())
    assert re.search(r"Inventory reserved.*Payment (success|failed).*Notification sent", seen(), re.DOTALL)


def test_the_operators_container_sees_orders_stock_and_what_is_wrong(stack: Stack) -> None:
    order = place("operators-container")
    settled([order])

    def operator(*arguments: str) -> str:
        return stack.compose("run", "--rm", "--no-deps", "operator", *arguments)

    def page(*arguments: str) -> dict[str, Any]:
        output = operator(*arguments, "--json")
        found: dict[str, Any] = json.loads(output[output.index("{") :])
        return found

    listed = page("orders", "list")
    assert order in {each["id"] for each in listed["content"]}
    assert page("stock", "list")["totalElements"] > 0
    assert "DECLINED" not in json.dumps(listed), "the simulated gateway declines nothing by default"
    assert operator("doctor").strip().splitlines()[-1] == "all servers are ready"
    operator("reconcile")


def test_the_edge_closes_connections_that_send_half_a_request(stack: Stack) -> None:
    stack.compose("exec", "-T", "edge", "haproxy", "-c", "-f", "/usr/local/etc/haproxy/haproxy.cfg")
    body = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    for sent in (b"GET / HTTP/1.1\r\nHost: local", body):
        with socket.create_connection(("127.0.0.1", PORTS["order-service"]), timeout=60) as half:
            half.sendall(sent)
            assert half.recv(4096).startswith(b"HTTP/1.1 408")


def test_no_web_page_reaches_the_stack_by_dns_rebinding(stack: Stack) -> None:
    for service, port in PORTS.items():
        for host, status in (("localhost:1", 200), ("edge", 200), ("evil.example", 421), ("evil.example:8081", 421)):
            assert http(port, "GET", "/metrics", headers={"Host": host})[0] == status, (service, host)


def test_everything_is_published_on_loopback_alone(stack: Stack) -> None:
    published = {}
    for name in stack.names():
        ports = json.loads(run("docker", "inspect", "--format", "{{json .NetworkSettings.Ports}}", name))
        for inside, hosts in ports.items():
            for host in hosts or ():
                published[inside] = (host["HostIp"], host["HostPort"])
    assert published == {f"{port}/tcp": ("127.0.0.1", str(port)) for port in PORTS.values()}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_do_no_more_than_it_needs(stack: Stack, service: str) -> None:
    known = stack.inspect(service)
    assert known["Config"]["User"] == "10001:10001"
    host = known["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] == 256 * 1024 * 1024
    status = run("docker", "exec", known["Name"].lstrip("/"), "python", "-c", "print(open('/proc/1/status').read())")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == ["10001"] * 4
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"].strip() == "1"


def test_a_service_sees_no_other_services_password(stack: Stack) -> None:
    names = {"order": "order-service", "inventory": "inventory-service", "payment": "payment-service"}
    for own, service in names.items():
        # a line without "=" is a variable of `.env` that isn't set
        lines = [line for line in stack.inspect(service)["Config"]["Env"] if "=" in line]
        passwords = [line for line in lines if "POSTGRES" in line and "PASSWORD" in line]
        assert [line.split("=")[0] for line in passwords] == [f"OMS_POSTGRES_PASSWORD_{own.upper()}"]


def test_redis_evicts_nothing_and_its_user_can_do_no_harm(stack: Stack) -> None:
    password = "local-redis"  # the default of docker-compose.yml

    def ask(*command: str, user: str = "oms") -> str:
        login = ["--no-auth-warning", "--user", user, "--pass", password]
        return run("docker", "exec", f"{PROJECT}-redis-1", "redis-cli", *login, *command).strip()

    facts = dict(line.split(":", 1) for line in ask("INFO").splitlines() if ":" in line)
    assert facts["maxmemory_policy"] == "noeviction"
    assert facts["aof_enabled"] == "1"
    for command in (["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["HSET", "other", "a", "1"]):
        assert ask(*command).startswith("NOPERM"), command
    assert ask("PING", user="default").startswith(("NOAUTH", "WRONGPASS", "AUTH failed"))


def test_memory_at_rest(stack: Stack) -> None:
    time.sleep(5)
    used = {}
    for service in SERVICES:
        text = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", f"{PROJECT}-{service}-1")
        used[service] = _megabytes(text.split("/")[0])
    print(f"\nmemory at rest, MB: {used}")
    assert max(used.values()) < AT_REST_MB, used


def test_what_the_image_holds(stack: Stack) -> None:
    image = stack.inspect("order-service")["Image"]
    known = json.loads(run("docker", "image", "inspect", image))[0]
    base = json.loads(run("docker", "image", "inspect", "python:3.11-slim-bookworm"))[0]
    print(f"\nimage: {known['Size'] / 1e6:.0f} MB, of which {base['Size'] / 1e6:.0f} MB are its base")
    assert known["Size"] - base["Size"] < 150_000_000
    inside = run("docker", "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", INSIDE)
    facts = json.loads(inside)
    assert "distributed-oms" in facts["packages"]
    assert not {"pytest", "mypy", "hypothesis", "pip"} & set(facts["packages"])
    assert facts["uncompiled"] == []


INSIDE = """
import json, importlib.metadata as m, pathlib, oms
root = pathlib.Path(oms.__file__).parent
files = [f for f in root.rglob('*.py') if 'migrations' not in f.parts]
lacking = [str(f) for f in files if not list((f.parent / '__pycache__').glob(f.stem + '.cpython-*.pyc'))]
print(json.dumps({'packages': [d.name for d in m.distributions(path=[str(root.parent)])], 'uncompiled': lacking}))
"""


def test_inventory_scales_to_three(stack: Stack, load: Load) -> None:
    stack.up("--scale", "inventory-service=3")
    try:
        for number in (1, 2, 3):
            assert stack.healthy("inventory-service", number)
        shares = until("each has a share of the partitions", lambda: _shares(stack))
        print(f"\npartitions of each instance: {shares}")
        orders = load.place(100)
        assert len(settled(orders)) == 100
        assert http(8082, "GET", "/readyz")[0] == 200
        reserved = [_reservations(stack, number, orders) for number in (1, 2, 3)]
        print(f"\norders reserved by each instance: {reserved}")
        assert all(reserved), "each has partitions of order.created"
    finally:
        stack.up("--scale", "inventory-service=1")


MEMBERS = """
import json, os
from confluent_kafka.admin import AdminClient
admin = AdminClient({'bootstrap.servers': os.environ['OMS_KAFKA_BOOTSTRAP']})
group = admin.describe_consumer_groups(['inventory-group'])['inventory-group'].result()
print(json.dumps([[f'{p.topic}-{p.partition}' for p in m.assignment.topic_partitions] for m in group.members]))
"""


def _shares(stack: Stack) -> list[list[str]] | None:
    """The partitions of each member of the group, once there are three and none is left out."""
    output = stack.compose("run", "--rm", "--no-deps", "--entrypoint", "python", "operator", "-c", MEMBERS)
    shares: list[list[str]] = json.loads(output.strip().splitlines()[-1])
    return shares if len(shares) == 3 and all(shares) else None


def _reservations(stack: Stack, number: int, orders: list[str]) -> int:
    lines = [line for line in stack.log("inventory-service", number).splitlines() if "Inventory reserved" in line]
    return sum(1 for order in orders if any(order in line for line in lines))


@pytest.mark.parametrize("service", [*SERVICES, *DEPENDENCIES])
def test_it_comes_back_when_killed_under_load(stack: Stack, load: Load, service: str) -> None:
    before, restarts = len(load.orders), stack.restarts(service)
    with load.running():
        until("orders before the crash", lambda: len(load.orders) >= before + CRASH_ORDERS)
        stack.crash(service)
        until(f"{service} was restarted", lambda: stack.restarts(service) > restarts)
        until(f"{service} is healthy again", lambda: stack.healthy(service), 120)
        again = len(load.orders)
        until("orders after the crash", lambda: len(load.orders) >= again + CRASH_ORDERS, 120)
    settled(load.orders[before:])


def test_a_stop_is_short_and_clean(stack: Stack, load: Load) -> None:
    before, took, codes = len(load.orders), {}, {}
    with load.running():
        until("orders", lambda: len(load.orders) >= before + CRASH_ORDERS)
        for service in SERVICES:
            began = time.monotonic()
            run("docker", "stop", "--time", "30", f"{PROJECT}-{service}-1")
            took[service] = round(time.monotonic() - began, 1)
            codes[service] = stack.inspect(service)["State"]["ExitCode"]
            run("docker", "start", f"{PROJECT}-{service}-1")
            until(f"{service} is healthy again", lambda name=service: stack.healthy(name), 120)
    print(f"\nseconds to stop under load: {took}")
    assert max(took.values()) < STOP_S
    assert set(codes.values()) == {0}, codes
    settled(load.orders[before:])


def test_all_orders_are_there_after_a_restart(stack: Stack, load: Load) -> None:
    known = settled(load.orders)
    stack.compose("restart")
    until("the order service answers", lambda: state_of(load.orders[0]), 120)
    assert {order: state_of(order) for order in load.orders} == known


def test_all_orders_are_there_after_down_and_up_with_secrets_in_files(stack: Stack, load: Load, tmp_path: Path) -> None:
    """The containers are made anew from the volumes, as production runs them: no password in any environment."""
    known = settled(load.orders)
    stack.compose("down", "--timeout", "20")
    stack.files = ["docker-compose.yml", "deploy/secrets.yml"]
    stack.up()
    assert {order: state_of(order) for order in load.orders} == known
    for name in stack.names():
        environment = json.loads(run("docker", "inspect", "--format", "{{json .Config.Env}}", name))
        assert not [line for line in environment if re.match(r"\w*PASSWORD\w*(?<!_FILE)=", line)], name
    settled(load.place(CRASH_ORDERS))


def test_every_promise_holds(stack: Stack, load: Load) -> None:
    settled(load.orders)
    output = stack.compose("run", "--rm", "operator", "verify", timeout_s=300)
    print(f"\n{len(load.orders)} orders; oms verify:\n{output}")


def _megabytes(text: str) -> float:
    amount, unit = re.fullmatch(r"([\d.]+)(\w+)", text.strip()).groups()  # type: ignore[union-attr]
    return round(float(amount) * {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}[unit] / 1e6, 1)
