"""Runs the fast tests on every supported Python: `python scripts/test_pythons.py [VERSION ...] [-- PYTEST ARGUMENTS]`.

Each version that is installed gets its own environment below `.venv`, with the wheel and the locked libraries for
development. Prints which versions aren't installed. Exit code 1: a test failed, or no version is installed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from pythons import ROOT, environment, installed, newest_wheel

FAST = "not slow and not servers and not faults and not containers and not hunts"


def main(arguments: Sequence[str]) -> int:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    wanted, more = arguments[:cut], arguments[cut + 1 :]
    here = {version: python for version, python in installed().items() if not wanted or version in wanted}
    failed = [version for version, python in here.items() if not passes(version, python, more)]
    if failed or not here:
        print(f"failed on Python {', '.join(failed)}" if failed else "no Python to run the tests on")
        return 1
    print(f"the fast tests pass on Python {', '.join(here)}")
    return 0


def passes(version: str, python: str, more: Sequence[str]) -> bool:
    print(f"== Python {version}", flush=True)
    place = environment(version, python, newest_wheel(), "--requirement", str(ROOT / "requirements.txt"))
    pytest = [str(place / "bin" / "python"), "-m", "pytest", "-q", "-m", FAST, "-p", "no:cacheprovider", *more]
    return subprocess.run(pytest, cwd=ROOT).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
