"""Who places the orders: a process of its own, `python -m oms.testing.bench.load`, with its plan as JSON on stdin.

`connections` buyers post one order after the other. With a `rate_per_s`, orders fall due at that pace whatever the
system does, and wait for a free buyer; their latency counts from when they were due. Answers go to `results`, a line
each: order id, when it was due, when it was answered (seconds since 1970), status.
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

from oms.testing.bench.orders import body

_HEAD = b"POST /orders HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_HELLO = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_LENGTH = b"content-length:"
_END = b"\r\n\r\n"


class Plan(msgspec.Struct, frozen=True):
    """What to do. `first` and `step` share the numbers of orders among several processes."""

    host: str
    port: int
    results: str
    orders: int
    connections: int = 64
    rate_per_s: float = 0.0
    kind: str = ""
    first: int = 0
    step: int = 1


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of one request."""

    order: str
    due_at: float
    answered_at: float
    status: int


class _Id(msgspec.Struct):
    id: str


_id = msgspec.json.Decoder(_Id).decode


class Buyer(asyncio.Protocol):
    """One connection: a request, its answer, and the next one."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._due_at = 0.0
        self._known = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello: until that is answered the server may not have taken the connection from its queue."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_HELLO)

    def buy(self, request: bytes, due_at: float) -> None:
        """Send a request."""
        self._due_at = due_at
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Once the answer is whole, note it."""
        self._received += data
        head, end, rest = self._received.partition(_END)
        if not end:
            return
        lowered = head.lower()
        at = lowered.find(_LENGTH)
        length = int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self._received = b""
            if not self._known:
                self._known = True
                self._crowd.comes(self)
            else:
                self._crowd.answered(self, self._due_at, int(head[9:12]), rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """The crowd counts on every buyer."""
        self._crowd.left(exc)


class Crowd:
    """The buyers, and the orders that wait for one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.answers: list[Answer] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        host = f"{plan.host}:{plan.port}".encode()
        bodies = (body(plan.first + plan.step * index, plan.kind) for index in range(plan.orders))
        self._requests = [(_HEAD % (host, len(one))) + one for one in bodies]
        self._next = 0
        self._free: deque[Buyer] = deque()
        self._due: deque[float] = deque()
        self._missing = plan.connections
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when every buyer is there: then the first order falls due."""

    def comes(self, buyer: Buyer) -> None:
        """A buyer is there."""
        self._free.append(buyer)
        self._missing -= 1
        if self._missing == 0:
            self.complete.set_result(None)

    def is_free(self, buyer: Buyer) -> None:
        """Give the buyer what is due, or let it wait."""
        self._free.append(buyer)
        self.serve()

    def serve(self) -> None:
        """Orders that are due to buyers that are free."""
        while self._free and self._next < len(self._requests) and (self._due or not self._plan.rate_per_s):
            due_at = self._due.popleft() if self._due else time.time()
            request = self._requests[self._next]
            self._next += 1
            self._free.popleft().buy(request, due_at)

    async def pace(self) -> None:
        """Let orders fall due."""
        began = time.time()
        for index in range(len(self._requests)):
            due_at = began + index / self._plan.rate_per_s
            wait_s = due_at - time.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self._due.append(due_at)
            self.serve()

    def answered(self, buyer: Buyer, due_at: float, status: int, text: bytes) -> None:
        """An answer is whole."""
        order = _id(text).id if status == 201 else ""
        self.answers.append(Answer(order, due_at, time.time(), status))
        if len(self.answers) == len(self._requests):
            self.done.set_result(None)
        else:
            self.is_free(buyer)

    def left(self, error: Exception | None) -> None:
        """A connection ended before its time."""
        for waiting in (self.complete, self.done):
            if not waiting.done():
                waiting.set_exception(error or ConnectionError("the system closed a connection"))
                return


async def place(plan: Plan) -> Sequence[Answer]:
    """Place all orders of a plan."""
    crowd = Crowd(plan)
    loop = asyncio.get_running_loop()
    for _ in range(plan.connections):
        await loop.create_connection(lambda: Buyer(crowd), plan.host, plan.port)
    await crowd.complete
    if plan.rate_per_s:
        await crowd.pace()
    else:
        crowd.serve()
    await crowd.done
    return crowd.answers


def main() -> None:
    """Run a plan."""
    import uvloop

    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    answers = uvloop.run(place(plan))
    Path(plan.results).write_bytes(msgspec.json.encode(answers))


if __name__ == "__main__":
    main()
