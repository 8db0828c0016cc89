"""Checks that each module of `oms` has a test file: the one at the mirrored path, or the one that a table names.

The module `src/oms/engine/parking.py` has its tests in `tests/engine/test_parking.py`. A module without such a file
needs an entry in `tests/covered_by.toml`: in `[imports]` if the test file imports the module, or in
`[through."NAME"]` if the test reaches the module only through NAME, such as `oms.create`, which its text contains.
Prints each module, and each entry, for which this isn't so, and exits with 1.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "covered_by.toml"
UNTESTED = ("__init__.py", "__main__.py")
"""Names of files that only export or start what other modules hold."""


def main() -> int:
    problems = sorted(found_problems(tomllib.loads(TABLE.read_text())))
    print("\n".join(problems))
    return 1 if problems else 0


def found_problems(table: Mapping[str, Mapping[str, str | Mapping[str, str]]]) -> Iterator[str]:
    mirrored = {module: f"tests/{_mirror(module)}" for module in modules()}
    entries = list(entries_of(table))
    listed = [module for module, _, _ in entries]
    for module, path in mirrored.items():
        if not (ROOT / path).exists() and module not in listed:
            yield f"{module} has no test: add {path}, or name the file that tests it in {TABLE.relative_to(ROOT)}"
    for module, test, through in entries:
        if module not in mirrored:
            yield f"{module}: there is no such module; remove its entry"
        elif (ROOT / mirrored[module]).exists() or listed.count(module) > 1:
            yield f"{module}: the entry is superfluous; the module has {mirrored[module]} or another entry"
        elif not (ROOT / test).is_file():
            yield f"{module}: there is no file {test}"
        elif through is None and module not in imported_by(ROOT / test):
            yield f"{module}: {test} doesn't import it"
        elif through is not None and through not in (ROOT / test).read_text():
            yield f"{module}: {test} doesn't contain {through}"


def modules() -> Iterator[str]:
    """Dotted names of the modules that need a test; migrations are tested by running them in a row."""
    for path in sorted((ROOT / "src/oms").rglob("*.py")):
        if path.name not in UNTESTED and "migrations" not in path.parts:
            yield ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def _mirror(module: str) -> Path:
    _, *packages, name = module.split(".")
    return Path(*packages, f"test_{name}.py")


def entries_of(table: Mapping[str, Mapping[str, str | Mapping[str, str]]]) -> Iterator[tuple[str, str, str | None]]:
    """Module, test file, and the name through which the test reaches the module: None if it imports the module."""
    for module, test in table["imports"].items():
        yield module, str(test), None
    for through, covered in table["through"].items():
        for module, test in dict(covered).items():
            yield module, test, through


def imported_by(test: Path) -> set[str]:
    """Dotted names of all that a file imports, at its top or in functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(test.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


if __name__ == "__main__":
    sys.exit(main())
