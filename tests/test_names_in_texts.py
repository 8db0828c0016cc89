"""Modules, objects and files that documents, docstrings and comments name are there."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.files import ROOT

DOTTED = re.compile(r"(?<![\w./-])oms(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"(?<![\w./@:-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|yml|toml|sql|lua|json|sh|txt|cfg|conf|java))\b")
NO_MODULES = {
    "oms.commands": "the name of an entry point group",
    **dict.fromkeys(("oms.alerts", "oms.errors", "oms.events", "oms.kafka", "oms.telemetry"), "the name of a logger"),
}
HISTORY = {"CHANGELOG.md"}
"""It names what was there before."""

CODE = [
    file for folder in ("src", "tests", "examples", "scripts", "benchmarks") for file in (ROOT / folder).rglob("*.py")
]
DOCUMENTS = [file for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if file.name not in HISTORY]


def words_of(file: Path) -> str:
    """The text of a document, or the docstrings and comments of a module."""
    text = file.read_text()
    return text if file.suffix != ".py" else "\n".join(said_in(text))


def said_in(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@cache
def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or an object in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def is_file(name: str, file: Path) -> bool:
    """Whether a path is one of the project, counted from a folder above the file that names it, or from a folder of code."""
    above = (folder for folder in file.parents if folder.is_relative_to(ROOT))
    folders = (*above, ROOT / "src", ROOT / "src/oms", ROOT / "docs", ROOT / "tests")
    return any((folder / name).exists() for folder in folders)


@pytest.mark.parametrize("files", [DOCUMENTS, CODE], ids=["documents", "code"])
def test_every_module_and_object_that_a_text_names_is_there(files: list[Path]) -> None:
    named = {(name, file) for file in files for name in DOTTED.findall(words_of(file))}
    assert named
    missing = [
        f"{file.relative_to(ROOT)}: {name}" for name, file in named if name not in NO_MODULES and not is_there(name)
    ]
    assert sorted(missing) == []


@pytest.mark.parametrize("files", [DOCUMENTS, CODE], ids=["documents", "code"])
def test_every_file_that_a_text_names_is_there(files: list[Path]) -> None:
    named = {(name, file) for file in files for name in FILE.findall(words_of(file))}
    assert named
    assert sorted(f"{file.relative_to(ROOT)}: {name}" for name, file in named if not is_file(name, file)) == []


def test_a_name_that_is_missing_is_found() -> None:
    sample = "\n".join(
        said_in('"""See oms.verify, oms.no_such_module and docs/no-such-page.md."""\n# and oms.ports.nothing')
    )
    assert [name for name in DOTTED.findall(sample) if not is_there(name)] == [
        "oms.ports.nothing",
        "oms.no_such_module",
    ]
    assert [name for name in FILE.findall(sample) if not is_file(name, ROOT / "x.py")] == ["docs/no-such-page.md"]
