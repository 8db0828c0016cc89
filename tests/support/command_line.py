"""A system behind a port, and the result of a command that ran against it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

import oms
from oms.entrypoints.serve import Server, address, bound


@attrs.frozen
class Done:
    """The exit code and the output of a command."""

    code: object
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def field(self, name: str) -> str:
        """The value in the line of a field."""
        (found,) = [line.split(maxsplit=1)[1].rstrip() for line in self.out.splitlines() if line.split()[:1] == [name]]
        return found


Run = Callable[..., Done]


@contextmanager
def served(app: oms.App) -> Iterator[str]:
    """Serve the API of an app on a free port, and yield its address."""
    listener = bound("127.0.0.1", 0)
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listener],))
    with app:
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield address(listener)
        server.should_exit = True
        thread.join(10)
