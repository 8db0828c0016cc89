"""The process between a test run and one server: the server never outlives the run, even after `kill -9`.

It is run as a script, `python -I -S supervisor.py PREFIX [USER]`, and imports only the standard library, so that it
starts in milliseconds. It makes the server's directory, reads JSON requests from standard input, one in each line, and
writes a line of JSON for each. When its input ends, or the process that started it has ended, it kills all of its
descendant processes and removes the directory.

It's a subreaper (Linux): orphaned processes of the server become its children. So it can find and end all of them, and
it never signals a process id after it has reaped that process.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # from linux/prctl.h
TICK_S = 0.5  # delay until the parent's death is noticed if a fork of it keeps our input open
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LIBC = ctypes.CDLL(None, use_errno=True)


class Supervisor:
    """One directory, and at most one server (its process group's leader) at a time."""

    def __init__(self, prefix: str, user: str | None) -> None:
        self.user = user
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        if user:
            account = pwd.getpwnam(user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self.leader: subprocess.Popen[bytes] | None = None

    def start(self, argv: list[str], env: dict[str, str]) -> dict[str, Any]:
        """Start a program with its output in the file `log`; returns its pid."""
        with (self.directory / "log").open("ab") as log:
            self.leader = subprocess.Popen(  # noqa: S603
                argv,
                env=env,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # safe without threads; a later change of user would clear it
                **self._account(),
            )
        return {"pid": self.leader.pid}

    def _account(self) -> dict[str, Any]:
        if not self.user:
            return {}
        account = pwd.getpwnam(self.user)
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def poll(self) -> dict[str, Any]:
        """Return the leader's exit code, or None while it runs."""
        self.reap()
        return {"code": self.leader.returncode if self.leader else None}

    def signal(self, number: int) -> dict[str, Any]:
        """Send a signal to the leader only, if it still runs."""
        self.reap()
        if self.leader and self.leader.returncode is None:
            os.kill(self.leader.pid, number)
        return {}

    def pause(self) -> dict[str, Any]:
        """Stop all descendants; repeats until there are no new ones, because they may fork meanwhile."""
        stopped: set[int] = set()
        while new := [pid for pid in _below(os.getpid()) if pid not in stopped]:
            for pid in new:
                _kill(pid, signal.SIGSTOP)
            stopped.update(new)
        return {}

    def resume(self) -> dict[str, Any]:
        """Continue all descendants."""
        for pid in _below(os.getpid()):
            _kill(pid, signal.SIGCONT)
        return {}

    def kill(self) -> dict[str, Any]:
        """Kill all descendants at one moment, as in a crash; returns when none is left."""
        while below := _below(os.getpid()):
            self.pause()
            for pid in below:
                _kill(pid, signal.SIGKILL)
            self.reap(block=True)
        return {}

    def reap(self, *, block: bool = False) -> None:
        """Collect processes that have ended; with `block`, wait for one."""
        try:
            while found := os.waitpid(-1, 0 if block else os.WNOHANG):
                block = False
                pid, status = found
                if pid == 0:
                    return
                if self.leader and pid == self.leader.pid:
                    self.leader.returncode = os.waitstatus_to_exitcode(status)
        except ChildProcessError:  # there are no more child processes
            return

    def close(self) -> None:
        """Kill all descendants and remove the directory; further signals don't interrupt that."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        self.kill()
        shutil.rmtree(self.directory)


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _below(top: int) -> list[int]:
    """Return all living descendants of a process, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := _parent(entry)):
            children.setdefault(parent, []).append(int(entry))
    found = list(children.get(top, []))
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _parent(pid: str) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended since it was listed
        return None
    return None if fields[0] == "Z" else int(fields[1])


def _requests(parent: int) -> Iterator[dict[str, Any]]:
    """Yield requests until the input ends or the parent has ended."""
    pending = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], TICK_S)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _write_line(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(prefix: str, user: str | None = None) -> None:
    """Run a supervisor until its input ends or its parent has ended."""
    parent = os.getppid()
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in ENDING:
        signal.signal(number, lambda *_: sys.exit())
    supervisor = Supervisor(prefix, user)
    try:
        _write_line({"directory": str(supervisor.directory)})
        for request in _requests(parent):
            try:
                _write_line(getattr(supervisor, request.pop("do"))(**request))
            except OSError as failed:
                _write_line({"error": str(failed)})
    finally:
        supervisor.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
