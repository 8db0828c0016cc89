"""Places orders, in its own process: `python -m oms.testing.bench.load`, with a plan as JSON on stdin.

`connections` buyers post one order after the other. With a `rate_per_s`, orders fall due at that constant rate and wait
for a free buyer; their latency counts from the due time. Responses are written to `results`, one in each line: order
id, due time, time of the response (both in seconds since 1970), status, and whether its charge is slow.

A server closes idle connections. Their buyers open a new connection for the next order; an order that was sent at the
moment when its connection was closed is sent again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from oms.testing.bench.orders import body, commands, is_slow

_HEAD = b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_HELLO = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LENGTH = b"content-length:"
_END = b"\r\n\r\n"

RESTED_S = 1.0
"""The server may have closed a connection that was idle for this many seconds, and not read the request on it."""


class Plan(msgspec.Struct, frozen=True):
    """The orders to place. `first` and `step` divide the numbers of the orders among several processes.

    With `placed`, the ids of confirmed orders by number, these orders are shipped and partly refunded instead.
    """

    host: str
    port: int
    results: str
    orders: int
    connections: int = 64
    rate_per_s: float = 0.0
    kind: str = ""
    first: int = 0
    step: int = 1
    placed: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The result of one request."""

    order: str
    due_at: float
    answered_at: float
    status: int
    slow: bool = False
    more: bool = False
    """Whether the order has another answer, which counts for it."""


class PreparedRequest(msgspec.Struct, frozen=True):
    """The bytes of one request, and the id of the order unless the request places it."""

    text: bytes
    slow: bool = False
    order: str = ""
    more: bool = False


class _Id(msgspec.Struct):
    id: str


_id = msgspec.json.Decoder(_Id).decode


class Buyer(asyncio.Protocol):
    """Sends requests one after the other, on one connection as long as the server keeps it open."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[object] | None = None
        self._received = b""
        self._request: PreparedRequest | None = None
        self._due_at = 0.0
        self._rests_since = 0.0
        self._may_repeat = False
        self._known = False

    async def connect(self) -> None:
        """Open a connection."""
        plan = self._crowd.plan
        await asyncio.get_running_loop().create_connection(lambda: self, plan.host, plan.port)

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send a first request; its response shows that the server has accepted the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request.text if self._request else _HELLO)

    def buy(self, request: PreparedRequest, due_at: float) -> None:
        """Send the request of an order."""
        self._request, self._due_at = request, due_at
        self._may_repeat = time.monotonic() - self._rests_since >= RESTED_S
        if self._transport is None:
            self._come_back()
        else:
            self._transport.write(request.text)

    def data_received(self, data: bytes) -> None:
        """Record the response once it is complete."""
        self._received += data
        head, end, rest = self._received.partition(_END)
        if not end:
            return
        lowered = head.lower()
        at = lowered.find(_LENGTH)
        length = int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self._received, self._rests_since = b"", time.monotonic()
            self._answered(int(head[9:12]), rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Reconnect if the connection was idle or was closed before the server read the request; otherwise fail."""
        self._transport = None
        if self._request is None and self._known:
            return
        if self._may_repeat and not self._received:
            self._come_back()
        else:
            self._crowd.fail(exc or ConnectionError("the system closed a connection"))

    def _answered(self, status: int, text: bytes) -> None:
        request, self._request = self._request, None
        if request is None:
            self._known = True
            self._crowd.comes(self)
        else:
            order = request.order or _order(status, text)
            answer = Answer(order, self._due_at, time.time(), status, request.slow, request.more)
            self._crowd.answered(self, answer)

    def _come_back(self) -> None:
        self._may_repeat = False
        self._connecting = asyncio.get_running_loop().create_task(self.connect())
        self._connecting.add_done_callback(self._came_back)

    def _came_back(self, connecting: asyncio.Task[None]) -> None:
        if not connecting.cancelled() and (error := connecting.exception()) is not None:
            self._crowd.fail(error)


def _order(status: int, text: bytes) -> str:
    return _id(text).id if status == 201 else ""


def _requests(plan: Plan, number: int) -> list[PreparedRequest]:
    """Return the request that places an order, or those that ship and refund it."""
    host = f"{plan.host}:{plan.port}".encode()

    def text(path: str, sent: bytes) -> bytes:
        return (_HEAD % (path.encode(), host, len(sent))) + sent

    if not plan.placed:
        return [PreparedRequest(text("/orders", body(number, plan.kind)), is_slow(number, plan.kind))]
    order, sent = plan.placed[number], commands(number)
    return [
        PreparedRequest(text(f"/orders/{order}/{path}", one), order=order, more=path != "shipments")
        for path, one in sent
    ]


class Crowd:
    """The buyers, and the orders that wait for a free buyer."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.answers: list[Answer] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        numbers = range(plan.first, plan.first + plan.step * plan.orders, plan.step)
        self._requests = [request for number in numbers for request in _requests(plan, number)]
        self._next = 0
        self._free: deque[Buyer] = deque()
        self._due: deque[float] = deque()
        self._missing = plan.connections
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when all buyers are connected; then the first order falls due."""

    def comes(self, buyer: Buyer) -> None:
        """Note that a buyer is connected and free."""
        self._free.append(buyer)
        self._missing -= 1
        if self._missing == 0:
            self.complete.set_result(None)

    def serve(self) -> None:
        """Give due orders to free buyers; first to the buyer that was used last, whose connection is the freshest."""
        while self._free and self._next < len(self._requests) and (self._due or not self.plan.rate_per_s):
            due_at = self._due.popleft() if self._due else time.time()
            request = self._requests[self._next]
            self._next += 1
            self._free.pop().buy(request, due_at)

    async def pace(self) -> None:
        """Make orders due at the plan's rate."""
        began = time.time()
        for index in range(len(self._requests)):
            due_at = began + index / self.plan.rate_per_s
            wait_s = due_at - time.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if self.done.done():
                return
            self._due.append(due_at)
            self.serve()

    def answered(self, buyer: Buyer, answer: Answer) -> None:
        """Record a complete response, and give the buyer the next due order if there is one."""
        self.answers.append(answer)
        if len(self.answers) == len(self._requests):
            self.done.set_result(None)
        else:
            self._free.append(buyer)
            self.serve()

    def fail(self, error: BaseException) -> None:
        """End the run with an error: an order may be lost, so its figures are not valid."""
        for waiting in (self.complete, self.done):
            if not waiting.done():
                waiting.set_exception(error)
                return


async def place(plan: Plan) -> Sequence[Answer]:
    """Place all orders of a plan and return the results."""
    crowd = Crowd(plan)
    buyers = [Buyer(crowd) for _ in range(plan.connections)]
    for buyer in buyers:
        await buyer.connect()
    await crowd.complete
    if plan.rate_per_s:
        await crowd.pace()
    else:
        crowd.serve()
    await crowd.done
    for buyer in buyers:
        buyer.close()
    return crowd.answers


def main() -> None:
    """Run the plan on stdin."""
    import uvloop

    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    answers = uvloop.run(place(plan))
    Path(plan.results).write_bytes(msgspec.json.encode(answers))


if __name__ == "__main__":
    main()
