"""Serves a system over HTTP until a signal stops the process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

import uvicorn

from oms.bootstrap.app import App
from oms.domain.text import printable_text
from oms.entrypoints.http import asgi
from oms.entrypoints.http.connection import Connection
from oms.entrypoints.http.connections import Connections
from oms.entrypoints.http.limits import Limits
from oms.ports.errors import SettingsError
from oms.ports.extensions import Authentication
from oms.ports.telemetry import Telemetry
from oms.runtime.heap import give_back_large_blocks
from oms.settings import Settings

DRAIN_S = 1
"""Seconds for responses in progress; with the 8 s of `App.stop`, a stop takes at most 10 s."""

REFUSE_AFTER_S = 0.6
"""Seconds after the signal at which waiting requests get 503, so that the response reaches them before `DRAIN_S`."""

LEAVE_S = 0.5
GARBAGE = 50_000
"""Net number of new objects after which Python's garbage collector runs."""

BACKLOG = 2048


def bound(host: str, port: int) -> socket.socket:
    """Return a bound socket; raises `SettingsError` if this process can't listen on the port or host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name with an empty or overlong label
        listener.close()
        said = getattr(error, "strerror", None) or error
        raise SettingsError(f"OMS_HTTP_PORT: can't listen on {host}:{port}: {said}") from error
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Stop:
    """Records SIGTERM and SIGINT from its creation on, so that no signal is lost while the system starts."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)

    def _request_stop(self, _number: int, _frame: object) -> None:
        # uvicorn installs its own handlers while it runs, and raises their signals again when it ends.
        self.requested = True


class Server(uvicorn.Server):
    """uvicorn that also ends when a worker of the app has failed, or when `stopping` returns True."""

    def __init__(
        self, app: App, started: Callable[[], None] = lambda: None, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._api = asgi(app)
        self._connections = Connections(Limits.of(app.settings), app.telemetry)
        config = uvicorn.Config(
            self._api,
            http=partial(Connection, registry=self._connections),  # type: ignore[arg-type]  # it makes connections
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            backlog=BACKLOG,
            server_header=False,
            proxy_headers=False,  # no code uses the addresses that a proxy reports
            timeout_graceful_shutdown=DRAIN_S,
        )
        super().__init__(config)
        self._app, self._on_started, self._stopping = app, started, stopping

    async def on_tick(self, counter: int) -> bool:
        """Close connections that are too slow; return whether the server has to end. Called ten times a second."""
        self._connections.close_late(asyncio.get_running_loop().time())
        if counter == 0:
            self._on_started()
        return self._app.failed or self._stopping() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish for `REFUSE_AFTER_S` seconds, then refuse those that still wait."""
        asyncio.get_running_loop().call_later(REFUSE_AFTER_S, self._api.state.waits.give_up)
        await super().shutdown(sockets)


def serve(app: App, *, port: int | None = None) -> int:
    """Run the system and its HTTP API in the foreground; return the exit code: 1 if a worker failed, else 0.

    Listens on `port`, by default that of the settings. Errors before the start are raised as `OmsError`.
    """
    settings = app.settings
    settings.check_exposure(authenticated=app.authentication is not Authentication.NONE)
    hold_standard_files()
    stop = Stop()
    listener = bound(settings.http_host, settings.http_port if port is None else port)
    with _naming_data(settings):
        own_the_log(app.telemetry)
        app.make_extensions()  # after binding the port: a process that can't serve creates no files
    with _naming_data(settings):
        if settings.profile == "distributed":
            app.start_when_reachable()
        else:
            app.start()
    where, data = address(listener), str(settings.data.resolve())
    server = Server(app, lambda: app.telemetry.note("listening", url=where, data=data), lambda: stop.requested)
    rarely_collect()
    give_back_large_blocks()
    try:
        server.run(sockets=[listener])
    finally:
        reasons = list(app.problems()) if app.failed else []
        app.stop()
    if reasons and settings.log_format != "json":  # in JSON, the alert of the failed worker has them
        with suppress(OSError):
            sys.stderr.write(f"oms: {printable_text('; '.join(reasons))}\n")
    code = 1 if reasons else 0
    _leave(code)
    return code


@contextmanager
def _naming_data(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"OMS_DATA: can't use {settings.data}: {error.strerror or error}") from error


def rarely_collect() -> None:
    """Run the garbage collector rarely: batches make no cycles, and by default it took a tenth of the CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


def hold_standard_files() -> None:
    """Open stdin, stdout and stderr on the null device if they are closed.

    Otherwise a socket could get their descriptor, and a process without stdout would write its log into that socket.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is `number`


def own_the_log(telemetry: Telemetry) -> None:
    """Send all log output through `telemetry`: lines of libraries, warnings, and unhandled exceptions."""
    telemetry.own_the_log()

    def thread_ended(thread: threading.ExceptHookArgs) -> None:
        if thread.exc_type is not SystemExit:
            name = thread.thread.name if thread.thread else ""
            said = traceback.format_exception(thread.exc_type, thread.exc_value, thread.exc_traceback)
            telemetry.alert("thread ended", thread=name, traceback="".join(said))

    def process_ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            telemetry.alert("process ended", traceback="".join(traceback.format_exception(kind, error, trace)))

    def not_raised(what: Any) -> None:
        said = traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback)
        telemetry.alert("error in a destructor", place=repr(what.object), traceback="".join(said))

    threading.excepthook, sys.excepthook, sys.unraisablehook = thread_ended, process_ended, not_raised


def _leave(code: int) -> None:
    """End the process within `LEAVE_S` seconds, even if the interpreter waits for threads, such as a gateway's pool."""

    def end() -> None:
        time.sleep(LEAVE_S)
        os._exit(code)

    threading.Thread(target=end, daemon=True).start()
