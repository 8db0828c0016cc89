"""The process that holds one server of a run: `python -m oms.testing.servers.keeper NAME DIRECTORY`.

It starts the server, writes into the run's directory what came of it, and holds it until the run's owner is gone or
the directory is.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import cast

from oms.testing.servers import rungs
from oms.testing.servers.kinds import ServerFailed, ServerName, ServersMissing
from oms.testing.servers.run import write_answer

TICK_MS = 200


def keep(name: ServerName, directory: Path) -> None:
    """Hold one server until the end of the run."""
    owner = os.pidfd_open(int((directory / "owner").read_text()))
    try:
        with rungs.running(name) as server:
            write_answer(directory, name, server)
            _wait_for_the_end(owner, directory)
            shutil.rmtree(directory, ignore_errors=True)  # all keepers of a run that was killed do so at once
    except (ServersMissing, ServerFailed) as reason:
        write_answer(directory, name, reason)


def _wait_for_the_end(owner: int, directory: Path) -> None:
    ended = select.poll()
    ended.register(owner, select.POLLIN)
    while directory.exists():
        if ended.poll(TICK_MS):
            return


def main() -> None:
    """Run the keeper; SIGTERM ends it in order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    name, directory = sys.argv[1:]
    keep(cast("ServerName", name), Path(directory))


if __name__ == "__main__":
    main()
