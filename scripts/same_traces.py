"""Checks that equal seeds give equal traces on every supported Python: plays the same seeds on each and compares.

    python scripts/same_traces.py [--seeds 500] [--wheel dist/oms-....whl]

Each version that is installed (on PATH or under ~/.pyenv) gets its own environment below `.venv`, with the locked
libraries and the wheel. Prints which versions aren't installed. Exit code 1: two traces differ.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
PLAY = "import sys; from oms.testing.sim.campaign import traces; print(traces(range(int(sys.argv[1]))))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--wheel", type=Path, default=None, help="the newest one in dist/ unless given")
    asked = parser.parse_args()
    wheel = asked.wheel or max((ROOT / "dist").glob("oms-*.whl"), key=lambda path: path.stat().st_mtime)
    here = {version: found for version in VERSIONS if (found := interpreter(version))}
    for version in VERSIONS:
        if version not in here:
            print(f"Python {version} isn't on this machine: NOT compared")
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


def interpreter(version: str) -> str | None:
    """A Python of this version that runs; what only stands there in its place, as a shim, doesn't."""
    return next((path for path in candidates(version) if answers(path, version)), None)


def candidates(version: str) -> Iterator[str]:
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    for path in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")):
        yield str(path)


def answers(path: str, version: str) -> bool:
    asked = subprocess.run([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
    return asked.returncode == 0 and asked.stdout.decode().strip() == version


def played(version: str, python: str, wheel: Path, seeds: int) -> str:
    place = ROOT / ".venv" / f"python{version}"
    if not (place / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(place)], check=True)
    own = str(place / "bin" / "python")
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--constraint", str(ROOT / "requirements.txt")]
    subprocess.run([*pip, *locked, f"{wheel}[testing]"], check=True)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run([own, "-c", PLAY, str(seeds)], check=True, stdout=subprocess.PIPE, cwd=place, env=environment)
    return told.stdout.decode().strip()


if __name__ == "__main__":
    sys.exit(main())
