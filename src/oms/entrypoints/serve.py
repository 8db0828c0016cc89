"""Serves a system over HTTP until it is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from oms.domain.errors import OmsError
from oms.entrypoints.app import App
from oms.entrypoints.http import asgi
from oms.settings import SettingsError

DRAIN_S = 2


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; `SettingsError` where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"OMS_HTTP_PORT: can't listen on {host}:{port}: {error.strerror}") from error
    return listener


class Server(uvicorn.Server):
    """uvicorn, which stops by itself when a worker of the app has failed. SIGTERM and SIGINT end it in good order."""

    def __init__(self, app: App, started: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            asgi(app), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=DRAIN_S
        )
        super().__init__(config)
        self._app, self._told = app, started

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter == 0:
            self._told()
        return self._app.failed or await super().on_tick(counter)


def serve(app: App) -> int:
    """Run the system and its API in the foreground; the exit code."""
    settings = app.settings
    authenticated = settings.api_keys_file is not None or settings.authenticator is not None
    settings.check_exposure(authenticated=authenticated)
    listener = bound(settings.http_host, settings.http_port)
    port = listener.getsockname()[1]
    signals: Any = app.signals
    if hasattr(signals, "adopt_logging"):
        signals.adopt_logging()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)  # uvicorn raises again what ended it; we end with 0
    app.start()
    where = f"http://{settings.http_host}:{port}"
    try:
        server = Server(app, lambda: signals.note("listening", url=where, data=str(settings.data.resolve())))
        server.run(sockets=[listener])
    finally:
        failed = app.failed
        app.stop()
    if failed:
        sys.stderr.write("oms: a worker failed; see the log\n")
        return 1
    return 0


def refuse(error: OmsError) -> int:
    """One clear line on stderr, and the exit code of a wrong start."""
    sys.stderr.write(f"oms: {error}\n")
    return 2
