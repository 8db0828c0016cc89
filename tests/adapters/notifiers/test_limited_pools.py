"""The webhook's time limit covers a whole post, and the check of a signature survives whatever a stranger sends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import oms
from oms.adapters.memory.clock import ManualClock
from oms.adapters.notifiers.webhook import WebhookNotifier
from oms.ports.webhook import signature

LIMIT_S = 0.4
MOST_S = 4 * LIMIT_S
"""Below it, the limit has ended the post; each of the receivers below takes far longer."""

NOTE = oms.Notification(
    "o:k", oms.OrderId("o"), oms.UserId("u"), "order.confirmed", oms.Money(5, oms.Currency.of("USD"))
)
Behave = Callable[[socket.socket], None]


def trickle(connection: socket.socket, text: bytes) -> None:
    for byte in text:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def says_nothing(_connection: socket.socket) -> None:
    time.sleep(10)


def trickling_headers(connection: socket.socket) -> None:
    trickle(connection, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 80)


def endless_interim_answers(connection: socket.socket) -> None:
    for _ in range(100):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.1)


def trickling_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    trickle(connection, b"1\r\nx\r\n" * 20)


def trickling_body_to_the_close(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    trickle(connection, b"x" * 100)


def endless_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def broken_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


def cut_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")


def wrong_encoding(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")


class Receiver:
    """Accepts connections, reads one request from each, and behaves."""

    def __init__(self, behave: Behave) -> None:
        self._behave, self.connections = behave, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while self._arrives(connection):
                self._behave(connection)

    def _arrives(self, connection: socket.socket) -> bool:
        """Read a whole request: its headers and its body may arrive apart, and get one answer together."""
        request = connection.recv(65536)
        while request.startswith(b"POST") and not _is_whole(request):
            more = connection.recv(65536)
            if not more:
                return False
            request += more
        return bool(request)


def _is_whole(request: bytes) -> bool:
    head, ended, body = request.partition(b"\r\n\r\n")
    if not ended:
        return False
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0].partition(b":")[2])


@pytest.fixture
def receiving() -> Iterator[Callable[[Behave], Receiver]]:
    made: list[Receiver] = []

    def receiver(behave: Behave) -> Receiver:
        made.append(Receiver(behave))
        return made[-1]

    yield receiver
    for one in made:
        one.close()


def send(url: str) -> tuple[str, float]:
    notifier, began = WebhookNotifier(url, "s" * 16, ManualClock(), timeout_s=LIMIT_S), time.monotonic()
    try:
        notifier.send(NOTE)
    except oms.Retryable:
        return "again", time.monotonic() - began
    return "delivered", time.monotonic() - began


@pytest.mark.parametrize("behave", [says_nothing, trickling_headers, endless_interim_answers])
def test_a_post_without_a_status_ends_at_the_limit_and_is_sent_again(receiving: Any, behave: Behave) -> None:
    outcome, took_s = send(receiving(behave).url)
    assert outcome == "again"
    assert took_s < MOST_S


@pytest.mark.parametrize(
    "behave",
    [trickling_chunks, trickling_body_to_the_close, endless_body, broken_chunks, cut_body, wrong_encoding],
)
def test_a_post_with_status_200_is_delivered_whatever_its_body_does(receiving: Any, behave: Behave) -> None:
    outcome, took_s = send(receiving(behave).url)
    assert outcome == "delivered"
    assert took_s < MOST_S


def test_a_server_that_never_ends_the_tls_handshake_is_left_at_the_limit(receiving: Any) -> None:
    receiver = receiving(lambda connection: trickle(connection, b"\x16\x03\x03\x40\x00" + b"\x02" * 100))
    outcome, took_s = send(receiver.url.replace("http:", "https:"))
    assert outcome == "again"
    assert took_s < MOST_S


def test_a_redirect_is_not_followed(receiving: Any) -> None:
    other = receiving(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    answer = f"HTTP/1.1 307 There\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n".encode()
    assert send(receiving(lambda connection: connection.sendall(answer)).url)[0] == "again"
    assert other.connections == 0


def test_a_connection_is_used_again_and_no_descriptor_is_left_open(receiving: Any) -> None:
    receiver = receiving(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    notifier = WebhookNotifier(receiver.url, "s" * 16, ManualClock())
    for _ in range(5):
        notifier.send(NOTE)
    assert receiver.connections == 1


HOSTILE = st.one_of(
    st.none(), st.integers(), st.binary(), st.text(), st.lists(st.text()), st.text("0123456789²٣", min_size=1)
)
NAMES = st.one_of(st.sampled_from(["Oms-Timestamp", "oms-signature", "OMS-SIGNATURE"]), st.text(), st.integers())


@given(
    st.one_of(HOSTILE, st.dictionaries(NAMES, HOSTILE)),
    st.one_of(st.binary(), HOSTILE),
)
@example({"Oms-Timestamp": "9" * 5000, "Oms-Signature": "v1=x"}, b"")
@example({"Oms-Timestamp": "0", "Oms-Signature": "v1=é"}, b"")
@example({"Oms-Timestamp": "²", "Oms-Signature": "v1="}, b"")
@example({"Oms-Timestamp": "0", "Oms-Signature": "v1=" + "0" * 10**6}, "text")
def test_a_hostile_post_is_not_verified_and_raises_nothing(headers: Any, body: Any) -> None:
    assert oms.verify_signature("secret", headers, body, ManualClock().now()) is False


def test_a_signature_that_is_ours_is_verified_under_names_in_any_case() -> None:
    now = ManualClock().now()
    stamp = str(int(now.timestamp()))
    headers = {"OMS-TIMESTAMP": stamp, "oms-Signature": signature("secret", stamp, b"{}")}
    assert oms.verify_signature("secret", headers, b"{}", now) is True
