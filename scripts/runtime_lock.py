"""Writes requirements-runtime.txt: the part of requirements.txt that `oms` needs to run: what its image installs.

    python scripts/runtime_lock.py            # write it
    python scripts/runtime_lock.py --check    # fail where it isn't what requirements.txt and pyproject.toml say

It follows the installed packages' own metadata from pyproject.toml's dependencies: run it in the `make` environment.
"""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "requirements-runtime.txt"
PYTHONS = [{"python_version": full.rpartition(".")[0], "python_full_version": full} for full in ("3.11.0", "3.13.0")]
"""The oldest and the newest that the project runs on: what only one of them needs is in the lock, with its marker."""

HEADER = "# Made from requirements.txt by scripts/runtime_lock.py; don't edit. What the image installs.\n"


def main() -> int:
    text = HEADER + "".join(f"{line}\n" for line in _lines())
    if "--check" in sys.argv[1:]:
        if TARGET.is_file() and TARGET.read_text() == text:
            return 0
        sys.exit(f"{TARGET.name} is out of date: python scripts/runtime_lock.py")
    TARGET.write_text(text)
    return 0


def _lines() -> list[str]:
    pins = _pins()
    needed = _closure()
    missing = sorted(needed - pins.keys())
    if missing:
        sys.exit(f"requirements.txt has no line for {', '.join(missing)}")
    return [pin for name, pin in pins.items() if name in needed]


def _pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {canonicalize_name(Requirement(line).name): line for line in lines if line and not line.startswith("#")}


def _closure() -> set[str]:
    """Names of everything that the project's dependencies need, with the extras they ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
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
