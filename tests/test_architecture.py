"""Each import contract of pyproject.toml fails when an import breaks it: `lint-imports` sees the whole project."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import ROOT

CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LINT = (str(Path(sys.executable).with_name("lint-imports")), "--no-logo")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project to plant imports into; import-linter's cache in it parses only what changed."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "src/oms", folder / "oms", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def linted(copy: Path) -> tuple[int, str]:
    """The exit code of `lint-imports` and its output, without line breaks."""
    done = subprocess.run(LINT, cwd=copy, env={"COLUMNS": "200"}, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def forbidden_imports(contract: Mapping[str, Any], copy: Path) -> Iterator[tuple[str, str]]:
    """Pairs of importer and imported that break the contract; each module that it lists is in one of them."""
    match contract["type"]:
        case "layers":
            for container in contract["containers"]:
                layers = [[f"{container}.{one}" for one in layer.split(" | ")] for layer in contract["layers"]]
                yield from ((low, high) for above, below in pairwise(layers) for low in below for high in above)
                yield from ((one, other) for layer in layers for one in layer for other in layer if one != other)
        case "forbidden":
            sources, targets = contract["source_modules"], contract["forbidden_modules"]
            pairs = zip(cycle(sources), targets) if len(targets) > len(sources) else zip(sources, cycle(targets))
            yield from pairs
        case "independence":
            modules = [module for pattern in contract["modules"] for module in matching(pattern, copy)]
            yield from zip(modules, (*modules[1:], modules[0]), strict=True)
        case kind:
            pytest.fail(f"no way is known to break a contract of the type {kind}")


def matching(pattern: str, copy: Path) -> list[str]:
    """The packages that a module pattern such as `oms.adapters.*` stands for."""
    files = sorted(copy.glob(pattern.replace(".", "/") + "/__init__.py"))
    return [".".join(file.parent.relative_to(copy).parts) for file in files]


@contextmanager
def planted(copy: Path, pairs: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    """Adds the imports, each to its module or to a new module of its package; yields how `lint-imports` names them."""
    before: dict[Path, str | None] = {}
    named = []
    for importer, imported in pairs:
        path = copy / importer.replace(".", "/")
        module, file = (
            (f"{importer}.planted", path / "planted.py") if path.is_dir() else (importer, path.with_suffix(".py"))
        )
        text = file.read_text() if file.exists() else ""
        before.setdefault(file, text or None)
        file.write_text(f"{text}\nimport {imported}\n")
        named.append(f"{module} -> {imported} (l.")
    yield named
    for file, text in before.items():
        file.write_text(text) if text is not None else file.unlink()


def test_every_contract_is_kept(copy: Path) -> None:
    code, output = linted(copy)
    assert code == 0, output
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in output


@pytest.mark.parametrize("contract", CONTRACTS, ids=[contract["name"] for contract in CONTRACTS])
def test_a_forbidden_import_breaks_its_contract(contract: Mapping[str, Any], copy: Path) -> None:
    pairs = list(forbidden_imports(contract, copy))
    assert pairs
    with planted(copy, pairs) as imports:
        code, output = linted(copy)
    assert code == 1, output
    assert f"{contract['name']} BROKEN" in output
    assert [one for one in imports if one not in output] == []
