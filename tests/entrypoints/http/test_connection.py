"""What a client can send before it has authenticated, byte by byte, to a real server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oms
from tests.entrypoints.http.raw_http import Client, request, serving

ORDER = json.dumps({"userId": "ann", "amount": 1, "items": {"apple": 1}}).encode()
UPGRADES = {
    "jdk": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"),
    "websocket": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"),
    "unknown": ("connection:keep-alive,\tUPGRADE ", "upgrade: quic/9, TLS/1.0"),
    "two lines": ("Connection: keep-alive", "Connection: upgrade", "Upgrade: h2c", "Upgrade: websocket"),
}  # fmt: skip


@pytest.fixture(scope="module")
def app() -> Iterator[oms.App]:
    with oms.create(profile="memory", environ={}, default_stock=100, log_level="error") as made:
        yield made


@pytest.fixture(scope="module")
def port(app: oms.App) -> Iterator[int]:
    with serving(app) as found:
        yield found


def order_count(app: oms.App) -> int:
    return app.orders.page().total


# -- upgrades


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_request_that_asks_for_an_upgrade_keeps_its_body(
    port: int, app: oms.App, upgrade: tuple[str, ...], chunked: bool
) -> None:
    before = order_count(app)
    with Client(port) as client:
        client.send(request("POST", "/orders", ORDER, headers=upgrade, chunked=chunked))
        assert client.answer().status == 201
        client.send(request("GET", "/healthz", headers=upgrade))
        assert client.answer().status == 200
    assert order_count(app) == before + 1


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_no_body_is_parsed_as_a_request(
    port: int, app: oms.App, upgrade: tuple[str, ...], method: str, chunked: bool
) -> None:
    before = order_count(app)
    hidden = request("POST", "/orders", ORDER)
    path = "/stock/apple" if method == "PUT" else "/orders"
    with Client(port) as client:
        client.send(request(method, path, hidden, headers=upgrade, chunked=chunked), request("GET", "/healthz"))
        client.answer()
        assert client.answer().json == {"status": "up", "problems": []}
    assert order_count(app) == before


def test_pipelined_requests_with_upgrades_are_answered_in_order(port: int) -> None:
    asking = request("GET", "/stock/no-such", headers=UPGRADES["jdk"])
    plain = request("GET", "/healthz")
    with Client(port) as client:
        client.send((asking + plain) * 10)
        assert [client.answer().status for _ in range(20)] == [404, 200] * 10


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_how_a_request_is_cut_into_packets_changes_nothing(port: int, data: st.DataObject) -> None:
    upgrade = data.draw(st.sampled_from([(), *UPGRADES.values()]))
    chunked = data.draw(st.booleans())
    hidden = request("POST", "/nothing", ORDER)
    sent = request("POST", "/orders", ORDER, headers=upgrade, chunked=chunked)
    sent += request("GET", "/healthz", hidden, headers=upgrade, chunked=chunked) + request("GET", "/readyz")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=4)))
    with Client(port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            client.send(sent[start:end])
            time.sleep(0.001)
        assert [client.answer().status for _ in range(3)] == [201, 200, 200]


# -- ambiguous requests

HEAD = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ORDER), ORDER)
LENGTH = b"Content-Length: %d\r\n" % len(ORDER)
AMBIGUOUS = {
    "length and chunked": HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunked and length": HEAD + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNKS,
    "two lengths": HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + ORDER,
    "one length twice": HEAD + LENGTH + LENGTH + b"\r\n" + ORDER,
    "a list of lengths": HEAD + b"Content-Length: %d, %d\r\n\r\n" % (len(ORDER), len(ORDER)) + ORDER,
    "a signed length": HEAD + b"Content-Length: +%d\r\n\r\n" % len(ORDER) + ORDER,
    "an empty length": HEAD + b"Content-Length:\r\n\r\n" + ORDER,
    "an endless length": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + ORDER,
    "another encoding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + CHUNKS,
    "encodings": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS,
    "nearly chunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunked in 1.0": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "a folded header": HEAD + LENGTH + b"X-A: a\r\n b\r\n\r\n" + ORDER,
    "a bare LF": HEAD + LENGTH + b"X-A: a\nX-B: b\r\n\r\n" + ORDER,
    "bare LFs only": HEAD.replace(b"\r", b"") + LENGTH.replace(b"\r", b"") + b"\n" + ORDER,
    "a bare CR": HEAD + LENGTH + b"X-A: a\rX-B: b\r\n\r\n" + ORDER,
    "NUL in a value": HEAD + LENGTH + b"X-A: a\0b\r\n\r\n" + ORDER,
    "NUL in a name": HEAD + LENGTH + b"X\0A: ab\r\n\r\n" + ORDER,
    "blank before the colon": HEAD + LENGTH + b"X-A : ab\r\n\r\n" + ORDER,
    "blank before the name": HEAD + LENGTH + b" X-A: ab\r\n\r\n" + ORDER,
    "no name": HEAD + LENGTH + b": ab\r\n\r\n" + ORDER,
    "no colon": HEAD + LENGTH + b"X-A\r\n\r\n" + ORDER,
    "blank after a chunk's size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS.replace(b"\r\n", b" \r\n", 1),
    "a chunk's bare LF": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS.replace(b"\r\n", b"\n"),
    "a chunk that is too long": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n" + ORDER + b"\r\n0\r\n\r\n",
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + ORDER + b"\r\n0\r\n\r\n",
    "absolute, another host": HEAD.replace(b"/orders", b"http://evil.example/orders") + LENGTH + b"\r\n" + ORDER,
    "absolute, another scheme": HEAD.replace(b"/orders", b"ftp://localhost/orders") + LENGTH + b"\r\n" + ORDER,
    "absolute, userinfo": HEAD.replace(b"/orders", b"http://a@localhost/orders") + LENGTH + b"\r\n" + ORDER,
    "asterisk": HEAD.replace(b"/orders", b"*") + LENGTH + b"\r\n" + ORDER,
    "no target": HEAD.replace(b"/orders ", b"") + LENGTH + b"\r\n" + ORDER,
    "target with a blank": HEAD.replace(b"/orders", b"/ord ers") + LENGTH + b"\r\n" + ORDER,
    "target with NUL": HEAD.replace(b"/orders", b"/orders\0") + LENGTH + b"\r\n" + ORDER,
    "target beyond ASCII": HEAD.replace(b"/orders", b"/orders\xff") + LENGTH + b"\r\n" + ORDER,
    "HTTP/0.9": b"POST /orders\r\n\r\n" + ORDER,
    "HTTP/0.9 by name": HEAD.replace(b"1.1", b"0.9") + LENGTH + b"\r\n" + ORDER,
    "HTTP/1.2": HEAD.replace(b"1.1", b"1.2") + LENGTH + b"\r\n" + ORDER,
    "HTTP/2.0": HEAD.replace(b"1.1", b"2.0") + LENGTH + b"\r\n" + ORDER,
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT localhost:8081 HTTP/1.1\r\nHost: localhost:8081\r\n\r\n",
    "CONNECT with an upgrade": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
}  # fmt: skip


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_two_servers_could_read_differently_is_refused(port: int, app: oms.App, sent: bytes) -> None:
    before = order_count(app)
    with Client(port) as client:
        client.send(sent, request("POST", "/orders", ORDER))
        answer = client.answer()
        assert (answer.status, answer.code) == (400, "malformed_request")
        assert answer.headers["connection"] == "close"
        assert client.closed()
    assert order_count(app) == before


def test_requests_before_a_malformed_one_are_answered(port: int) -> None:
    with Client(port) as client:
        client.send(request("GET", "/healthz") * 3 + AMBIGUOUS["NUL in a value"])
        assert [client.answer().status for _ in range(3)] == [200] * 3
        assert client.closed()


def test_accepted_spellings(port: int) -> None:
    with Client(port) as client:
        client.send(b"\r\n\r\n" + request("GET", "/healthz"))
        assert client.answer().status == 200
        client.send(b"GET HTTP://LocalHost/healthz?x=1 HTTP/1.1\r\nhOST: localhost\r\n\r\n")
        assert client.answer().status == 200
        client.send(request("GET", "/healthz", headers=["X-A:", "X-B: \t a \t "]))
        assert client.answer().status == 200
        client.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        last = client.answer()
        assert (last.status, last.headers["connection"]) == (200, "close")
        assert client.closed()


def test_data_after_the_last_request_of_a_connection_is_not_served(port: int, app: oms.App) -> None:
    before = order_count(app)
    last = request("GET", "/healthz", headers=["Connection: close"])
    old = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    for first in (last, old):
        with Client(port) as client:
            client.send(first + request("POST", "/orders", ORDER))
            assert client.answer().status == 200
            assert client.closed()
    assert order_count(app) == before


def test_trailers_are_no_headers(port: int) -> None:
    trailers = b"Idempotency-Key: from-a-trailer\r\nAuthorization: Bearer x\r\n\r\n"
    with Client(port) as client:
        for _ in range(2):
            client.send(request("POST", "/orders", ORDER, chunked=True)[:-2] + trailers)
        assert client.answer().json["id"] != client.answer().json["id"]
        client.send(request("POST", "/orders", ORDER, headers=["Idempotency-Key: k"], chunked=True)[:-2] + trailers)
        assert client.answer().status == 201


# -- sizes


def test_large_heads_are_refused(port: int) -> None:
    most = 16384
    heads = {
        "one header": request("GET", "/healthz", headers=["X-A: " + "a" * most]),
        "many headers": request("GET", "/healthz", headers=["A: b"] * (most // 6)),
        "one name": request("GET", "/healthz", headers=["a" * most + ": b"]),
        "target": request("GET", "/healthz?" + "a" * most),
    }
    for name, sent in heads.items():
        with Client(port) as client:
            client.send(request("GET", "/healthz") + sent + request("GET", "/healthz"))
            assert client.answer().status == 200, name
            try:
                answer = client.answer()
            except ConnectionError:  # the first answer wasn't complete when the second head was refused
                continue
            assert (answer.status, answer.code) == (431, "headers_too_large"), name
            assert client.closed()
    with Client(port) as client:
        client.send(request("GET", "/healthz", headers=["X-A: " + "a" * (most - 200)]))
        assert client.answer().status == 200


ENDLESS = {
    "one header": (request("GET", "/healthz")[:-2] + b"X-A: ", b"a" * 65536, 431),
    "many headers": (request("GET", "/healthz")[:-2], b"xxxxxxxxxxxxxxxxxxxx: y\r\n" * 2500, 431),
    "one name": (request("GET", "/healthz")[:-2], b"a" * 65536, 431),
    "target": (b"GET /", b"a" * 65536, 431),
    "empty lines": (b"", b"\r\n" * 32768, 431),
    "method": (b"", b"A" * 65536, 400),
    "chunk extension": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"a" * 65536, 413),
    "trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", b"a" * 65536, 413),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"xxxxxxxxxxxxxxxxxxxx: y\r\n" * 2500, 431),
    "body": (HEAD + b"Content-Length: 1000000000\r\n\r\n", b" " * 65536, 413),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10000, 413),
}


@pytest.mark.parametrize(("start", "part", "status"), ENDLESS.values(), ids=ENDLESS)
def test_a_client_that_never_stops_is_stopped(port: int, start: bytes, part: bytes, status: int) -> None:
    """48 MB of header bytes on one connection blocked the event loop for seconds."""
    sent = 0
    with Client(port) as client:
        client.send(start)
        try:
            while sent < 200_000_000:
                client.send(part)
                sent += len(part)
        except ConnectionError:
            pass
        assert sent < 200_000_000
        with Client(port) as other:
            other.send(request("GET", "/healthz"))
            assert other.answer().status == 200
    with Client(port) as client:
        client.send(start, *[part] * 8)
        assert client.answer().status == status


def test_pipelined_requests_have_a_limit(port: int) -> None:
    with Client(port) as client:
        client.send(request("GET", "/stock/no-such") * 40)
        assert [client.answer().status for _ in range(40)] == [404] * 40
        client.send(request("GET", "/stock/no-such") * 400)
        answers = client.answers()
        assert 40 <= len(answers) < 400
        assert {answer.status for answer in answers} == {404}
    with Client(port) as client:
        client.send(request("GET", "/healthz"))
        assert client.answer().status == 200
