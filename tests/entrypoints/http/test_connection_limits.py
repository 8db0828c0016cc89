"""Times and numbers of connections, with limits of fractions of a second."""

from __future__ import annotations

import json
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

import oms
from oms.entrypoints.http.limits import FEWEST_CONNECTIONS, RESERVED_DESCRIPTORS, Limits
from oms.settings import load_settings
from tests.entrypoints.http.raw_http import TIMEOUT_S, Client, request, running, serving

ORDER = json.dumps({"userId": "ann", "amount": 1, "items": {"apple": 1}}).encode()
SHORT_S = 0.3
LONG_S = 30.0
"""Longer than a test waits for anything."""


@contextmanager
def limited(**limits: object) -> Iterator[tuple[oms.App, int]]:
    times = {"http_head_s": LONG_S, "http_body_s": LONG_S, "http_send_s": LONG_S, "http_keep_alive_s": LONG_S}
    with (
        oms.create(profile="memory", environ={}, log_level="error", **{**times, **limits}) as app,
        serving(app) as port,
    ):
        yield app, port


def metric(app: oms.App, line: str) -> bool:
    return line in app.metrics().decode()


# -- times


@pytest.mark.parametrize(
    "sent", [b"GET", b"GET / HTTP/1.1\r\nHost: local", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"\r\n"]
)
def test_half_a_head_is_answered_408(sent: bytes) -> None:
    with limited(http_head_s=SHORT_S) as (app, port), Client(port) as client:
        client.send(sent)
        answer = client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert client.closed()
        assert metric(app, 'oms_http_refused_total{code="request_timeout"} 1.0')


def test_a_head_that_drips_is_answered_408() -> None:
    with limited(http_head_s=SHORT_S) as (_, port), Client(port) as client:
        stop = threading.Event()

        def drip() -> None:
            try:
                for byte in request("GET", "/healthz", headers=["X-A: " + "a" * 16000]):
                    client.send(bytes([byte]))
                    if stop.wait(0.02):
                        break
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        assert client.answer().status == 408
        stop.set()
        thread.join()


def test_a_silent_connection_is_closed() -> None:
    with limited(http_head_s=SHORT_S) as (_, port), Client(port) as client:
        assert client.closed()


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_half_a_body_is_answered_408(framing: str) -> None:
    with limited(http_body_s=SHORT_S) as (app, port), Client(port) as client:
        client.send(request("POST", "/orders", headers=["Content-Type: application/json", framing]), b"5\r\n{")
        answer = client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert client.closed()
        assert app.orders.page().total == 0


def test_a_body_that_never_comes_is_closed_after_an_early_answer() -> None:
    with limited(http_body_s=SHORT_S) as (_, port), Client(port) as client:
        client.send(request("GET", "/healthz", headers=["Content-Length: 100"]))
        assert client.answer().status == 200
        assert client.closed()


def test_an_idle_connection_is_closed() -> None:
    with limited(http_keep_alive_s=SHORT_S) as (_, port), Client(port) as client:
        for _ in range(3):
            client.send(request("GET", "/healthz"))
            assert client.answer().status == 200
        assert client.closed()


def test_a_connection_in_use_outlives_the_limits() -> None:
    with (
        limited(http_head_s=SHORT_S, http_body_s=SHORT_S, http_keep_alive_s=SHORT_S) as (_, port),
        Client(port) as client,
    ):
        until = time.monotonic() + 4 * SHORT_S
        while time.monotonic() < until:
            client.send(request("POST", "/orders", ORDER))
            assert client.answer().status == 201
            time.sleep(SHORT_S / 6)


def test_requests_before_a_late_one_are_answered() -> None:
    with limited(http_head_s=SHORT_S) as (_, port), Client(port) as client:
        client.send(request("POST", "/orders", ORDER) + b"GET /healthz")
        assert client.answer().status == 201
        assert client.answer().status == 408
        assert client.closed()


def test_a_client_that_reads_nothing_is_dropped() -> None:
    with limited(http_send_s=SHORT_S) as (app, port), Client(port) as client:
        client.send(request("GET", "/openapi.json") * 40)
        until = time.monotonic() + TIMEOUT_S
        while not metric(app, 'oms_http_refused_total{code="response_not_read"} 1.0'):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert len(client.answers()) < 40


def test_a_client_that_sends_on_and_reads_nothing_is_dropped() -> None:
    with limited(http_send_s=LONG_S, http_body_s=SHORT_S) as (_, port), Client(port) as client:
        client.send(
            request("GET", "/openapi.json") * 20 + request("GET", "/openapi.json", headers=["Content-Length: 9"])
        )
        time.sleep(3 * SHORT_S)
        assert [answer.status for answer in client.answers()] == [200] * 20
        assert client.closed()


# -- numbers


def test_idle_connections_lock_nobody_out() -> None:
    limit = 20
    with limited(http_connections=limit) as (app, port):
        first = Client(port)
        first.send(request("GET", "/healthz"))
        assert first.answer().status == 200
        openings = [b"", b"GET / HT", request("POST", "/orders", headers=["Content-Length: 9"]), b"\r\n"]
        idle = []
        for n in range(3 * limit):
            client = Client(port)
            client.send(openings[n % len(openings)])
            idle.append(client)
        for _ in range(limit):
            with Client(port) as client:
                client.send(request("POST", "/orders", ORDER))
                assert client.answer().status == 201
        assert first.closed(), "it has waited longest"
        assert metric(app, 'oms_alarms_total{event="HTTP connection limit reached"} 1.0'), "reported once a minute"
        for client in idle:
            client.socket.close()


class Held(oms.Authenticator):
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.released = threading.Event()

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal | None:
        self.asked.release()
        self.released.wait(TIMEOUT_S)
        return None


def test_with_requests_in_work_only_new_connections_are_refused() -> None:
    limit, held = 4, Held()
    with limited(http_connections=limit, authenticator=held) as (_, port):
        busy = [Client(port) for _ in range(limit)]
        for client in busy:
            client.send(request("GET", "/orders"))
        for _ in busy:
            assert held.asked.acquire(timeout=TIMEOUT_S)
        with Client(port) as refused:
            answer = refused.answer()
            assert (answer.status, answer.code) == (503, "too_many_connections")
            assert refused.closed()
        flood = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        held.released.set()
        for client in busy:
            assert client.answer().status == 401
            client.socket.close()
        for one in flood:
            one.close()
        with Client(port) as client:
            client.send(request("GET", "/healthz"))
            assert client.answer().status == 200


UPGRADE = ["Connection: Upgrade", "Upgrade: h2c"]
PARTS = [
    request("POST", "/orders", ORDER),
    request("POST", "/orders", ORDER, headers=UPGRADE, chunked=True),
    request("POST", "/orders", headers=["Content-Length: 50"]),
    request("GET", "/openapi.json"),
    request("GET", "/healthz") * 30,
    request("GET", "/docs", headers=["Connection: close"]),
    request("GET", "/healthz", headers=["X-A: " + "a" * 20000]),
    request("POST", "/orders", b" " * 300_000),
    request("GET", "/healthz", headers=["Content-Length: 9", "Connection: close"]),
    b"\0",
    b"\r\n",
]


def misbehave(port: int, chance: random.Random) -> None:
    """One connection that sends parts of requests, reads or doesn't, and ends somehow."""
    with suppress(OSError), Client(port) as client:
        client.socket.settimeout(chance.choice([0.02, 0.3]))
        for _ in range(chance.randrange(6)):
            part = chance.choice(PARTS)
            client.send(part[: chance.randrange(len(part) + 1)] if chance.random() < 0.4 else part)
            if chance.random() < 0.4:
                client.socket.recv(100)
            if chance.random() < 0.05:
                client.socket.shutdown(socket.SHUT_WR)
            time.sleep(chance.choice([0, 0, 0.2]))
        if chance.random() < 0.4:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_whatever_clients_do_the_server_goes_on_and_forgets_them() -> None:
    short = {"http_head_s": 0.1, "http_body_s": 0.1, "http_send_s": 0.2, "http_keep_alive_s": 0.15}
    with (
        oms.create(profile="memory", environ={}, log_level="error", http_connections=20, **short) as app,
        running(app) as (server, port),
    ):
        others = [
            threading.Thread(target=lambda n=n: [misbehave(port, random.Random(f"{n}/{m}")) for m in range(8)])
            for n in range(30)
        ]
        for other in others:
            other.start()
        for other in others:
            other.join()
        registry = server._connections
        with Client(port) as client:
            client.send(request("POST", "/orders", ORDER))
            assert client.answer().status == 201
        until = time.monotonic() + TIMEOUT_S
        while registry._open or registry._waiting:
            assert time.monotonic() < until, "a connection stays open"
            time.sleep(0.02)


def test_the_limit_stays_below_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(descriptors: int, wanted: int = 1000) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
        return Limits.of(load_settings({}, http_connections=wanted)).connections

    assert of(100_000) == 1000
    assert of(resource.RLIM_INFINITY) == 1000
    assert of(1024) == 1024 - RESERVED_DESCRIPTORS
    assert of(1024, wanted=10) == 10
    assert of(64) == FEWEST_CONNECTIONS
