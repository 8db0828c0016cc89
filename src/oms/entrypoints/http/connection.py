"""One HTTP/1.1 connection: uvicorn's protocol on httptools, with limits and without upgrades.

What this class changes:

- A request for an upgrade (`Upgrade: h2c`, `websocket` or another) is served as plain HTTP/1.1, which RFC 9110,
  section 7.8, allows. httptools ends a message at the head of such a request and would parse its body as the next
  request. So the head is parsed a second time without the upgrade, and the body is read as the body.
- Sizes and times have limits (`Limits`). Bytes are counted before the parser joins them, because joining many
  fragments of one header has quadratic cost.
- Trailers of a chunked body are dropped: httptools reports them like headers, and a proxy doesn't filter them.
- Requests that two HTTP implementations could read differently are refused, and the connection is closed.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from oms.entrypoints.http.body import MAX_BODY_BYTES
from oms.entrypoints.http.connections import Connections
from oms.entrypoints.http.problems import CODES, HttpProblem, problem
from oms.entrypoints.http.request_head import (
    check_version,
    closing_response,
    head_without_upgrade,
    parser_error_detail,
    path_of,
)

SLICE_BYTES = 16 * 1024
"""Most bytes that the parser gets at once; the limits on an incomplete message are exact to this size."""

MAX_MESSAGE_BYTES = 4 * MAX_BODY_BYTES
"""Limit of a body with its chunk sizes, extensions and trailers, also of a body that is read after its response."""

MAX_PIPELINED = 50
"""Requests that may wait for the response to an earlier one on the same connection."""

LINGER_S = 1.0
LINGER_BYTES = 1024 * 1024
"""Limits, in seconds and bytes, within which data of a refused client is read and dropped before the connection closes.
If it closed at once, the kernel could discard the response."""


class _Phase(Enum):
    """The part of a message that the server expects next."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    NOTHING = auto()
    """The connection ends, and all further data is dropped."""


_IDLE, _HEAD, _BODY, _NOTHING = _Phase  # read several times for each request


class Connection(HttpToolsProtocol):
    """A client's connection. A message that can't reach the application gets a problem (RFC 9457) as response."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        registry: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._registry = registry
        self._limits = registry.limits
        self._max_head_bytes = registry.limits.head_bytes
        self._cycle_in_progress: RequestResponseCycle | None = None
        self._phase = _IDLE
        self._deadline: float | None = None
        self._unsent_since: float | None = None
        self._received = self._head_bytes = 0

    # -- life of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request, or refuse the connection."""
        super().connection_made(transport)
        if self._registry.admit(self):
            self._expect_head()
        elif self._registry.crowded:
            self.abort()
        else:
            self._refuse("too_many_connections", "the server has as many connections as it can serve")

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the registry."""
        self._end()
        self._registry.remove(self)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Drop the message that is being read: the client sends no more, and the transport closes itself."""
        self._end()

    def abort(self) -> None:
        """Close at once, without sending anything more."""
        self._end()
        self.transport.abort()

    def _end(self) -> None:
        self._phase, self._deadline = _NOTHING, None
        self.pipeline.clear()
        if self._cycle_in_progress is not None:
            _disconnect(self._cycle_in_progress)  # its response would be written to a closed transport

    def close_if_late(self, now: float) -> None:
        """Close if the client is too slow to send its request or to read its response."""
        if not self.transport.get_write_buffer_size():
            self._unsent_since = None
        elif self._unsent_since is None:
            self._unsent_since = now
        elif now - self._unsent_since > self._limits.send_s:
            self._registry.refused("response_not_read")
            self.abort()
            return
        if self._deadline is None or now < self._deadline or self.transport.is_closing():
            return
        if self._phase is _BODY or (self._phase is _HEAD and self._received):
            self._refuse("request_timeout", "the request wasn't complete within its time limit")
        elif self._phase is _NOTHING:
            self.abort()
        else:
            self._deadline = None
            self.transport.close()

    # -- from the client

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        if self._phase is _NOTHING:
            self._drop(len(data))
            return
        if self._phase is _IDLE:
            self._expect_head()
        try:
            if len(data) <= SLICE_BYTES:
                self._feed(data)
            else:
                view = memoryview(data)
                for start in range(0, len(view), SLICE_BYTES):
                    self._feed(view[start : start + SLICE_BYTES])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, HttpProblem):
                self._refuse(cause.code, cause.detail)
            else:
                self._refuse("malformed_request", parser_error_detail(error))
        except HttpProblem as refused:
            self._refuse(refused.code, refused.detail)

    def _drop(self, size: int) -> None:
        self._received += size
        if self._received > LINGER_BYTES:
            self.abort()

    def _feed(self, part: bytes | memoryview) -> None:
        rest = self._parse(part)
        while rest is not None:
            self._parse_again_without_upgrade()
            rest = self._parse(rest)
        if self._phase is not _IDLE:
            self._received += len(part)
            self._check_received()

    def _parse(self, part: bytes | memoryview) -> memoryview | None:
        """Feed the parser. Return the bytes after the head of a request for an upgrade; None without such a head."""
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            return memoryview(part)[upgrade.args[0] :]
        return None

    def _check_received(self) -> None:
        if self._phase is _HEAD and self._received > self._limits.head_bytes + SLICE_BYTES:
            self._refuse_head_size()
        if self._phase is _BODY and self._received > MAX_MESSAGE_BYTES:
            raise HttpProblem("body_too_large", f"a body is at most {MAX_BODY_BYTES} bytes")

    def _parse_again_without_upgrade(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        head = head_without_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._head_bytes = 0
        self.parser.feed_data(head)

    def _expect_head(self) -> None:
        self._phase, self._received, self._head_bytes = _HEAD, 0, 0
        self._deadline = self.loop.time() + self._limits.head_s

    def _refuse_head_size(self) -> None:
        detail = f"target and headers of a request are at most {self._limits.head_bytes} bytes"
        raise HttpProblem("headers_too_large", detail)

    # -- from the parser

    def on_message_begin(self) -> None:
        """Start the limits of a request, also of a pipelined one, which may begin in data received earlier."""
        if self._phase is not _HEAD:
            self._expect_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Append to the request's target, which may arrive in several pieces."""
        self._head_bytes += len(url)
        if self._head_bytes > self._max_head_bytes:
            self._refuse_head_size()
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header, or drop a trailer. Does the work of uvicorn's method itself: it is called most often."""
        size = self._head_bytes = self._head_bytes + len(name) + len(value) + 4
        if size > self._max_head_bytes:
            self._refuse_head_size()
        if self._phase is not _HEAD:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise HttpProblem("malformed_request", "the only transfer encoding is chunked")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, unless its head has to be parsed again."""
        if self.parser.should_upgrade():
            self._refuse_connect()
            return
        self._check_head()
        self._phase, self._received = _BODY, 0
        self._deadline = self.loop.time() + self._limits.body_s
        super().on_headers_complete()
        if not self.pipeline:
            self._cycle_in_progress = self.cycle

    def on_message_complete(self) -> None:
        """Leave a complete request to the application."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._phase, self._deadline = _IDLE, None
        if self.cycle.response_complete:
            self._rest()
        else:
            self._registry.works(self)

    def _refuse_connect(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise HttpProblem("malformed_request", "this server isn't a proxy")

    def _check_head(self) -> None:
        check_version(self.parser.get_http_version(), self.headers)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise HttpProblem("malformed_request", f"at most {MAX_PIPELINED} requests may wait on one connection")
        if self.url[:1] != b"/":
            self.url = path_of(self.url, self.headers)

    # -- to the client

    def on_response_complete(self) -> None:
        """Start the next pipelined request, or wait for the client."""
        if self.pipeline:
            self._cycle_in_progress = self.pipeline[-1][0]
            super().on_response_complete()
            return
        # As in uvicorn, but without a timer for each response: one sweep checks all connections.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._rest()

    def _rest(self) -> None:
        if self._phase is _IDLE:
            self._deadline = self.loop.time() + self._limits.keep_alive_s
        self._registry.waits(self)

    def _refuse(self, code: str, detail: str) -> None:
        """Refuse the message that is being read, after the responses to earlier ones, and end the connection."""
        self._registry.refused(code)
        own = self.cycle if self._phase is _BODY else None
        self._phase, self._deadline = _NOTHING, None
        if own is not None and not own.response_started:
            self._withdraw(own)
        before = self.pipeline[0][0] if self.pipeline else self._cycle_in_progress
        if before is not None and not before.response_complete and not before.disconnected:
            before.keep_alive = False  # uvicorn closes the connection after this response
        elif own is not None and own.response_started:
            self._linger()
        else:
            self.transport.write(closing_response(problem(CODES[code][0], code, detail)))
            self._linger()

    def _withdraw(self, cycle: RequestResponseCycle) -> None:
        """Withdraw an incomplete request from the application."""
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
        _disconnect(cycle)

    def _linger(self) -> None:
        self._deadline, self._received = self.loop.time() + LINGER_S, 0
        self.flow.resume_reading()
        self.transport.write_eof()


def _disconnect(cycle: RequestResponseCycle) -> None:
    cycle.disconnected = True
    cycle.message_event.set()
