"""Checks that equal seeds give equal traces on every supported Python: plays the same seeds on each and compares.

    python scripts/same_traces.py [--seeds 500] [--wheel dist/distributed_oms-....whl]

Each version that is installed (on PATH or under ~/.pyenv) gets its own environment below `.venv`, with the locked
libraries and the wheel. Prints which versions aren't installed. Exit code 1: two traces differ.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pythons import VERSIONS, environment, installed, newest_wheel

PLAY = "import sys; from oms.testing.sim.campaign import traces; print(traces(range(int(sys.argv[1]))))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--wheel", type=Path, default=None, help="the newest one in dist/ unless given")
    asked = parser.parse_args()
    wheel = asked.wheel or newest_wheel()
    here = installed()
    with ThreadPoolExecutor(2) as pool:
        plays = pool.map(lambda version: played(version, here[version], wheel, asked.seeds), here)
        traces: Mapping[str, str] = dict(zip(here, plays, strict=True))
    for version, trace in traces.items():
        print(f"Python {version}: {asked.seeds} seeds, {trace}")
    if len(set(traces.values())) > 1:
        print("the same seeds are other runs on another Python")
        return 1
    print(f"the same traces to the byte on {len(traces)} of {len(VERSIONS)} versions")
    return 0


def played(version: str, python: str, wheel: Path, seeds: int) -> str:
    place = environment(version, python, wheel)
    own = str(place / "bin" / "python")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run([own, "-c", PLAY, str(seeds)], check=True, stdout=subprocess.PIPE, cwd=place, env=environ)
    return ran.stdout.decode().strip()


if __name__ == "__main__":
    sys.exit(main())
