"""`scripts/mirrored_tests.py` on a small project: silent where each module has its test, else a line for each gap."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.files import ROOT

PROJECT = {
    "src/oms/__init__.py": "",
    "src/oms/engine/relay.py": "",
    "src/oms/engine/rows.py": "",
    "src/oms/engine/locks.py": "",
    "src/oms/adapters/sql/migrations/env.py": "",
    "tests/engine/test_relay.py": "",
    "tests/engine/test_storage.py": "def test() -> None:\n    from oms.engine import rows\n",
    "tests/test_front_door.py": "import oms\noms.create()\n",
    "tests/covered_by.toml": (
        '[imports]\n"oms.engine.rows" = "tests/engine/test_storage.py"\n'
        '[through."oms.create"]\n"oms.engine.locks" = "tests/test_front_door.py"\n'
    ),
}

OR_ELSE = "name the file that tests it in tests/covered_by.toml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path, text in PROJECT.items():
        write(tmp_path / path, text)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/mirrored_tests.py", tmp_path / "scripts")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def checked(project: Path) -> tuple[int, list[str]]:
    """The exit code and the lines that were printed."""
    command = [sys.executable, str(project / "scripts/mirrored_tests.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, [line for line in done.stdout.splitlines() if line]


def test_a_project_whose_modules_all_have_a_test(project: Path) -> None:
    assert checked(project) == (0, [])


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        (
            "src/oms/engine/new.py",
            "",
            f"oms.engine.new has no test: add tests/engine/test_new.py, or {OR_ELSE}",
        ),
        ("tests/engine/test_storage.py", "", "oms.engine.rows: tests/engine/test_storage.py doesn't import it"),
        ("tests/engine/test_storage.py", None, "oms.engine.rows: there is no file tests/engine/test_storage.py"),
        ("tests/test_front_door.py", "", "oms.engine.locks: tests/test_front_door.py doesn't contain oms.create"),
        ("src/oms/engine/rows.py", None, "oms.engine.rows: there is no such module; remove its entry"),
        (
            "tests/engine/test_rows.py",
            "",
            "oms.engine.rows: the entry is superfluous; the module has tests/engine/test_rows.py or another entry",
        ),
    ],
)
def test_each_gap_has_a_line(project: Path, path: str, text: str | None, line: str) -> None:
    if text is None:
        (project / path).unlink()
    else:
        write(project / path, text)
    assert checked(project) == (1, [line])


def test_a_module_with_two_entries(project: Path) -> None:
    table = project / "tests/covered_by.toml"
    table.write_text(table.read_text() + '"oms.engine.rows" = "tests/test_front_door.py"\n')
    status, lines = checked(project)
    assert status == 1
    assert "the entry is superfluous" in lines[0]
