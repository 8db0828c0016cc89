"""A kill at any moment of a start, the first one included, never keeps the next one from starting."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "killed_starts.py"


def killed(directory: Path, every: int, first: int) -> list[int]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(directory), str(every), str(first)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(count) for count in done.stdout.split()]


def test_one_moment(tmp_path: Path) -> None:
    killed(tmp_path, 0, 200)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_one_of_forty_moments(tmp_path: Path) -> None:
    first = 1 + int(os.environ.get("OMS_TEST_SEED", random.randrange(40)))
    print(f"OMS_TEST_SEED={first - 1}")
    killed(tmp_path, 40, first)
