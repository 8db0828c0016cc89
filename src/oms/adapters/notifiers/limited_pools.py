"""Pooled HTTP connections with one time limit for a whole request.

A socket's time-out starts again with each byte, so a server that sends one byte a second never exceeds it. Here a timer
shuts the socket down when the limit has passed, which ends the read that waits for it.
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
    """The request that a thread is making: its socket, and whether its time limit has passed.

    It duplicates the socket's file descriptor, because TLS moves the original to another object, and because a
    connection that the server wants closed is closed while its response is still read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timed_out = False

    def set_socket(self, used: socket.socket) -> None:
        """Set the socket of the request; shuts it down at once if the time limit has passed."""
        with self._lock:
            self._close()
            self._socket = socket.socket(fileno=os.dup(used.fileno()))
            if self._timed_out:
                self._shut_down()

    def time_out(self) -> None:
        """Shut the socket down, which ends a read or write that waits for it."""
        with self._lock:
            self._timed_out = True
            self._shut_down()

    def end(self) -> None:
        """Close the duplicate descriptor; the connection may be used again."""
        with self._lock:
            self._close()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the other side has closed it
                self._socket.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_current = threading.local()


def _note_socket(used: socket.socket | None) -> None:
    request: _Request | None = getattr(_current, "request", None)
    if request is not None and used is not None:
        request.set_socket(used)


class _LimitedHttp(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        _note_socket(connected)
        return connected

    def request(self, *args: Any, **named: Any) -> None:
        _note_socket(self.sock)
        super().request(*args, **named)


class _LimitedHttps(_LimitedHttp, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _LimitedHttp


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _LimitedHttps


class LimitedPools(urllib3.PoolManager):
    """A `PoolManager` whose requests within `limited` have one time limit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    @contextmanager
    def limited(self, limit_s: float) -> Generator[None]:
        """Limit the one request in this block, including the reading of its response, to `limit_s` seconds."""
        request = _current.request = _Request()
        watchdog = threading.Timer(limit_s, request.time_out)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
            request.end()
            _current.request = None
