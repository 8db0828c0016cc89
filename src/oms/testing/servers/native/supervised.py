"""The client of a supervisor (`supervisor.py`): starts, signals and ends one server, and removes its directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from threading import Lock
from typing import Any

from oms.testing.servers import supervisor
from oms.testing.servers.server_types import ServerFailed

CLOSE_S = 30.0
"""Time limit for the supervisor to kill the server and remove its directory, in seconds; enough for a busy disk."""


class Supervised:
    """A supervisor process that this process has started. Calls return at once; threads may share it.

    `user` is the account under which the server runs, None for this process's. Every call raises `ServerFailed` if the
    supervisor has ended.
    """

    def __init__(self, prefix: str, user: str | None) -> None:
        argv = [sys.executable, "-I", "-S", supervisor.__file__, prefix, *([user] if user else [])]
        self._turn = Lock()
        self._process = subprocess.Popen(  # noqa: S603
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.directory = Path(self._answer()["directory"])

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        """Start a program whose output goes to the file `log`; returns its process id."""
        return int(self._request("start", argv=list(argv), env=dict(env))["pid"])

    def poll(self) -> int | None:
        """Return the program's exit code (negative: the signal that ended it), None while it runs."""
        code: int | None = self._request("poll")["code"]
        return code

    def signal(self, number: Signals) -> None:
        """Send a signal to the program, but not to the processes that it has forked."""
        self._request("signal", number=int(number))

    def pause(self) -> None:
        """Stop the program and all processes that it has forked (SIGSTOP)."""
        self._request("pause")

    def resume(self) -> None:
        """Continue them (SIGCONT)."""
        self._request("resume")

    def kill(self) -> None:
        """Kill the program and all processes that it has forked at one moment (SIGKILL); waits until none is left."""
        self._request("kill")

    def close(self) -> None:
        """Kill the processes, remove the directory and end the supervisor. Further calls do nothing."""
        with self._turn:
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(BrokenPipeError):  # the supervisor died before it read a request
                    if pipe:
                        pipe.close()
        self._process.wait(CLOSE_S)
        shutil.rmtree(self.directory, ignore_errors=True)  # exists only if the supervisor was killed

    def _request(self, do: str, **arguments: Any) -> dict[str, Any]:
        pipe = self._process.stdin
        with self._turn:
            try:
                if pipe is None or pipe.closed:
                    raise ServerFailed("the server is closed")
                pipe.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
                pipe.flush()
            except BrokenPipeError:
                raise ServerFailed("the server's supervisor is gone, and the server with it") from None
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        pipe = self._process.stdout
        line = pipe.readline() if pipe else b""
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            rest = line + (pipe.read() if pipe else b"")
            raise ServerFailed(f"the server's supervisor ended: {rest.decode(errors='replace')}") from None
        if "error" in answer:
            raise ServerFailed(answer["error"])
        return answer
