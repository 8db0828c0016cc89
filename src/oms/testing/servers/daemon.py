"""The process that runs one server of a test run: `python -m oms.testing.servers.daemon NAME DIRECTORY`.

It starts the server, writes the result into the run's directory, and stops the server once the run's owner has ended
or the directory is removed.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import cast

from oms.testing.servers import providers
from oms.testing.servers.run import write_result
from oms.testing.servers.server_types import ServerFailed, ServerName, ServersMissing

TICK_MS = 200


def keep(name: ServerName, directory: Path) -> None:
    """Run one server until the end of the test run."""
    owner = os.pidfd_open(int((directory / "owner").read_text()))
    try:
        with providers.running(name) as server:
            write_result(directory, name, server)
            _wait_for_the_end(owner, directory)
            shutil.rmtree(directory, ignore_errors=True)  # all daemons of a run that was killed do so at once
    except (ServersMissing, ServerFailed) as reason:
        write_result(directory, name, reason)


def _wait_for_the_end(owner: int, directory: Path) -> None:
    ended = select.poll()
    ended.register(owner, select.POLLIN)
    while directory.exists():
        if ended.poll(TICK_MS):
            return


def main() -> None:
    """Run the daemon; SIGTERM stops its server and ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    name, directory = sys.argv[1:]
    keep(cast("ServerName", name), Path(directory))


if __name__ == "__main__":
    main()
