"""The Python versions that the project supports, and an environment of its own for each of them below `.venv`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")


def installed() -> Mapping[str, str]:
    """The interpreter of each supported version on this machine; prints which versions are missing."""
    found = {version: path for version in VERSIONS if (path := interpreter(version))}
    for version in VERSIONS:
        if version not in found:
            print(f"Python {version} isn't on this machine: NOT RUN")
    return found


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: a shim of pyenv may be on PATH for a version that isn't installed."""
    return next((path for path in candidates(version) if runs(path, version)), None)


def candidates(version: str) -> Iterator[str]:
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    for path in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")):
        yield str(path)


def runs(path: str, version: str) -> bool:
    done = subprocess.run([path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True)
    return done.returncode == 0 and done.stdout.decode().strip() == version


def newest_wheel() -> Path:
    return max((ROOT / "dist").glob("distributed_oms-*.whl"), key=lambda path: path.stat().st_mtime)


def environment(version: str, python: str, wheel: Path, *requirements: str) -> Path:
    """Folder of an environment with the wheel, its extra `testing` and further pip arguments, at locked versions."""
    place = ROOT / ".venv" / f"python{version}"
    if not (place / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip"]
    quiet = ["--quiet", "--disable-pip-version-check"]
    _remove_former_name(place, [*pip, "uninstall", *quiet, "--yes", "oms"])
    locked = ["--constraint", str(ROOT / "requirements.txt")]
    subprocess.run([*pip, "install", *quiet, *locked, f"{wheel}[testing]", *requirements], check=True)
    subprocess.run([*pip, "install", *quiet, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    return place


def _remove_former_name(place: Path, uninstall: Sequence[str]) -> None:
    """The distribution was once named `oms`; both at once would register the pytest plugin twice."""
    if list(place.glob("lib/python*/site-packages/oms-*.dist-info")):
        subprocess.run(uninstall, check=True)
