"""Pooled HTTP connections whose requests have one time limit as a whole.

The time-outs of a socket count from byte to byte: a server that sends one byte a second never exceeds them. So a timer
shuts the socket down when the limit is over, and the read that waits for it ends.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Request:
    """The request that a thread is making: its socket, and whether its time is over.

    It has a descriptor of its own for the socket: TLS moves the connection's to another object, and a connection that
    the server wants closed is closed while its answer is still read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def uses(self, used: socket.socket) -> None:
        """The request goes over this socket; its time may be over already."""
        with self._lock:
            self._forget()
            self._socket = socket.socket(fileno=os.dup(used.fileno()))
            if self._over:
                self._cut()

    def time_is_over(self) -> None:
        """End what waits for the socket."""
        with self._lock:
            self._over = True
            self._cut()

    def end(self) -> None:
        """Close the descriptor; the connection may be used again."""
        with self._lock:
            self._forget()

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the other side has closed it
                self._socket.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_current = threading.local()


def _tell(used: socket.socket | None) -> None:
    request: _Request | None = getattr(_current, "request", None)
    if request is not None and used is not None:
        request.uses(used)


class _LimitedHttp(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        _tell(made)
        return made

    def request(self, *args: Any, **named: Any) -> None:
        _tell(self.sock)
        super().request(*args, **named)


class _LimitedHttps(_LimitedHttp, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _LimitedHttp


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _LimitedHttps


class LimitedPools(urllib3.PoolManager):
    """A `PoolManager` whose requests within `limited` end in time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    @contextmanager
    def limited(self, limit_s: float) -> Generator[None]:
        """The one request in this block, and the reading of its answer, have `limit_s` seconds together."""
        request = _current.request = _Request()
        watchdog = threading.Timer(limit_s, request.time_is_over)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
            request.end()
            _current.request = None
