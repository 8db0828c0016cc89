"""Serves a system over HTTP until it is told to stop."""

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
"""Requests that wait longer than this after the signal are answered 503, which has to reach them before `DRAIN_S`."""

LEAVE_S = 0.5
GARBAGE = 50_000
"""Net number of new objects after which Python's garbage collector runs."""

BACKLOG = 2048


def bound(host: str, port: int) -> socket.socket:
    """A socket that will listen there; `SettingsError` where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # the latter of a host name with an empty or overlong part
        listener.close()
        said = getattr(error, "strerror", None) or error
        raise SettingsError(f"OMS_HTTP_PORT: can't listen on {host}:{port}: {said}") from error
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Stop:
    """Whether SIGTERM or SIGINT has come, from the moment this is made: none is lost while the system starts."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        # uvicorn puts its own handlers in place, and raises what it got again at its end: that comes here, too.
        self.asked = True


class Server(uvicorn.Server):
    """uvicorn, which ends by itself when a worker of the app has failed, or `stopping` says so."""

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
        self._app, self._told, self._stopping = app, started, stopping

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self._connections.close_late(asyncio.get_running_loop().time())
        if counter == 0:
            self._told()
        return self._app.failed or self._stopping() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish requests that finish in time, and refuse the others."""
        asyncio.get_running_loop().call_later(REFUSE_AFTER_S, self._api.state.waits.give_up)
        await super().shutdown(sockets)


def serve(app: App, *, port: int | None = None) -> int:
    """Run the system and its API in the foreground; the exit code. Errors before the start are `OmsError`.

    It listens on `port`, or on that of the settings.
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
    server = Server(app, lambda: app.telemetry.note("listening", url=where, data=data), lambda: stop.asked)
    rarely_collect()
    give_back_large_blocks()
    try:
        server.run(sockets=[listener])
    finally:
        reasons = list(app.problems()) if app.failed else []
        app.stop()
    if reasons and settings.log_format != "json":  # where the alert of the failed worker says it, and all is JSON
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
    """Run the garbage collector rarely: batches make no cycles, and the default took a tenth of the CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


def hold_standard_files() -> None:
    """Have stdin, stdout and stderr open, on the null device where they aren't: else a socket would get their number.

    A process that was started without stdout would then write its log into that socket.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def own_the_log(telemetry: Telemetry) -> None:
    """Have everything that is logged go one way: lines of libraries, warnings, and errors that no code handles."""
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
    """End soon: the interpreter waits for threads of others, such as a gateway's own pool, for as long as they take."""

    def end() -> None:
        time.sleep(LEAVE_S)
        os._exit(code)

    threading.Thread(target=end, daemon=True).start()
