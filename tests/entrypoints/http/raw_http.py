"""A real server on a socket of its own, and clients that write bytes instead of requests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import oms
from oms.entrypoints.serve import Server, bound

TIMEOUT_S = 20.0
"""After this a test fails because the server hangs."""


@contextmanager
def serving(app: oms.App) -> Iterator[int]:
    """The port of a server for `app`, which is started already."""
    with running(app) as (_, port):
        yield port


@contextmanager
def running(app: oms.App) -> Iterator[tuple[Server, int]]:
    """The same with the server itself."""
    listener = bound("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # a client that reads nothing shows soon
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        until = time.monotonic() + TIMEOUT_S
        while not server.started:
            assert time.monotonic() < until, "the server didn't start"
            time.sleep(0.005)
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
    assert not thread.is_alive()


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(("127.0.0.1", port))
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self) -> Answer:
        """The next response; it has to have a Content-Length."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        length = int(headers["content-length"])
        while len(rest) < length:
            self._more()
            rest = self._received.partition(b"\r\n\r\n")[2]
        self._received = rest[length:]
        return Answer(int(lines[0].split()[1]), headers, rest[:length])

    def answers(self) -> list[Answer]:
        """All responses until the server closes."""
        found = []
        with suppress(ConnectionError):
            while True:
                found.append(self.answer())
        return found

    def closed(self) -> bool:
        """Wait for the server to close; whether nothing more came before that."""
        try:
            more = self.socket.recv(65536)
        except ConnectionError:
            return not self._received
        return not more and not self._received

    def _more(self) -> None:
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError(f"closed after {self._received!r}")
        self._received += part


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; empty for another answer."""
        kind = self.headers.get("content-type")
        return self.json["code"] if kind == "application/problem+json" else ""

    def __repr__(self) -> str:
        return f"{self.status} {self.code or self.body!r}"


def request(
    method: str, target: str, body: bytes = b"", *, headers: Sequence[str] = (), chunked: bool = False
) -> bytes:
    """The bytes of a request with a Host and, where it has a body, its type and framing."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body or chunked:
        lines += ["Content-Type: application/json"]
        lines += ["Transfer-Encoding: chunked"] if chunked else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
