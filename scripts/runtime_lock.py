"""Writes the locks of the image, with the hashes of every file: what `oms` needs to run, and what builds its wheel.

    python scripts/runtime_lock.py            # write both; `uv` (pip install uv) asks the package index for the hashes
    python scripts/runtime_lock.py --check    # fail if they differ from requirements.txt and pyproject.toml

requirements-runtime.txt and requirements-build.txt are parts of requirements.txt. The script follows the installed
packages' own metadata from pyproject.toml's dependencies: run it in the `make` environment. --check needs no network:
it compares names, versions and markers, and that no line is without a hash.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = [{"python_version": full.rpartition(".")[0], "python_full_version": full} for full in ("3.11.0", "3.13.0")]
"""The oldest and the newest that the project runs on: what only one of them needs is in the lock, with its marker."""

HEADER = "# Made from requirements.txt by scripts/runtime_lock.py; don't edit. {} Install it with --require-hashes.\n"


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locks = {
        "requirements-runtime.txt": (project["project"]["dependencies"], "What oms needs to run."),
        "requirements-build.txt": (["build", *project["build-system"]["requires"]], "What builds the wheel."),
    }
    pins = _pins()
    for name, (roots, purpose) in locks.items():
        wanted = _lines(roots, pins)
        if "--check" not in sys.argv[1:]:
            (ROOT / name).write_text(HEADER.format(purpose) + _with_hashes(wanted))
        elif _locked(ROOT / name) != dict(map(_pinned, wanted)):
            sys.exit(f"{name} is out of date: python scripts/runtime_lock.py")
    return 0


def _with_hashes(lines: Iterable[str]) -> str:
    """The lines with the hashes of all files of each version, for every platform and Python."""
    options = ["--no-deps", "--generate-hashes", "--universal", "--no-header", "--no-annotate", "--quiet"]
    asked = ["uv", "pip", "compile", *options, "--python-version", "3.11", "-"]
    done = subprocess.run(asked, input="\n".join(lines), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"uv can't find the hashes: {done.stderr.strip()}")
    return done.stdout


def _locked(file: Path) -> Mapping[str, str]:
    """The requirements of a lock by name; exits at the first that has no hash."""
    found = {}
    for entry in file.read_text().replace("\\\n", " ").splitlines() if file.is_file() else ():
        if not entry.startswith("#"):
            requirement, _, hashes = entry.partition(" --hash=")
            if not hashes.startswith("sha256:"):
                sys.exit(f"{file.name}: {requirement.strip()} has no hash: python scripts/runtime_lock.py")
            pinned, requirement_line = _pinned(requirement.strip())
            found[pinned] = requirement_line
    return found


def _pinned(line: str) -> tuple[str, str]:
    """Name, and version with marker, however the line spells them."""
    found = Requirement(line)
    return canonicalize_name(found.name), f"{found.specifier};{found.marker or ''}"


def _lines(roots: Iterable[str], pins: Mapping[str, str]) -> list[str]:
    needed = _closure(roots)
    missing = sorted(needed - pins.keys())
    if missing:
        sys.exit(f"requirements.txt has no line for {', '.join(missing)}")
    return [pin for name, pin in pins.items() if name in needed]


def _pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {canonicalize_name(Requirement(line).name): line for line in lines if line and not line.startswith("#")}


def _closure(roots: Iterable[str]) -> set[str]:
    """Names of everything that some requirements need, with the extras they ask for."""
    waiting = [Requirement(text) for text in roots]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key not in seen:
                seen.add(key)
                waiting += _needs(requirement.name, extra)
    return {name for name, _ in seen}


def _needs(name: str, extra: str) -> list[Requirement]:
    """What a package needs on any Python that the project runs on; of a package for others than this one: nothing."""
    try:
        found = [Requirement(text) for text in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []
    return [
        each
        for each in found
        if each.marker is None or any(each.marker.evaluate(on | {"extra": extra}) for on in PYTHONS)
    ]


if __name__ == "__main__":
    sys.exit(main())
