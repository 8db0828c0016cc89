"""The load of `oms bench` against servers that close connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest

from oms.testing.bench import load
from oms.testing.bench.load import Answer, Buyer, Crowd, Plan, PreparedRequest, place

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Closes = Callable[[int, int], str]
"""Of the connection with this number, and its request with this number (0 is the hello): what the server does."""


class ClosingServer:
    """Answers what comes over a connection, until `closes` says `before` (unread) or `after` (answered)."""

    def __init__(self, closes: Closes) -> None:
        self._closes, self.orders = closes, 0
        self.requests: list[int] = []
        """Of each connection, hello and all."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(self.requests)
        self.requests.append(0)
        while head := await _head(reader):
            what = self._closes(connection, self.requests[connection])
            if what == "before":
                break
            writer.write(HELLO if head.startswith(b"GET") else await self._order(head, reader))
            self.requests[connection] += 1
            if what == "after":
                break
        writer.close()

    async def _order(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
        text = b'{"id":"order-%d"}' % self.orders
        self.orders += 1
        return b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        return b""


def placed(
    closes: Closes, *, orders: int, connections: int = 1, rate_per_s: float = 0.0
) -> tuple[ClosingServer, Sequence[Answer]]:
    async def run() -> tuple[ClosingServer, Sequence[Answer]]:
        closing_server = ClosingServer(closes)
        server = await asyncio.start_server(closing_server.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        made: Awaitable[Sequence[Answer]] = place(Plan("127.0.0.1", port, "", orders, connections, rate_per_s))
        async with server:
            return closing_server, await asyncio.wait_for(made, 30)

    return asyncio.run(run())


def test_a_buyer_whose_connection_was_closed_makes_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "RESTED_S", 0.0)  # an order may fall due before the end of the connection is heard of
    closing_server, answers = placed(lambda _, request: "after" if request == 1 else "", orders=4, rate_per_s=20)
    assert [answer.order for answer in answers] == ["order-0", "order-1", "order-2", "order-3"]
    assert closing_server.requests == [2, 2, 1]  # the first had the hello


def test_what_is_sent_as_a_rested_connection_closes_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "RESTED_S", 0.0)
    closing_server, answers = placed(
        lambda connection, request: "before" if (connection, request) == (0, 1) else "", orders=2
    )
    assert [answer.status for answer in answers] == [201, 201]
    assert closing_server.requests == [1, 2]


def test_what_was_sent_on_a_connection_in_use_is_not_sent_again() -> None:
    with pytest.raises((ConnectionError, EOFError)):
        placed(lambda _, request: "before" if request == 2 else "", orders=3)


def test_a_system_that_is_gone_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "RESTED_S", 0.0)
    with pytest.raises(ConnectionError):
        placed(lambda _, request: "before" if request == 0 else "", orders=1)
    with pytest.raises(ConnectionError):  # each new connection as well
        placed(lambda connection, request: "before" if connection or request else "", orders=1)


def test_the_freshest_connection_is_used_first() -> None:
    class Waiting:
        bought = 0

        def buy(self, _request: PreparedRequest, _due_at: float) -> None:
            self.bought += 1

    async def run() -> tuple[int, int]:
        first, last = Waiting(), Waiting()
        crowd = Crowd(Plan("127.0.0.1", 1, "", orders=1, connections=2))
        crowd.comes(cast("Buyer", first))
        crowd.comes(cast("Buyer", last))
        crowd.serve()
        return first.bought, last.bought

    assert asyncio.run(run()) == (0, 1)
